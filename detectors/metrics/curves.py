"""Overlap against false positive rate: the curve behind AU-PRO and AU-sPRO, and its area up to a limit."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from detectors.metrics.errors import MetricError
from synthgen.samples import Mask

Floats = NDArray[np.float64]
_POINTS = 2000


def negative_scores(maps: Iterable[NDArray[np.float32]], masks: Iterable[Mask]) -> NDArray[np.float32]:
    """The sorted scores of all pixels outside the masks.

    Raises:
        MetricError: there is none, or a score is no number.
    """
    parts = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if anomaly_map.shape != mask.shape:
            raise MetricError(f"an anomaly map of {anomaly_map.shape} and a mask of {mask.shape} do not belong together.")
        if not np.isfinite(anomaly_map).all():
            raise MetricError("some scores are no finite numbers: the detector is broken, or its training diverged.")
        parts.append(anomaly_map[mask == 0])
    scores = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(scores):
        raise MetricError("there is no normal pixel among what is measured.")
    scores.sort()
    return scores


def thresholds(negatives: NDArray[np.float32], limit: float) -> tuple[NDArray[np.float32], Floats]:
    """Thresholds at equally spaced false positive rates from 0 to `limit`.

    Args:
        negatives: sorted scores of negative pixels.
        limit: above 0, up to 1.

    Returns:
        (K,) descending scores, and the (2K,) ascending shares of negatives `above` them, from 0 to at least `limit`.
    """
    count = len(negatives)
    ranks = np.minimum((np.linspace(0, limit, _POINTS + 1) * count).astype(np.int64), count - 1)
    values = np.unique(negatives[count - 1 - ranks])[::-1]
    return values, above_sorted(negatives, values) / count


def above(scores: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many scores are found at each threshold.

    Args:
        scores: in any order.
        values: (K,) descending thresholds.

    Returns:
        (2K,) ascending: how many are above the first threshold, how many above or at it, above the second, and so on. These
        are the corners of the curve: between the two of a threshold it is a slope, from one threshold to the next a step.
    """
    return above_sorted(np.sort(scores), values)


def above_sorted(scores: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """`above` of sorted scores."""
    sides = [np.searchsorted(scores, values, side=side) for side in ("right", "left")]
    return len(scores) - np.stack(sides, axis=1).reshape(-1)


def area_up_to(rates: Floats, overlaps: Floats, limit: float) -> float:
    """Area under the curve from rate 0 to `limit`, by trapezoids, divided by `limit`: 0 to 1.

    Args:
        rates: (K,) ascending false positive rates, beginning with 0.
        overlaps: (K,) ascending, 0 to 1.
        limit: above 0; the curve is interpolated there.
    """
    inside = rates <= limit
    x, y = rates[inside], overlaps[inside]
    if x[-1] < limit:
        x, y = np.append(x, limit), np.append(y, np.interp(limit, rates, overlaps))
    return float(np.clip(np.trapezoid(y, x) / limit, 0, 1))
