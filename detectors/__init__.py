"""Anomaly detectors that learn from normal images and the synthetic anomalies of `synthgen`."""
