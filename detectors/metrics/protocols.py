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
    _ranked("image", lambda: rank(_labels(images), [image.score for image in images]), metrics, notes)
    masked = [image for image in images if image.mask is not None]
    without, anomalous = sum(image.mask is None for image in images), sum(bool(image.label) for image in images)
    if not any(image.mask.any() for image in masked if image.mask is not None):
        notes["pixel"] = f"no mask of an anomalous image is there: {without} of {anomalous} have none"
        return metrics, notes
    if without:
        notes["pixel"] = f"{without} of {anomalous} anomalous images have no mask and are left out"
    maps = [image.anomaly_map for image in masked]
    masks = [image.mask for image in masked if image.mask is not None]
    if sum(anomaly_map.size for anomaly_map in maps) <= _EXACT_PIXELS:
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
    labels = [image.label for image in images if image.label is not None]
    if len(labels) != len(images):
        raise MetricError(f"{len(images) - len(labels)} images have no label.")
    return labels


def _flat(arrays: Sequence[Any]) -> Any:
    return np.concatenate([array.ravel() for array in arrays])


def _binned(images: Sequence[ScoredImage]) -> Ranking:
    low, high = min(float(image.anomaly_map.min()) for image in images), max(float(image.anomaly_map.max()) for image in images)
    histogram = ScoreHistogram(low, high)
    for image in images:
        if image.mask is not None:
            histogram.add(image.mask, image.anomaly_map)
    return histogram.ranking()
