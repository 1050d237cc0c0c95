"""What every training shares: its options, random order, what it watches, and when it stops."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from detectors.data.feature_cache import Where
from detectors.results import ScoredImage, Thresholds
from synthgen.edges.model import model_file
from synthgen.edges.pipeline import EdgeAssets
from synthgen.errors import UsageError
from synthgen.files import file_sha256
from synthgen.runs.devices import Compute

SELECTIONS = ("last", "val", "test-best")
TEST_STAMP = "Selected on the test split: not an honest estimate."

Watch = Callable[[int, int, dict[str, float]], None]
"""Called after each epoch with its number from 1, their count, and what was measured."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to train, whatever the detector.

    Attributes:
        compute: device and precision.
        seed: of initialisation and order.
        selection: `last` epoch; `val`: the epoch that is best on held-out images; `test-best`: on the test split.
        evaluate_every: epochs between evaluations; 0 for about twenty in all.
        cache: where features are kept.
        edge_generator: draws edge edits, where a detector learns from some; its file or its training's folder.
        pidinet: weights of the network that finds edges; None for edges that need none.
        sam: weights of the network that finds regions; None for regions between edges.
        checkpoint_seconds: between checkpoints.
        tensorboard: whether to write its events.
    """

    compute: Compute
    seed: int = 0
    selection: str = "last"
    evaluate_every: int = 0
    cache: Where = "auto"
    edge_generator: Path | None = None
    pidinet: Path | None = None
    sam: Path | None = None
    checkpoint_seconds: float = 30.0
    tensorboard: bool = True

    @property
    def edge_tools(self) -> EdgeAssets | None:
        """What edge edits are made with; None without a generator."""
        if self.edge_generator is None:
            return None
        return EdgeAssets(self.edge_generator, self.pidinet, self.sam, str(self.compute.device))

    def evaluates(self, epoch: int, epochs: int) -> bool:
        """Whether there is an evaluation after this epoch, counted from 1."""
        every = self.evaluate_every or max(1, epochs // 20)
        return epoch % every == 0 or epoch == epochs


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


def thresholds_from(held_out: list[ScoredImage]) -> Thresholds:
    """What scores mean, by held-out normal images; see `Thresholds`."""
    return Thresholds(
        float(np.percentile([image.score for image in held_out], 99)),
        float(np.percentile([image.anomaly_map.max() for image in held_out], 99)),
        float(np.median([np.percentile(image.anomaly_map, 90) for image in held_out])),
    )


def selection_score(metrics: dict[str, float], names: tuple[str, ...]) -> float:
    """The mean of the metrics that are there.

    Raises:
        UsageError: none of them is.
    """
    there = [metrics[name] for name in names if name in metrics]
    if not there:
        raise UsageError("nothing to select by: there is no metric for these images. Use --select last.")
    return float(np.mean(there))


def facts(options: Options) -> dict[str, Any]:
    """What of the options belongs into the run's configuration."""
    return {
        "seed": options.seed,
        "selection": options.selection,
        "evaluate_every": options.evaluate_every,
        "precision": options.compute.precision,
        "compile": options.compute.compile,
        "device": options.compute.device.type,
        **{f"{name}_sha256": file_sha256(path) for name, path in _files(options).items()},
    }


def _files(options: Options) -> dict[str, Path]:
    """The files of networks that decide what is learned."""
    generator = None if options.edge_generator is None else model_file(options.edge_generator)
    named = {"edge_generator": generator, "pidinet": options.pidinet, "sam": options.sam}
    return {name: path for name, path in named.items() if path is not None}
