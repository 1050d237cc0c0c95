"""Anomaly maps to look at: heat over the image, what is called anomalous outlined, the truth outlined beside it."""

import cv2
import numpy as np

from detectors.results import AnomalyMap, Evaluation, Thresholds
from synthgen.samples import Image, Mask, Size

_PREDICTED = (255, 255, 255)
_TRUE = (60, 220, 60)
_OPACITY = 0.65


def heatmap(anomaly_map: AnomalyMap, low: float, high: float) -> Image:
    """Colours of an anomaly map: dark at `low` and below, bright at `high` and above. (H, W, 3) uint8 RGB."""
    colours = cv2.applyColorMap((255 * _heat(anomaly_map, low, high)).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), np.uint8)


def overlay(
    image: Image, anomaly_map: AnomalyMap, low: float, high: float, threshold: float | None = None, mask: Mask | None = None
) -> Image:
    """Heat over an image, the more opaque the hotter.

    Args:
        image: (H, W, 3) uint8 RGB.
        anomaly_map: (H, W) float32 scores.
        low: scores up to it have no heat.
        high: scores from it on have the most; both the same for all images of a run, so that normal ones stay cold.
        threshold: outlines (white) what scores more.
        mask: outlines (green) the truth.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    opacity = _OPACITY * _heat(anomaly_map, low, high)[..., None]
    mixed = (1 - opacity) * image + opacity * heatmap(anomaly_map, low, high)
    picture = np.ascontiguousarray(np.round(mixed).astype(np.uint8))
    width = max(1, round(min(image.shape[:2]) / 256))
    if mask is not None:
        _outline(picture, mask, _TRUE, width)
    if threshold is not None:
        _outline(picture, prediction_mask(anomaly_map, threshold), _PREDICTED, width)
    return picture


def prediction_mask(anomaly_map: AnomalyMap, threshold: float) -> Mask:
    """(H, W) uint8 {0, 1}: the pixels that score more than the threshold."""
    return (anomaly_map > threshold).astype(np.uint8)


def upscale(anomaly_map: AnomalyMap, size: Size) -> AnomalyMap:
    """An anomaly map at another (height, width), bilinear."""
    return np.asarray(cv2.resize(anomaly_map, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def display_range(thresholds: Thresholds) -> tuple[float, float]:
    """Scores without heat and with the most: what is usual on normal images, and as far beyond the threshold."""
    return thresholds.usual, thresholds.pixel + max(thresholds.pixel - thresholds.usual, 1e-6)


def thresholds_of(evaluation: Evaluation) -> Thresholds:
    """The evaluation's thresholds; where nobody knows them, something to draw by."""
    if evaluation.thresholds is not None:
        return evaluation.thresholds
    normal = [image for image in evaluation.images if image.label == 0] or list(evaluation.images)
    usual = float(np.median([np.median(image.anomaly_map) for image in normal]))
    highest = max(float(image.anomaly_map.max()) for image in evaluation.images)
    return Thresholds(float("inf"), (usual + highest) / 2, usual)


def _heat(anomaly_map: AnomalyMap, low: float, high: float) -> AnomalyMap:
    return np.asarray(np.clip((anomaly_map - low) / (high - low), 0, 1), np.float32)


def _outline(picture: Image, mask: Mask, colour: tuple[int, int, int], width: int) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, width)
