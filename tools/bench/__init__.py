"""Benchmarks: speed as ratios in one run, and what samples are worth."""
