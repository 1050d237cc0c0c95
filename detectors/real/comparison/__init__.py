"""How synthetic anomalies sit beside real ones: sizes, contrasts, places and counts (`synthgen compare-real`)."""

from detectors.real.comparison.compare import DefectComparison, compare_defects

__all__ = ["DefectComparison", "compare_defects"]
