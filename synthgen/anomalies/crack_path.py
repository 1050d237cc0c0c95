"""The course of a crack: random walks that branch, kept inside the part they start in (MaPhC2F, Algorithm 1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Mask

MAX_BRANCHES = 32  # Algorithm 1 has no bound


@dataclass(frozen=True, slots=True)
class Branch:
    """One arm of a crack.

    Attributes:
        points: (n, 2) float64 (y, x) in pixels, n >= 2, in order from the root.
        level: 0 for an arm from the starting point, 1 for its branches, and so on.
        share: width at its root relative to the crack's width, 0..1.
    """

    points: NDArray[np.float64]
    level: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkRules:
    """How a walk goes on.

    Attributes:
        steps: steps of an arm, if nothing stops it before.
        step: pixels per step.
        branching, stopping: probability per step to send out a branch, and to end.
        jitter: standard deviation of the direction around its slow drift, in radians.
        wander: standard deviation of the drift of the direction per step, in radians.
        kink: probability per step of a sudden change of direction.
        branch_angle: smallest and largest angle between a branch and its parent, in radians.
    """

    steps: int
    step: float
    branching: float
    stopping: float
    jitter: float
    wander: float
    kink: float
    branch_angle: tuple[float, float]


def grow(rng: np.random.Generator, starts: list[tuple[float, float, float]], rules: WalkRules, part: Mask) -> list[Branch]:
    """Arms from each start (y, x, direction in radians) and their branches, last in, first out.

    An arm ends where it leaves `part` ((H, W) uint8 {0, 1}), after its steps, or by chance. A branch has half of the steps
    that its parent had left (Algorithm 1, lines 28 to 32).
    """
    pending = [(y, x, angle, rules.steps, 0, 1.0) for y, x, angle in starts]
    branches: list[Branch] = []
    while pending and len(branches) < MAX_BRANCHES:
        y, x, angle, steps, level, share = pending.pop()
        points, angles = _walk(rng, (y, x, angle), steps, rules, part)
        if len(points) < 2:
            continue
        branches.append(Branch(points, level, share))
        for at in np.flatnonzero(rng.random(len(points) - 1) < rules.branching):
            turn = rng.uniform(*rules.branch_angle) * rng.choice((-1.0, 1.0))
            left = int((steps - at) // 2)
            along = at / max(len(points) - 1, 1)
            if left > 1:
                pending.append((*points[at + 1], angles[at] + turn, left, level + 1, share * (1 - 0.5 * along) * 0.7))
    return branches


def _walk(
    rng: np.random.Generator, start: tuple[float, float, float], steps: int, rules: WalkRules, part: Mask
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) points from a start (y, x, direction in radians) on and the (n - 1,) directions between them."""
    y, x, angle = start
    if steps <= 0:
        return np.zeros((0, 2)), np.zeros(0)
    if rules.stopping > 0:
        steps = min(steps, int(rng.geometric(rules.stopping)))
    angles = np.full(steps, angle)
    if rules.jitter or rules.wander or rules.kink:
        kinks = (rng.random(steps) < rules.kink) * rng.normal(0, 0.7, steps)
        drift = np.cumsum(rng.normal(0, rules.wander, steps) + kinks)
        # the drift is pulled back to the first direction: a crack meanders but rarely turns round
        angles += 1.2 * np.tanh(drift / 1.2) + rng.normal(0, rules.jitter, steps)
    points = np.empty((steps + 1, 2))
    points[0] = y, x
    points[1:, 0] = y + np.cumsum(np.sin(angles)) * rules.step
    points[1:, 1] = x + np.cumsum(np.cos(angles)) * rules.step
    row, column = np.rint(points).astype(np.int64).T
    height, width = part.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    inside[inside] = part[row[inside], column[inside]] > 0
    inside[0] = True
    length = len(points) if inside.all() else int(np.argmin(inside))
    return points[:length], angles[: length - 1]
