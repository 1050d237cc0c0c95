"""AU-PRO: how much of every anomalous region is found, at few false positives (Bergmann et al., 2020)."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.metrics.curves import Floats, above, area_up_to, negative_scores, thresholds
from detectors.metrics.errors import MetricError
from synthgen.samples import Mask

LIMIT = 0.3
_REFERENCE_STEPS = 200

Maps = Sequence[NDArray[np.float32]]


def pro_curve(maps: Maps, masks: Sequence[Mask], limit: float = LIMIT) -> tuple[Floats, Floats]:
    """False positive rates, and the mean share of a region that is found at each.

    Regions are the 8-connected ones of the masks, each counting the same; thresholds are 2,000 quantiles of the negative
    pixels' scores up to the limit.

    Args:
        maps: (H, W) float32 each.
        masks: (H, W) uint8 {0, 1} each; zeros for normal images.
        limit: of the false positive rate, above 0 and up to 1.

    Raises:
        MetricError: no region, no normal pixel, one score alone, or scores that are no numbers.
    """
    _check(maps, masks, limit)
    values, rates = thresholds(negative_scores(maps, masks), limit)
    total, regions = np.zeros(len(rates)), 0
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if mask.any():
            count, labels = cv2.connectedComponents(mask, connectivity=8)
            inside = labels > 0
            scores, owner = anomaly_map[inside], labels[inside]
            for region in range(1, count):
                of_region = scores[owner == region]
                total += above(of_region, values) / len(of_region)
            regions += count - 1
    if not regions:
        raise MetricError("there is no anomalous region among what is measured.")
    return rates, total / regions


def au_pro(maps: Maps, masks: Sequence[Mask], limit: float = LIMIT) -> float:
    """Area under the PRO curve up to a false positive rate, divided by it: 0 to 1. Arguments and errors as `pro_curve`."""
    return area_up_to(*pro_curve(maps, masks, limit), limit)


def au_pro_reference(maps: Maps, masks: Sequence[Mask]) -> float:
    """AU-PRO as the code of PBAS, SimpleNet and GLASS computes it; about a point more than `au_pro`.

    200 equally spaced thresholds between the smallest and the largest score; the found area is dilated by 5x5 pixels where
    overlap is measured, and is not where false positives are; rates below 0.3 are kept, then stretched to 0..1.

    Raises:
        MetricError: as `au_pro`.
    """
    _check(maps, masks, LIMIT)
    if not any(mask.any() for mask in masks):
        raise MetricError("there is no anomalous region among what is measured.")
    low, high = min(float(anomaly_map.min()) for anomaly_map in maps), max(float(anomaly_map.max()) for anomaly_map in maps)
    steps = low + (high - low) / _REFERENCE_STEPS * np.arange(_REFERENCE_STEPS)
    kernel = np.ones((5, 5), np.uint8)
    negatives = sum(int((mask == 0).sum()) for mask in masks)
    if not negatives:
        raise MetricError("there is no normal pixel among what is measured.")
    regions, overlap, wrong = 0, np.zeros(len(steps)), np.zeros(len(steps))

    def strictly_above(scores: NDArray[np.float32]) -> NDArray[np.int64]:
        return len(scores) - np.searchsorted(np.sort(scores), steps.astype(np.float32), side="right")

    for anomaly_map, mask in zip(maps, masks, strict=True):
        wrong += strictly_above(anomaly_map[mask == 0])
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        if count == 1:
            continue
        regions += count - 1
        # a dilated threshold is the threshold of the dilated map
        dilated = cv2.dilate(anomaly_map, kernel)
        for region in range(1, count):
            of_region = dilated[labels == region]
            overlap += strictly_above(of_region) / len(of_region)
    rates, mean = wrong / negatives, overlap / regions
    kept = rates < LIMIT
    if np.ptp(rates[kept]) == 0 if kept.any() else True:
        raise MetricError("too few thresholds give few false positives: the reference code has no value here.")
    rates, mean = rates[kept], mean[kept]
    rates = (rates - rates.min()) / (rates.max() - rates.min())
    return float(np.clip(abs(np.trapezoid(mean, rates)), 0, 1))


def _check(maps: Maps, masks: Sequence[Mask], limit: float) -> None:
    if len(maps) != len(masks):
        raise MetricError(f"{len(maps)} anomaly maps and {len(masks)} masks do not belong together.")
    if not len(maps):
        raise MetricError("there is nothing to measure.")
    if not 0 < limit <= 1:
        raise MetricError(f"limit {limit}: expected a rate above 0, up to 1.")
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if anomaly_map.shape != mask.shape:
            raise MetricError(f"an anomaly map of {anomaly_map.shape} and a mask of {mask.shape} do not belong together.")
        if not np.isfinite(anomaly_map).all():
            raise MetricError("some scores are no finite numbers: the detector is broken, or its training diverged.")
    if len({float(extreme) for anomaly_map in maps for extreme in (anomaly_map.min(), anomaly_map.max())}) == 1:
        raise MetricError("the detector gives everything the same score.")
