"""All metrics of a set of scored images, by the rules of one protocol."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from detectors.metrics.errors import MetricError
from detectors.metrics.histogram import ScoreHistogram
from detectors.metrics.pro import LIMIT, au_pro, au_pro_reference
from detectors.metrics.ranking import Ranking, rank
from detectors.results import ScoredImage

PROTOCOLS = ("strict", "paper")
_EXACT_PIXELS = 50_000_000  # beyond, pixels are ranked by 2^16 bins


def all_metrics(
    images: Sequence[ScoredImage], protocol: str = "strict", limit: float = LIMIT
) -> tuple[dict[str, float], dict[str, str]]:
    """Image and pixel metrics, each 0 to 1, and why some are missing or limited.

    `strict` takes AU-PRO by its definition, `paper` as the reference code computes it. Anomalous images without a mask are
    left out of the pixel metrics. Beyond 50 million pixels, pixels are ranked by 2^16 bins (error below 1e-4) and the notes
    say so.

    Args:
        images: with labels.
        protocol: one of `PROTOCOLS`.
        limit: of AU-PRO's false positive rate (`strict`).

    Returns:
        `image_auroc`, `image_ap`, `image_f1_max`, `pixel_auroc`, `pixel_ap`, `pixel_f1_max`, `au_pro`: those that have a
        value; and notes by metric.
    """
    metrics: dict[str, float] = {}
    notes: dict[str, str] = {}
    _ranked("image", lambda: rank(_labels(images), [one.score for one in images]), metrics, notes)
    masked = [one for one in images if one.mask is not None]
    without = sum(one.mask is None for one in images)
    if not any(one.mask.any() for one in masked if one.mask is not None):
        notes["pixel"] = (
            f"no mask of an anomalous image is there: {without} of {sum(bool(one.label) for one in images)} have none"
        )
        return metrics, notes
    if without:
        notes["pixel"] = f"{without} of {sum(bool(one.label) for one in images)} anomalous images have no mask and are left out"
    maps = [one.anomaly_map for one in masked]
    masks = [one.mask for one in masked if one.mask is not None]
    if sum(one.size for one in maps) <= _EXACT_PIXELS:
        _ranked("pixel", lambda: rank(_flat(masks), _flat(maps)), metrics, notes)
    else:
        notes["pixel_bins"] = "pixels were ranked by 2^16 bins"
        _ranked("pixel", lambda: _binned(masked), metrics, notes)
    try:
        metrics["au_pro"] = au_pro(maps, masks, limit) if protocol == "strict" else au_pro_reference(maps, masks)
    except MetricError as error:
        notes["au_pro"] = str(error)
    return metrics, notes


def _ranked(prefix: str, ranking: Callable[[], Ranking], metrics: dict[str, float], notes: dict[str, str]) -> None:
    try:
        ranked = ranking()
    except MetricError as error:
        notes[prefix] = str(error)
        return
    measures: dict[str, Callable[[], float]] = {
        "auroc": ranked.auroc,
        "ap": ranked.average_precision,
        "f1_max": lambda: ranked.f1_max()[0],
    }
    for name, measure in measures.items():
        try:
            metrics[f"{prefix}_{name}"] = measure()
        except MetricError as error:
            notes[f"{prefix}_{name}"] = str(error)


def _labels(images: Sequence[ScoredImage]) -> list[int]:
    """Raises a MetricError where an image has no label."""
    labels = [one.label for one in images if one.label is not None]
    if len(labels) != len(images):
        raise MetricError(f"{len(images) - len(labels)} images have no label.")
    return labels


def _flat(arrays: Sequence[Any]) -> Any:
    return np.concatenate([one.ravel() for one in arrays])


def _binned(images: Sequence[ScoredImage]) -> Ranking:
    low, high = min(float(one.anomaly_map.min()) for one in images), max(float(one.anomaly_map.max()) for one in images)
    histogram = ScoreHistogram(low, high)
    for one in images:
        if one.mask is not None:
            histogram.add(one.mask, one.anomaly_map)
    return histogram.ranking()
