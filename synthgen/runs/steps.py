"""What every training does at each step: random numbers that a resumed training draws again, time, losses that are numbers."""

import hashlib
import math
import time

import torch
from torch import Tensor

from synthgen.errors import SynthgenError


class DivergedError(SynthgenError):
    """A loss was no number any more; the last good state is kept."""


def generator(seed: int, purpose: str, epoch: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """Random numbers that depend on these three alone, so that a resumed training draws the same."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{epoch}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The numbers 0 to count - 1 in the order of an epoch."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def check_finite(values: dict[str, float], epoch: int, unit: str = "epoch") -> None:
    """Raise a DivergedError if a loss is no number."""
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DivergedError(
            f"{unit} {epoch}: {', '.join(wrong)} is no number any more. If there was a good state, it is in the run's "
            "checkpoint. Lower the learning rates (--set), or give --precision fp32, in another --out."
        )


class Clock:
    """Seconds of training, those before a resume included.

    Args:
        before: seconds of earlier runs.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._start
