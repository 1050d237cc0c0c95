"""AUROC, average precision and the best F1 of scores: exact, by sorting, and depending on the scores' order alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.metrics.errors import MetricError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """How many positives and negatives score at least as much as each distinct score, highest first.

    Attributes:
        thresholds: (K,) distinct scores, descending.
        true: (K,) int64, positives at or above the threshold.
        false: (K,) int64, negatives at or above it.
    """

    thresholds: Floats
    true: NDArray[np.int64]
    false: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """All positives."""
        return int(self.true[-1])

    @property
    def negatives(self) -> int:
        """All negatives."""
        return int(self.false[-1])

    def auroc(self) -> float:
        """Area under the curve of true over false positives, by trapezoids: ties count one half."""
        self._need_both()
        true, false = _from_zero(self.true), _from_zero(self.false)
        return float(np.trapezoid(true, false) / (true[-1] * false[-1]))

    def average_precision(self) -> float:
        """Sum of precision times gain in recall, over falling thresholds."""
        self._need_both()
        gains = np.diff(self.true, prepend=0) / self.positives
        return float((gains * self.true / (self.true + self.false)).sum())

    def f1_max(self) -> tuple[float, float]:
        """The largest F1 of any threshold, and that threshold (scores at or above it are called positive)."""
        self._need_both()
        scores = 2 * self.true / (self.true + self.false + self.positives)
        best = int(scores.argmax())
        return float(scores[best]), float(self.thresholds[best])

    def roc_curve(self) -> tuple[Floats, Floats]:
        """False and true positive rates, (K + 1,) each, from (0, 0) to (1, 1)."""
        self._need_both()
        return _from_zero(self.false) / self.negatives, _from_zero(self.true) / self.positives

    def _need_both(self) -> None:
        """Every measure asks how well two classes are told apart: of one alone none has a meaning."""
        if not self.positives:
            raise MetricError("there is no anomaly among what is measured.")
        if not self.negatives:
            raise MetricError("there is nothing normal among what is measured.")
        if len(self.thresholds) == 1:
            raise MetricError("the detector gives everything the same score.")


def rank(labels: ArrayLike, scores: ArrayLike) -> Ranking:
    """Rank scores.

    Args:
        labels: 1 for positives (anomalies), 0 for negatives; any shape.
        scores: finite floats of the same shape, larger is more anomalous.

    Raises:
        MetricError: empty, of different shapes, other labels, or scores that are no numbers.
    """
    flat_labels, flat = np.asarray(labels).reshape(-1), np.asarray(scores).reshape(-1)
    if flat_labels.shape != flat.shape:
        raise MetricError(f"{len(flat_labels)} labels and {len(flat)} scores do not belong together.")
    if not len(flat):
        raise MetricError("there is nothing to measure.")
    if flat.dtype != np.float32:
        flat = flat.astype(np.float64)
    if not np.isfinite(flat).all():
        raise MetricError("some scores are no finite numbers: the detector is broken, or its training diverged.")
    positive = flat_labels == 1
    if not (positive | (flat_labels == 0)).all():
        raise MetricError("labels other than 0 and 1.")
    # sorting each class by itself needs no index: three times as fast as an argsort
    high, low = np.sort(flat[positive]), np.sort(flat[~positive])
    thresholds = _distinct(high, low)
    true = len(high) - np.searchsorted(high, thresholds, side="left")
    false = len(low) - _counts_below(low, thresholds)
    return Ranking(thresholds.astype(np.float64), true.astype(np.int64), false.astype(np.int64))


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, 0 to 1; of any number of scores.

    Sums, over the positives, the negatives that score less (ties one half): the Mann-Whitney statistic.

    Raises:
        MetricError: there is but one class, one score, or something that is no number.
    """
    flat_labels, flat = np.asarray(labels).reshape(-1), np.asarray(scores).reshape(-1)
    if len(flat) < _MANY:
        return rank(flat_labels, flat).auroc()
    high, low = _classes(flat_labels, flat)
    below = np.searchsorted(low, high, side="left").sum(dtype=np.int64)
    up_to = np.searchsorted(low, high, side="right").sum(dtype=np.int64)
    return float((int(below) + int(up_to)) / (2 * len(high) * len(low)))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision, 0 to 1. Raises MetricError as `auroc` does."""
    return rank(labels, scores).average_precision()


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The largest F1 of any threshold, 0 to 1, and the threshold. Raises MetricError as `average_precision`."""
    return rank(labels, scores).f1_max()


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates from (0, 0) to (1, 1). Raises MetricError as `auroc`."""
    return rank(labels, scores).roc_curve()


_MANY = 1 << 16


def _classes(labels: NDArray[np.generic], scores: NDArray[np.generic]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Scores of positives and of negatives, sorted; checked as for a ranking."""
    if labels.shape != scores.shape:
        raise MetricError(f"{len(labels)} labels and {len(scores)} scores do not belong together.")
    if not np.isfinite(scores).all():
        raise MetricError("some scores are no finite numbers: the detector is broken, or its training diverged.")
    positive = labels == 1
    if np.count_nonzero(positive) + np.count_nonzero(labels == 0) != len(labels):
        raise MetricError("labels other than 0 and 1.")
    high, low = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(high):
        raise MetricError("there is no anomaly among what is measured.")
    if not len(low):
        raise MetricError("there is nothing normal among what is measured.")
    if high[0] == high[-1] == low[0] == low[-1]:
        raise MetricError("the detector gives everything the same score.")
    return high, low


def _distinct(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """The distinct values of two sorted arrays, descending."""
    merged = np.concatenate([first, second])
    merged.sort(kind="stable")  # finds the two runs and merges them
    fresh = np.ones(len(merged), bool)
    np.not_equal(merged[1:], merged[:-1], out=fresh[1:])
    return merged[fresh][::-1]


def _counts_below(values: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.searchsorted(values, thresholds, side="left").astype(np.int64)


def _from_zero(counts: NDArray[np.int64]) -> Floats:
    return np.concatenate([[0.0], counts.astype(np.float64)])
