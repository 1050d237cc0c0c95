"""The same metrics of more scores than memory holds, from two histograms."""

import numpy as np
from numpy.typing import ArrayLike

from detectors.metrics.errors import MetricError
from detectors.metrics.ranking import Ranking

BINS = 2**16


class ScoreHistogram:
    """Counts of positive and negative scores in equal bins; constant memory, any number of scores.

    Scores in the same bin count as equal. For continuous scores that fill the range, AUROC is off by less than 1 / `bins`.

    Args:
        low, high: the range of the scores.
        bins: how many.

    Raises:
        MetricError: the range is empty.
    """

    def __init__(self, low: float, high: float, bins: int = BINS) -> None:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise MetricError(f"scores from {low} to {high}: the detector gives everything the same score.")
        self.low, self.high, self.bins = float(low), float(high), bins
        self._counts = np.zeros((2, bins), np.int64)

    def add(self, labels: ArrayLike, scores: ArrayLike) -> None:
        """Count scores.

        Args:
            labels: 1 for positives, 0 for negatives; any shape.
            scores: floats of the same shape, within the range.

        Raises:
            MetricError: a score is outside the range or no number; other labels; different shapes.
        """
        flat_labels, flat = np.asarray(labels).reshape(-1), np.asarray(scores).reshape(-1)
        if flat_labels.shape != flat.shape:
            raise MetricError(f"{len(flat_labels)} labels and {len(flat)} scores do not belong together.")
        if not len(flat):
            return
        if not (self.low <= flat.min() and flat.max() <= self.high):  # false for NaN as well
            raise MetricError(f"a score is no number, or outside {self.low} to {self.high}.")
        positive = flat_labels == 1
        if not (positive | (flat_labels == 0)).all():
            raise MetricError("labels other than 0 and 1.")
        index = ((flat.astype(np.float64) - self.low) * (self.bins / (self.high - self.low))).astype(np.int64)
        np.minimum(index, self.bins - 1, out=index)
        self._counts[1] += np.bincount(index[positive], minlength=self.bins)
        self._counts[0] += np.bincount(index[~positive], minlength=self.bins)

    def merge(self, other: "ScoreHistogram") -> None:
        """Add the counts of another histogram. Raises MetricError unless it has the same bins."""
        if (self.low, self.high, self.bins) != (other.low, other.high, other.bins):
            raise MetricError("histograms of different bins cannot be merged.")
        self._counts += other._counts

    def ranking(self) -> Ranking:
        """The ranking of the bins. Raises MetricError if nothing was counted."""
        filled = np.flatnonzero(self._counts.sum(0))[::-1]
        if not len(filled):
            raise MetricError("there is nothing to measure.")
        edges = np.asarray(self.low + filled * ((self.high - self.low) / self.bins), np.float64)
        return Ranking(edges, np.cumsum(self._counts[1][filled]), np.cumsum(self._counts[0][filled]))

    def auroc(self) -> float:
        """As `ranking.auroc`."""
        return self.ranking().auroc()

    def average_precision(self) -> float:
        """As `ranking.average_precision`."""
        return self.ranking().average_precision()

    def f1_max(self) -> tuple[float, float]:
        """As `ranking.f1_max`."""
        return self.ranking().f1_max()
