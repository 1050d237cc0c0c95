"""The loop of every training: begin or go on, advance, measure, log, keep the last good state, finish.

What is trained, and how, is a training's own: it gives the loop a `Work`. Progress is counted in units: epochs or steps.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from synthgen.errors import IntegrityError
from synthgen.runs.devices import memory_errors
from synthgen.runs.folder import CHECKPOINT, Board, RunFolder, board, pack_optimizer, unpack_optimizer
from synthgen.runs.steps import Clock, DivergedError, check_finite
from synthgen.terminal.training import Interrupted

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints, and so the most that a kill can cost; a signal costs a unit or a round."""

OnUnit = Callable[[int, int, dict[str, float]], None]
"""Called after each unit or round with the unit from 1, their count, and what was measured."""


class Work(Protocol):
    """A training in the works. Its state is that of its optimizers and what `tensors` and `facts` give."""

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """By name; their learning rates are logged."""

    def begin(self) -> None:
        """Called once before the first unit, not where a checkpoint is gone on from."""

    def advance(self, done: int, until: int) -> dict[str, float]:
        """Train from unit `done` (from 0) to `until`; what was measured, such as mean losses.

        Raises:
            DivergedError: something is no number any more; the loop looks at what was measured itself.
        """

    def look(self, done: int, events: Board) -> dict[str, float]:
        """Measure on held-out images after unit `done`, where that is due."""

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds beside the optimizers."""

    def facts(self) -> dict[str, float]:
        """What else it holds."""

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
        """Go back to what `tensors` and `facts` gave; the optimizers follow."""

    def finish(self, done: int, seconds: float, events: Board) -> None:
        """Called once at the end: measure, and write the run's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long a training goes on, and when it looks at itself.

    Attributes:
        total: units in all.
        unit: `epoch` or `step`.
        round: units between two lines of the log.
        look_every: units between two looks at held-out images.
        look_last: whether there is such a look after the last unit, beside what `finish` does.
        leads: whether this process writes; of several that share a training one does.
        tensorboard: whether to write its events.
        advice: what to do where the device has too little memory.
    """

    total: int
    unit: str = "epoch"
    round: int = 1
    look_every: int = 1
    look_last: bool = False
    leads: bool = True
    tensorboard: bool = True
    advice: str = "give --set batch_size or --size a smaller value"

    def next_stop(self, done: int) -> int:
        """The unit at which the round that begins after `done` ends."""
        return min(done - done % self.round + self.round, self.total)

    def looks(self, before: int, done: int) -> bool:
        """Whether there is a look between two stops."""
        if done == self.total:
            return self.look_last
        return done // self.look_every > before // self.look_every


def run_training(work: Work, run: RunFolder, schedule: Schedule, on_unit: OnUnit) -> None:
    """Train, from the run's checkpoint where there is one, to the end.

    Args:
        work: what is trained.
        run: where to.
        schedule: how long.
        on_unit: hears of every unit or round.

    Raises:
        DivergedError: something is no number any more; the last good state is in the run's checkpoint.
        Interrupted: a signal came; likewise.
        IntegrityError: the checkpoint is damaged, or another training's.
        StorageError: the folder cannot be written.
        UsageError: the device has too little memory.
    """
    tensorboard = schedule.tensorboard and schedule.leads
    with memory_errors("while training", schedule.advice), board(run.path, tensorboard) as events:
        _Loop(work, run, schedule, events).go(on_unit)


class _Loop:
    def __init__(self, work: Work, run: RunFolder, schedule: Schedule, events: Board) -> None:
        self.work, self.run, self.schedule, self.events = work, run, schedule, events
        self.done = 0
        self.clock = Clock()

    def go(self, on_unit: OnUnit) -> None:
        total, leads = self.schedule.total, self.schedule.leads
        if not self._resume():
            self.work.begin()
        if leads:
            self.run.cut_log(self.done + 1, self.schedule.unit)
        saved, good = time.monotonic(), self._state()
        try:
            while self.done < total:
                measured = self._advance()
                if not leads:
                    continue
                good = self._state()
                if time.monotonic() - saved > CHECKPOINT_SECONDS and self.done < total:
                    self.run.save(CHECKPOINT, *good)
                    saved = time.monotonic()
                on_unit(self.done, total, measured)
        except (DivergedError, Interrupted):
            if leads and good[1][self.schedule.unit]:
                self.run.save(CHECKPOINT, *good)
            raise
        if leads:
            self.work.finish(self.done, self.clock.seconds, self.events)
            (self.run.path / CHECKPOINT).unlink(missing_ok=True)

    def _advance(self) -> dict[str, float]:
        """One unit or round, logged; what was measured."""
        schedule, before = self.schedule, self.done
        done = schedule.next_stop(before)
        measured = self.work.advance(before, done)
        check_finite(measured, done, schedule.unit)
        self.done = done
        if schedule.leads:
            if schedule.looks(before, done):
                measured |= self.work.look(done, self.events)
            record = measured | _learning_rates(self.work.optimizers)
            self.run.log({schedule.unit: done, "seconds": round(self.clock.seconds, 3)} | record)
            for name, value in record.items():
                self.events.add_scalar(name, value, done)
        return measured

    def _state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What a checkpoint would hold now, copied; no tensors where another process writes it."""
        tensors: dict[str, Tensor] = {}
        if self.schedule.leads:
            tensors |= self.work.tensors()
            for name, optimizer in self.work.optimizers.items():
                tensors |= pack_optimizer(optimizer, f"optimizer.{name}")
        facts = {self.schedule.unit: self.done, "seconds": self.clock.seconds} | self.work.facts()
        return {name: value.detach().clone() for name, value in tensors.items()}, facts

    def _resume(self) -> bool:
        """Go back to the checkpoint, if there is one."""
        loaded = self.run.load(CHECKPOINT)
        if loaded is None:
            return False
        tensors, facts = loaded
        try:
            self.work.restore(tensors, facts)
            for name, optimizer in self.work.optimizers.items():
                unpack_optimizer(optimizer, f"optimizer.{name}", tensors)
            self.done, self.clock = facts[self.schedule.unit], Clock(facts["seconds"])
        except torch.OutOfMemoryError:
            raise
        except (KeyError, ValueError, RuntimeError) as error:
            path = self.run.path / CHECKPOINT
            raise IntegrityError(f"{path}: not a checkpoint of this training. Remove it, and train again.") from error
        return True


def _learning_rates(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, float]:
    """Those of the last step, of each optimizer's first parameters: `learning_rate`, or one by name where there are several."""
    rates = {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in optimizers.items()}
    several = len(rates) > 1
    return {f"learning_rate_{name}" if several else "learning_rate": rate for name, rate in rates.items()}
