"""The loop of every training: epochs, the log, what is best so far, checkpoints, and the model at the end.

What is trained, and how, is a detector's own: it gives the loop a `Work`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor

from detectors.metrics import all_metrics
from detectors.results import ScoredImage
from detectors.runs import VALIDATION
from detectors.training.options import Best, Options, Watch, selection_score, thresholds_from
from synthgen.runs.devices import memory_errors
from synthgen.runs.folder import CHECKPOINT, MODEL, Board, RunFolder, below, board
from synthgen.runs.steps import Clock, DivergedError, check_finite
from synthgen.terminal.training import Interrupted

_SELECTED_BY = ("image_auroc", "pixel_auroc", "pixel_ap")
_PEEKED_BY = ("image_auroc", "pixel_auroc")  # what PBAS's authors take the best epoch of

Peek = Callable[[], dict[str, float]]
"""Measures the test split with the detector as it is now, for `test-best` alone; `detectors eval` does it otherwise."""


class Work(Protocol):
    """A training in the works."""

    def begin(self) -> None:
        """Called once before the first epoch, not where a checkpoint is gone on from."""

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch, counted from 1; what was measured, such as mean losses."""

    def scored(self) -> list[ScoredImage]:
        """What the detector says about the held-out images and the anomalies made of them."""

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""

    def facts(self) -> dict[str, Any]:
        """What else it holds, JSON types."""

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go back to a checkpoint."""

    def selectable(self) -> dict[str, Tensor]:
        """What of the detector the selection chooses an epoch of."""

    def select(self, state: dict[str, Tensor]) -> None:
        """Take over what `selectable` gave in an earlier epoch."""

    def state_of_run(self) -> dict[str, Tensor]:
        """What the run's model file holds."""

    def finish(self, run: RunFolder) -> None:
        """Called once at the end, before the model is written: other files of the run."""


def train_epochs(work: Work, epochs: int, run: RunFolder, options: Options, watch: Watch, peek: Peek | None = None) -> None:
    """Train, from the run's checkpoint where there is one, and write the run's model.

    Args:
        work: what is trained.
        epochs: how many.
        run: where to.
        options: how.
        watch: hears of every epoch.
        peek: measures the test split, if `options.selection` is `test-best`.

    Raises:
        DivergedError: a loss was no number; the checkpoint of the last good epoch is kept.
        StorageError: the folder cannot be written.
        UsageError: the device has too little memory.
    """
    with memory_errors("while training"), board(run.path, options.tensorboard) as events:
        _Loop(work, epochs, run, options, peek).go(watch, events)


class _Loop:
    def __init__(self, work: Work, epochs: int, run: RunFolder, options: Options, peek: Peek | None) -> None:
        self.work, self.epochs, self.run, self.options, self.peek = work, epochs, run, options, peek
        self.best = Best()
        self.epoch = 0
        self.clock = Clock()

    def go(self, watch: Watch, events: Board) -> None:
        if not self._resume():
            self.work.begin()
        self.run.cut_log(self.epoch + 1)
        saved, good = time.monotonic(), self._state()
        try:
            while self.epoch < self.epochs:
                measured = self.work.train_epoch(self.epoch + 1)
                check_finite(measured, self.epoch + 1)
                self.epoch += 1
                if self.options.evaluates(self.epoch, self.epochs):
                    measured |= self._evaluate()
                good = self._state()
                self.run.log({"epoch": self.epoch, "seconds": round(self.clock.seconds, 3)} | measured)
                for name, value in measured.items():
                    events.add_scalar(name, value, self.epoch)
                watch(self.epoch, self.epochs, measured)
                if time.monotonic() - saved > self.options.checkpoint_seconds and self.epoch < self.epochs:
                    self.run.save(CHECKPOINT, *good)
                    saved = time.monotonic()
        except (DivergedError, Interrupted):
            if good[1]["epoch"]:
                self.run.save(CHECKPOINT, *good)
            raise
        self._finish()

    def _evaluate(self) -> dict[str, float]:
        """Metrics on held-out images, and on the test split where it was asked for; keeps the best state."""
        measured, _ = all_metrics(self.work.scored())
        state = self.work.selectable()
        if self.options.selection == "val":
            self.best.offer(selection_score(measured, _SELECTED_BY), self.epoch, state)
        named = {f"val_{name}": value for name, value in measured.items()}
        if self.peek is not None:
            seen = self.peek()
            self.best.offer(selection_score(seen, _PEEKED_BY), self.epoch, state)
            named |= {f"test_{name}": value for name, value in seen.items()}
        return named

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint would hold now: a copy."""
        tensors = self.work.tensors() | {f"best.{name}": value for name, value in self.best.state.items()}
        best = [self.best.score, self.best.epoch] if self.best.epoch else None
        facts = {"epoch": self.epoch, "best": best, "seconds": self.clock.seconds, **self.work.facts()}
        return {name: value.detach().clone() for name, value in tensors.items()}, facts

    def _resume(self) -> bool:
        """Go back to the checkpoint, if there is one."""
        loaded = self.run.load(CHECKPOINT)
        if loaded is None:
            return False
        tensors, facts = loaded
        self.work.restore(tensors, facts)
        if facts["best"] is not None:
            device = self.options.compute.device
            kept = {name: value.to(device) for name, value in below(tensors, "best.").items()}
            self.best = Best(facts["best"][0], facts["best"][1], kept)
        self.epoch, self.clock = facts["epoch"], Clock(facts["seconds"])
        return True

    def _finish(self) -> None:
        """Take the selected state, choose thresholds, and write the model; the checkpoint is no longer needed."""
        chosen = self.epoch
        if self.best.epoch:
            self.work.select(self.best.state)
            chosen = self.best.epoch
        scored = self.work.scored()
        thresholds = thresholds_from([one for one in scored if one.label == 0])
        measured, missing = all_metrics(scored)
        facts = {"epoch": chosen, "seconds": round(self.clock.seconds, 3)}
        self.run.write(VALIDATION, {"metrics": measured, "missing": missing, **facts})
        self.work.finish(self.run)
        self.run.save(MODEL, self.work.state_of_run(), {**facts, "thresholds": asdict(thresholds)})
        (self.run.path / CHECKPOINT).unlink(missing_ok=True)
