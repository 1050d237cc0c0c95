"""Metrics by their definitions: rank-based on raw scores, an error instead of a number where there is none."""

from detectors.metrics.errors import MetricError
from detectors.metrics.histogram import ScoreHistogram
from detectors.metrics.pro import au_pro, au_pro_reference, pro_curve
from detectors.metrics.protocols import PROTOCOLS, all_metrics
from detectors.metrics.ranking import auroc, average_precision, f1_max, rank, roc_curve
from detectors.metrics.spro import DefectSettings, au_spro, au_spro_by_kind, read_defects_config

__all__ = [
    "PROTOCOLS",
    "DefectSettings",
    "MetricError",
    "ScoreHistogram",
    "all_metrics",
    "au_pro",
    "au_pro_reference",
    "au_spro",
    "au_spro_by_kind",
    "auroc",
    "average_precision",
    "f1_max",
    "pro_curve",
    "rank",
    "read_defects_config",
    "roc_curve",
]
