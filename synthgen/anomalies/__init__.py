"""Anomaly types, one file each; `registry` has them by name."""
