"""Which epoch of a training is kept, and what its scores mean."""

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from detectors.results import ScoredImage, Thresholds
from synthgen.errors import UsageError

SELECTIONS = ("last", "val", "test-best")
TEST_STAMP = "Selected on the test split: not an honest estimate."
VALIDATED_BY = ("image_auroc", "pixel_auroc", "pixel_ap")
TESTED_BY = ("image_auroc", "pixel_auroc")  # what published code takes the best epoch of


@dataclass(slots=True)
class Best:
    """The best state so far of a training that selects.

    Attributes:
        score: of that state, larger is better.
        epoch: after which it was, from 1; 0 before there is any.
        state: its tensors.
    """

    score: float = -math.inf
    epoch: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, score: float, epoch: int, state: dict[str, Tensor]) -> None:
        """Keep a copy of a state if it is better."""
        if score > self.score:
            self.score, self.epoch = score, epoch
            self.state = {name: value.detach().clone() for name, value in state.items()}


def check_selection(selection: str) -> None:
    """Raise a UsageError unless it is one of `SELECTIONS`."""
    if selection not in SELECTIONS:
        raise UsageError(f"--select {selection}: expected one of {', '.join(SELECTIONS)}.")


def selection_score(metrics: dict[str, float], names: tuple[str, ...]) -> float:
    """The mean of the metrics that are there.

    Raises:
        UsageError: none of them is.
    """
    there = [metrics[name] for name in names if name in metrics]
    if not there:
        raise UsageError("nothing to select by: there is no metric for these images. Use --select last.")
    return float(np.mean(there))


def thresholds_from(held_out: list[ScoredImage]) -> Thresholds:
    """What scores mean, by held-out normal images; see `Thresholds`."""
    return Thresholds(
        float(np.percentile([image.score for image in held_out], 99)),
        float(np.percentile([image.anomaly_map.max() for image in held_out], 99)),
        float(np.median([np.percentile(image.anomaly_map, 90) for image in held_out])),
    )
