"""Metrics of anomaly maps for any choice of their images, from histograms made once for each image."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.metrics import auroc
from detectors.real.worth.head import SIDE
from synthgen.samples import Mask

_BINS = 1 << 14
_SMOOTHING = 4.0  # pixels of SIDE, standard deviation
_LIMIT = 0.3  # of the false positive rate, for AU-PRO


class Scores:
    """Anomaly maps against the truth.

    Image AUROC of the largest value of the smoothed map, pixel AUROC, pixel AP, and AU-PRO up to a false positive rate of
    0.3, at SIDE x SIDE pixels. Pixels are ranked by 2^14 bins of the maps' logits.
    """

    def __init__(self, maps: NDArray[np.float32], masks: Sequence[Mask | None], kinds: Sequence[str], normal: str) -> None:
        """Take (N, h, w) maps, their (SIDE, SIDE) masks (None where nobody marked an anomaly) and kinds of defects."""
        smooth = np.stack([_smooth(anomaly_map) for anomaly_map in maps])
        self.kinds = np.array(kinds)
        self.normal = normal
        self.masked = np.array([mask is not None for mask in masks])
        self._image = smooth.reshape(len(smooth), -1).max(1)
        values = np.log(smooth.clip(1e-6, 1 - 1e-6) / (1 - smooth.clip(1e-6, 1 - 1e-6))) if smooth.max() <= 1 else smooth
        low, span = float(values.min()), max(float(np.ptp(values)), 1e-12)
        bins = ((values - low) / span * (_BINS - 1)).astype(np.int32)
        self._counts = np.stack([_histograms(binned, mask) for binned, mask in zip(bins, masks, strict=True)])

    def metrics(self, kind: str | None = None) -> dict[str, float]:
        """Metrics, each 0 to 1, of the normal images and one kind of defect; of all kinds if None."""
        chosen = (self.kinds == self.normal) | ((self.kinds == kind) if kind is not None else True)
        anomalous = self.kinds[chosen] != self.normal
        if anomalous.all() or not anomalous.any():
            return {}
        metrics = {"image_auroc": auroc(anomalous.astype(np.uint8), self._image[chosen])}
        negative, positive, region = self._counts[chosen & self.masked].sum(0, dtype=np.float64)[:, ::-1].cumsum(1)
        if positive[-1] > 0:
            fpr, tpr, pro = (np.r_[0.0, counts / counts[-1]] for counts in (negative, positive, region))
            grid = np.linspace(0, _LIMIT, 3001)
            metrics["pixel_auroc"] = float(np.trapezoid(tpr, fpr))
            metrics["pixel_ap"] = float((np.diff(tpr) * positive / np.maximum(positive + negative, 1)).sum())
            metrics["au_pro"] = float(np.trapezoid(np.interp(grid, fpr, pro), grid) / _LIMIT)
        return metrics


def _smooth(anomaly_map: NDArray[np.float32]) -> NDArray[np.float32]:
    large = cv2.resize(anomaly_map, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), _SMOOTHING), np.float32)


def _histograms(bins: NDArray[np.int32], mask: Mask | None) -> NDArray[np.float32]:
    """(3, BINS): negative pixels, positive ones, and positive ones weighted so that each connected region counts as one."""
    out = np.zeros((3, _BINS), np.float32)
    if mask is None:
        return out
    regions, labels = cv2.connectedComponents(mask)
    weight = 1 / np.maximum(np.bincount(labels.ravel(), minlength=regions), 1)
    inside = labels > 0
    for row, chosen, weights in ((0, ~inside, None), (1, inside, None), (2, inside, weight[labels[inside]])):
        out[row] = np.bincount(bins[chosen], weights, _BINS)
    return out
