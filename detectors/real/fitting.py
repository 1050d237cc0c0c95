"""Whether ranges that were fitted to some real defects help to find others: told before anyone builds with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.data.backbones import Backbone
from detectors.real.defects import NORMAL
from detectors.real.worth.head import GRID, SIDE, Features, embed, shrink_mask
from detectors.real.worth.trial import Trial
from synthgen.anomalies.contract import TypeSettings
from synthgen.anomalies.registry import TYPES
from synthgen.fitting.fit import FittedType, fit_types
from synthgen.fitting.measure import measure, parts_like
from synthgen.fitting.samples import make_some
from synthgen.samples import Image, Mask
from synthgen.synthesis import PreparedNormal
from synthgen.terminal.callbacks import OnMessage

_SAMPLES = 64  # of each set
_STEPS = 100  # of each training
_SEEDS = (0, 1)
_HELD_OUT = 3  # one normal image of so many is tested on


@dataclass(frozen=True, slots=True)
class RangeCheck:
    """What a type's ranges came to on defects that they were not fitted to.

    Attributes:
        before, after: pixel AP 0..1 of a detector that learned from the type as it is, and with ranges fitted to the other
            half of the defects; means over both halves and two trainings. NaN where there were too few defects to tell.
    """

    before: float
    after: float

    @property
    def told(self) -> bool:
        """Whether there were enough defects."""
        return bool(np.isfinite(self.after))

    @property
    def helps(self) -> bool:
        """Whether the ranges are better than none."""
        return self.told and self.after > self.before

    @property
    def reason(self) -> str:
        """For people."""
        if not self.told:
            return "not checked: too few objects like it for two halves"
        word = "help" if self.helps else "do not help"
        return f"they {word}: pixel AP {100 * self.before:.1f} without, {100 * self.after:.1f} with, on the other half"


def check_types(
    fitted: Mapping[str, FittedType],
    marked: Sequence[tuple[str, Image, Mask]],
    objects: Sequence[int],
    normals: Sequence[PreparedNormal],
    settings: Mapping[str, TypeSettings],
    *,
    backbone: Backbone,
    device: torch.device,
    on_message: OnMessage = lambda _: None,
) -> dict[str, RangeCheck]:
    """Fit each type that has ranges to one half of the defects, and test on the other what a detector learns from it.

    Args:
        fitted: what `fit_types` made of all of them.
        marked: the defects, as it took them.
        objects: number of the object that each of these photographs shows; halves share none.
        normals: normal images; a third of them is tested on, the others are learned from.
        settings: what each type draws from now.
        backbone: whose features the detector has.
        device: where it runs.
        on_message: hears what happens.

    Raises:
        InputDataError: never of itself; what reading samples may raise.
    """
    tested, used = normals[::_HELD_OUT], [normal for k, normal in enumerate(normals) if k % _HELD_OUT]
    images = [*(image for _, image, _ in marked), *(normal.normal.pixels for normal in tested)]
    blank = np.zeros((SIDE, SIDE), np.uint8)
    trial = Trial(
        backbone=backbone,
        device=device,
        good=embed(backbone, (normal.normal.pixels for normal in used), len(used), device),
        seen=embed(backbone, images, len(images), device),
        masks=[*(shrink_mask(mask, SIDE) for _, _, mask in marked), *[blank] * len(tested)],
        kinds=[*(kind for kind, _, _ in marked), *[NORMAL] * len(tested)],
        objects=[*objects, *range(len(images), len(images) + len(tested))],
        steps=_STEPS,
    )
    checks = {}
    for name, fit in fitted.items():
        if fit.ranges:
            on_message(f"{name}: ranges of one half of the defects, tried on the other")
            checks[name] = _check(name, trial, marked, used, settings)
    return checks


def _check(
    name: str,
    trial: Trial,
    marked: Sequence[tuple[str, Image, Mask]],
    normals: Sequence[PreparedNormal],
    settings: Mapping[str, TypeSettings],
) -> RangeCheck:
    like = np.array([k for k, one in enumerate(marked) if measure(parts_like(name, [one])).images], np.intp)
    plain = _set(name, settings[name], trial, normals)
    if not len(plain[1]):
        return RangeCheck(np.nan, np.nan)
    unfitted = [trial.learned(*plain, seed) for seed in _SEEDS]
    normal = [k for k, kind in enumerate(trial.kinds) if kind == NORMAL]
    before: list[float] = []
    after: list[float] = []
    for shown, others in _halves(like, trial.objects):
        fit = fit_types([marked[k] for k in shown], normals, {name: settings[name]})[name]
        if not fit.ranges or not len(others):
            return RangeCheck(np.nan, np.nan)
        changed = _set(name, TYPES[name].settings(**{**settings[name].model_dump(), **fit.ranges}), trial, normals)
        if not len(changed[1]):
            return RangeCheck(np.nan, np.nan)
        keep = np.array([*others, *normal], np.intp)
        for seed, maps in zip(_SEEDS, unfitted, strict=True):
            before.append(trial.row(name, seed, len(plain[1]), maps, keep).metrics["pixel_ap"])
            maps = trial.learned(*changed, seed)
            after.append(trial.row(name, seed, len(changed[1]), maps, keep).metrics["pixel_ap"])
    return RangeCheck(float(np.mean(before)), float(np.mean(after)))


def _set(
    name: str, settings: TypeSettings, trial: Trial, normals: Sequence[PreparedNormal]
) -> tuple[Features, NDArray[np.uint8]]:
    """Features and masks of some samples."""
    samples = list(make_some(name, settings, normals, _SAMPLES, 0))
    masks = np.array([shrink_mask(sample.mask, 2 * GRID) for sample in samples], np.uint8)
    return embed(trial.backbone, (sample.image for sample in samples), len(samples), trial.device), masks


def _halves(like: NDArray[np.intp], objects: Sequence[int]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Each half of some photographs with the other: every other object."""
    own = np.array(objects)[like]
    order = np.random.default_rng(0).permutation(np.unique(own))
    first = np.isin(own, order[::2])
    yield like[first], like[~first]
    yield like[~first], like[first]
