"""The LogicAL localizer: reconstruction and localization, trained on edge-manipulated anomalies."""
