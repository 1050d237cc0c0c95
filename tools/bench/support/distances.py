"""How far two sets of patches are apart: KID, and the AUROC of a classifier that tells them; matched by window, by object."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detectors.metrics import auroc
from synthgen.errors import InputDataError
from synthgen.samples import Size
from tools.bench.support.patches import Patches, Window

Floats = NDArray[np.float64]

FOLDS = 4
PER_OBJECT = 3
FEWEST = FOLDS * PER_OBJECT  # so many patches are of at least as many objects as there are folds
_SHARE = 0.8  # of the real patches that may be drawn; a repetition draws so many
_PLACE = 0.25  # what a distance of one image side costs in the matching, against a side of the window e times as long
_RIDGE = 0.1  # of the mean squared length of a feature vector


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Patches, and what the network sees in them: (N, F)."""

    patches: Patches
    features: Floats

    def take(self, chosen: Sequence[int]) -> tuple[Floats, list[str]]:
        """Features and groups of some."""
        return self.features[list(chosen)], [self.patches.groups[i] for i in chosen]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `kid`, `auroc`, `side` and `place` hold a value for each repetition."""

    type: str
    name: str
    n: int
    kid: list[float] = field(default_factory=list)
    auroc: list[float] = field(default_factory=list)
    side: list[float] = field(default_factory=list)
    place: list[float] = field(default_factory=list)


def kid(first: Floats, second: Floats, first_groups: Sequence[str], second_groups: Sequence[str]) -> float:
    """Squared MMD of two sets of features, (N, F) and (M, F), by the cubic kernel; pairs of one group do not count."""

    def kernel(x: Floats, y: Floats) -> Floats:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    def within(x: Floats, groups: Sequence[str]) -> float:
        names = np.array(groups)
        return float(kernel(x, x)[names[:, None] != names].mean())

    return within(first, first_groups) + within(second, second_groups) - 2 * float(kernel(first, second).mean())


def folds_of(groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) 0 to FOLDS - 1: groups are dealt, in random order, to the fold that has least."""
    names = np.array(groups)
    folds, sizes = np.zeros(len(names), np.int64), np.zeros(FOLDS, int)
    for name in rng.permutation(np.unique(names)):
        fold = int(sizes.argmin())
        folds[names == name] = fold
        sizes[fold] += (names == name).sum()
    return folds


def told_apart(
    first: Floats, second: Floats, first_groups: Sequence[str], second_groups: Sequence[str], rng: np.random.Generator
) -> float:
    """Mean over the folds of the AUROC by which a ridge classifier, trained on the other folds, tells `second` from `first`."""
    x = np.concatenate([first, second])
    label = np.r_[np.zeros(len(first)), np.ones(len(second))].astype(np.uint8)
    folds = np.r_[folds_of(first_groups, rng), folds_of(second_groups, rng)]
    values = []
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        middle = (x[train & (label == 0)].mean(0) + x[train & (label == 1)].mean(0)) / 2
        inside = x[train] - middle
        products = inside @ inside.T
        weights = np.linalg.solve(
            products + _RIDGE * np.trace(products) / len(products) * np.eye(len(products)), 2.0 * label[train] - 1
        )
        values.append(auroc(label[test], (x[test] - middle) @ inside.T @ weights))
    return float(np.mean(values))


def matched(
    windows: Sequence[Window], offered: Sequence[Window], size: Size, rng: np.random.Generator
) -> tuple[list[int], float, float]:
    """For each window another offered one, alike in side and place; and what is left of both differences."""
    sides, places = _geometry(windows, size), _geometry(offered, size)
    ratio = np.abs(np.log(sides[:, None, 0] / places[None, :, 0]))
    distance = np.hypot(*np.moveaxis(sides[:, None, 1:] - places[None, :, 1:], 2, 0))
    cost = ratio + _PLACE * distance + 1e-3 * rng.random(ratio.shape)  # equals are drawn
    rows, columns = linear_sum_assignment(cost)
    off = float(np.exp(ratio[rows, columns]).mean() - 1)
    return [int(column) for column in columns], off, float(distance[rows, columns].mean())


def _geometry(windows: Sequence[Window], size: Size) -> Floats:
    """(N, 3): side, and middle in image sides."""
    return np.array([(side, (top + side / 2) / size[0], (left + side / 2) / size[1]) for top, left, side in windows], float)


def by_object(groups: Sequence[str], rng: np.random.Generator) -> list[list[int]]:
    """Numbers of at most PER_OBJECT patches of each group, all in random order."""
    names = np.array(groups)
    return [
        [int(i) for i in rng.permutation(np.flatnonzero(names == name))[:PER_OBJECT]]
        for name in rng.permutation(np.unique(names))
    ]


def halves(groups: Sequence[str], rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Two random halves that share no group."""
    first: list[int] = []
    second: list[int] = []
    for numbers in by_object(groups, rng):
        (first if len(first) <= len(second) else second).extend(numbers)
    return first, second


def sizes(groups: Sequence[str]) -> tuple[int, int]:
    """Patches that a repetition draws, and those that `halves` has in each half at least."""
    counts = np.minimum(np.unique(np.array(groups), return_counts=True)[1], PER_OBJECT)
    return int(_SHARE * counts.sum()), int((counts.sum() - counts.max(initial=0)) // 2)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Audit:
    """What one real type is compared with.

    Attributes:
        type: the real type's name.
        real: its defects.
        others: sets by name, and the rows to compare with but `real` and `surroundings`.
        beside: clean surroundings of the real defects, and `clean` the same windows of the sets' normal images.
        size: (height, width) of the images.
        notes: lines for a person.
    """

    type: str
    real: Seen
    others: dict[str, Seen]
    beside: Seen
    clean: Seen
    size: Size
    notes: list[str]


def measure(audit: Audit, repeats: int, seed: int = 0) -> list[Row]:
    """The rows of the table: `real`, the others, `surroundings`."""
    groups = audit.real.patches.groups
    drawn, half = sizes(groups)
    n = min(drawn, *(len(other.patches) for other in audit.others.values()))
    if n < FEWEST:
        offered = ", ".join(f"{len(other.patches)} of {name}" for name, other in audit.others.items())
        raise InputDataError(
            f"{audit.type}: {FEWEST} patches are needed on each side, and only {PER_OBJECT} of an object count. There are "
            f"{len(groups)} real ones of {len(set(groups))} objects, and {offered}. Take more images."
        )
    counts = {"real": half, **dict.fromkeys(audit.others, n), "surroundings": min(n, sizes(audit.beside.patches.groups)[0])}
    rows = [Row(audit.type, name, count) for name, count in counts.items() if count >= FEWEST]
    pairs = {"real": (audit.real, audit.real), "surroundings": (audit.beside, audit.clean)}
    pairs |= {name: (audit.real, other) for name, other in audit.others.items()}
    for repeat in range(repeats):
        for row in rows:
            rng = np.random.default_rng([seed, repeat])  # the same real patches for all sets
            base, other = pairs[row.name]
            side = place = 0.0
            if row.name == "real":
                first, chosen = (half_of[: row.n] for half_of in halves(groups, rng))
            else:
                first = draw(base.patches, row.n, rng)
                chosen, side, place = matched([base.patches.windows[i] for i in first], other.patches.windows, audit.size, rng)
            (x, x_groups), (y, y_groups) = base.take(first), other.take(chosen)
            row.kid.append(kid(x, y, x_groups, y_groups))
            row.auroc.append(told_apart(x, y, x_groups, y_groups, rng))
            row.side.append(side)
            row.place.append(place)
    return rows


def draw(patches: Patches, count: int, rng: np.random.Generator) -> list[int]:
    """Numbers of that many patches, PER_OBJECT at most of an object."""
    return [i for numbers in by_object(patches.groups, rng) for i in numbers][:count]
