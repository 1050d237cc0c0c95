"""How synthetic anomalies sit beside real ones: sizes, contrasts, places and counts (`synthgen compare-real`)."""

from detectors.real.comparison.measure import Audit, audit

__all__ = ["Audit", "audit"]
