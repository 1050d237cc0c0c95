"""Progressive Boundary-guided Anomaly Synthesis (Chen et al., 2024): anomalies are made among features."""
