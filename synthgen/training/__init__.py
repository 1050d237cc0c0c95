"""Trainings of the networks that draw and refine anomalies."""
