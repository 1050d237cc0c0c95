"""What trainings of detectors add to the loop of every training: the best epoch, thresholds, and the run's files.

What is trained, and how, is a detector's own: it gives the loop an `EpochTraining`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from detectors.contract import MeasureTest, TrainingOptions
from detectors.metrics import all_metrics
from detectors.results import ScoredImage
from detectors.runs import VALIDATION
from detectors.training.selection import TESTED_BY, VALIDATED_BY, Best, selection_score, thresholds_from
from synthgen.runs.folder import MODEL, Board, RunFolder, below
from synthgen.training.loop import OnUnit, Schedule, run_training

_ADVICE = "lower --batch-size or --size, or give --cache host"


def _nothing() -> None:
    """Nothing needs be done."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EpochTraining:
    """A training of a detector, as the loop sees it; the first weights are there.

    Attributes:
        train_epoch: trains for one epoch, counted from 1; gives what was measured, such as mean losses.
        scored: what the detector says about the held-out images and the anomalies made of them.
        state: what the run's model file holds.
        load_state: takes over what `state` gave earlier.
        optimizers: by name.
        begin: called before the first epoch, not where a checkpoint is gone on from.
        selectable: the part of `state` that the selection chooses an epoch of; None for all of it.
        tensors: what a checkpoint holds beside the state and the optimizers.
        facts: numbers that it holds.
        restore: takes over what `tensors` and `facts` gave; `facts` has the `epoch`, too.
        finish: called at the end with the run: writes other files of it than the model.
    """

    train_epoch: Callable[[int], dict[str, float]]
    scored: Callable[[], list[ScoredImage]]
    state: Callable[[], dict[str, Tensor]]
    load_state: Callable[[dict[str, Tensor]], object]
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    begin: Callable[[], None] = _nothing
    selectable: Callable[[], dict[str, Tensor]] | None = None
    tensors: Callable[[], dict[str, Tensor]] = dict
    facts: Callable[[], dict[str, float]] = dict
    restore: Callable[[Mapping[str, Tensor], Mapping[str, float]], None] = lambda tensors, facts: None
    finish: Callable[[RunFolder], None] = lambda run: None


def train_epochs(
    training: EpochTraining,
    epochs: int,
    run: RunFolder,
    options: TrainingOptions,
    on_epoch: OnUnit,
    measure_test: MeasureTest | None = None,
) -> None:
    """Train, from the run's checkpoint where there is one, and write the run's model.

    Args:
        training: what is trained.
        epochs: how many.
        run: where to.
        options: how.
        on_epoch: hears of every epoch.
        measure_test: measures the test split, if `options.selection` is `test-best`.

    Raises:
        DivergedError: a loss was no number; the checkpoint of the last good epoch is kept.
        StorageError: the folder cannot be written.
        UsageError: the device has too little memory.
    """
    schedule = Schedule(
        total=epochs,
        look_every=options.evaluate_every or max(1, epochs // 20),
        look_last=True,
        tensorboard=options.tensorboard,
        advice=_ADVICE,
    )
    run_training(_Selection(training, run, options, measure_test), run, schedule, on_epoch)


class _Selection:
    """A detector's training as work of the loop, see `synthgen.training.loop.Work`; keeps the best epoch's state."""

    def __init__(
        self, training: EpochTraining, run: RunFolder, options: TrainingOptions, measure_test: MeasureTest | None
    ) -> None:
        self.training, self.run, self.options, self.measure_test = training, run, options, measure_test
        self.optimizers = training.optimizers
        self.best = Best()

    def begin(self) -> None:
        self.training.begin()

    def advance(self, done: int, until: int) -> dict[str, float]:
        return self.training.train_epoch(until)

    def look(self, done: int, events: Board) -> dict[str, float]:
        """Metrics on held-out images, and on the test split where it was asked for; keeps the best state."""
        measured, _ = all_metrics(self.training.scored())
        state = (self.training.selectable or self.training.state)()
        if self.options.selection == "val":
            self.best.offer(selection_score(measured, VALIDATED_BY), done, state)
        named = {f"val_{name}": value for name, value in measured.items()}
        if self.measure_test is not None:
            tested = self.measure_test()
            self.best.offer(selection_score(tested, TESTED_BY), done, state)
            named |= {f"test_{name}": value for name, value in tested.items()}
        return named

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"state.{name}": value for name, value in self.training.state().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.state.items()}
        return tensors | self.training.tensors()

    def facts(self) -> dict[str, float]:
        best = {"best_score": self.best.score, "best_epoch": self.best.epoch} if self.best.epoch else {}
        return best | self.training.facts()

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
        device = self.options.compute.device
        self.training.load_state({name: value.to(device) for name, value in below(tensors, "state.").items()})
        self.training.restore(tensors, facts)
        if "best_epoch" in facts:
            state = {name: value.to(device) for name, value in below(tensors, "best.").items()}
            self.best = Best(facts["best_score"], int(facts["best_epoch"]), state)

    def finish(self, done: int, seconds: float, events: Board) -> None:
        """Take the selected state, choose thresholds, and write the model."""
        if self.best.epoch:
            self.training.load_state(self.training.state() | self.best.state)
        scored = self.training.scored()
        thresholds = thresholds_from([image for image in scored if image.label == 0])
        measured, missing = all_metrics(scored)
        facts = {"epoch": self.best.epoch or done, "seconds": round(seconds, 3)}
        self.run.write(VALIDATION, {"metrics": measured, "missing": missing, **facts})
        self.training.finish(self.run)
        self.run.save(MODEL, self.training.state(), {**facts, "thresholds": asdict(thresholds)})
