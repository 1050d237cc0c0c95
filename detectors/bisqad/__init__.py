"""Bi-level detection (MaPhC2F): synthetic samples are weighed by an estimate of their quality while a detector trains."""
