"""A learning curve: what a few real defects are worth, as they are, copied, and copied beside the types."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.real.defects import NORMAL, RealImages
from detectors.real.worth.head import GRID, Features, embed, shrink_mask
from detectors.real.worth.trial import Row, Trial
from synthgen.anomalies.real import REAL
from synthgen.exemplars.exemplar import Exemplar, ExemplarSet
from synthgen.exemplars.stillness import lies_still
from synthgen.exemplars.taking_apart import take_apart
from synthgen.fitting.samples import make_some
from synthgen.foreground import Method, find_foreground
from synthgen.painting.surface import Surface
from synthgen.samples import NormalImage
from synthgen.synthesis import PreparedNormal

TYPES_ALONE, RAW, COPIES, BOTH = "the types alone", "the defects themselves", "copies of them", "copies and types"


def learning_curve(
    trial: Trial,
    test: RealImages,
    normals: Sequence[NormalImage],
    method: Method,
    types: tuple[Features, NDArray[np.uint8]],
    *,
    shots: Sequence[int],
    seeds: Sequence[int],
) -> Iterator[Row]:
    """Rows for each number of shots and each draw of them; what shows the same objects is left out of the test.

    Args:
        trial: what the detector learns from and is tested on.
        test: the real images, the first of the trial's in the same order.
        normals: those that are copied onto.
        method: how the object is found in them.
        types: features and masks of the samples of all types.
        shots: how many defects of each kind are shown.
        seeds: of a draw and its training.
    """
    prepared = [PreparedNormal(n, Surface(n.pixels, find_foreground(n, method).mask), "") for n in normals]
    still = lies_still([normal.surface for normal in prepared])
    count = len(types[1])
    for number in shots:
        for seed in seeds:
            shown = _drawn(trial, number, seed)
            keep = trial.without(shown)
            if all(trial.kinds[i] == NORMAL for i in keep):
                continue  # all are shown, and none is left to be found
            known = ExemplarSet(tuple(e for i in shown for e in _apart(test, int(i), normals[0], method)), still)
            copied = _copied(trial, prepared, known, count, seed) if known.exemplars else None
            raw = trial.seen[shown], np.stack([shrink_mask(_mask(test, int(i)), 2 * GRID) for i in shown])
            sets = {TYPES_ALONE: types, RAW: raw}
            if copied is not None:
                sets |= {COPIES: copied, BOTH: _half_each(copied, types)}
            for name, (features, targets) in sets.items():
                yield trial.row(name, seed, len(targets), trial.learned(features, targets, seed), keep, number)


def _drawn(trial: Trial, number: int, seed: int) -> NDArray[np.intp]:
    """So many marked defects of each kind, of as many objects, drawn by the seed: fewer are a part of more."""
    chosen: list[int] = []
    for kind in sorted({trial.kinds[i] for i in trial.marked}):
        own = np.array([i for i in trial.marked if trial.kinds[i] == kind])
        order = np.random.default_rng(seed).permutation(own).tolist()
        first = {trial.objects[i]: i for i in reversed(order)}  # of each object the one that was drawn first
        chosen += [i for i in order if first[trial.objects[i]] == i][:number]
    return np.array(sorted(chosen), np.intp)


def _mask(test: RealImages, number: int) -> NDArray[np.uint8]:
    mask = test.masks[number]
    assert mask is not None
    return mask


def _apart(test: RealImages, number: int, like: NormalImage, method: Method) -> list[Exemplar]:
    photograph = NormalImage(like.dataset, like.category, f"{test.kinds[number]}/{number}", "", test.images[number])
    method = Method("object", share=method.share) if method.folder is not None else method
    surface = Surface(photograph.pixels, find_foreground(photograph, method).mask)
    return take_apart(photograph.source, test.kinds[number], "", surface, _mask(test, number))


def _copied(
    trial: Trial, normals: Sequence[PreparedNormal], known: ExemplarSet, count: int, seed: int
) -> tuple[Features, NDArray[np.uint8]]:
    """Features and masks of at most so many copies, as many of each normal image."""
    for normal in normals:
        normal.surface.exemplars = known
    samples = list(make_some(REAL.name, REAL.configure(), normals, count, seed))
    targets = np.stack([shrink_mask(sample.mask, 2 * GRID) for sample in samples])
    return embed(trial.backbone, (sample.image for sample in samples), len(samples), trial.device), targets


def _half_each(
    first: tuple[Features, NDArray[np.uint8]], second: tuple[Features, NDArray[np.uint8]]
) -> tuple[Features, NDArray[np.uint8]]:
    """Every other sample of both sets."""
    features = np.concatenate([first[0][::2], second[0][1::2]])
    return features, np.concatenate([first[1][::2], second[1][1::2]])
