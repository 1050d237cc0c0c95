"""Measures CPU time so that ratios hold on a busy machine: variants take turns in one process, and medians are compared."""

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS, OpenMP and OpenCV use one thread inside."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield
    cv2.setNumThreads(before)


@dataclass(frozen=True, slots=True)
class Variant:
    """Something to measure: `run(i)` does the work for input i; `repeats` calls (inputs i, i + 1, ...) are one measurement."""

    run: Callable[[int], Any]
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU milliseconds of one call: median and smallest of the measurements."""

    median: float
    least: float

    @property
    def pair(self) -> list[float]:
        """Both, for a table's cell."""
        return [self.median, self.least]


def take_turns(variants: Mapping[str, Variant], rounds: int) -> dict[str, Timing]:
    """CPU time of one call of each variant; all take their turn in every round, after one call each that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for variant in variants.values():
        variant.run(0)
    for round_number in range(rounds):
        for name, variant in variants.items():
            gc.collect()
            start = time.process_time()
            for i in range(variant.repeats):
                variant.run(round_number * variant.repeats + i)
            taken[name].append(1000 * (time.process_time() - start) / variant.repeats)
    return {name: Timing(statistics.median(t), min(t)) for name, t in taken.items()}


def wall_clock(run: Callable[[], Any], calls: int = 20, rounds: int = 3) -> float:
    """Milliseconds of wall time of a call on a GPU: the least mean of some rounds, after one that warms up."""
    import torch

    best = float("inf")
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
        best = min(best, 1000 * (time.perf_counter() - start) / calls)
    return best


@dataclass(frozen=True, slots=True)
class CommandTime:
    """Seconds of a command and of all its children: CPU (user and system) and wall."""

    cpu: float
    wall: float


def time_command(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> CommandTime:
    """Runs `python ...` in `folder`, with variables added to its environment. If it fails, the benchmark ends with its text."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(f"exit status {done.returncode} from: python {' '.join(arguments)}\n{done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return CommandTime(cpu, wall)
