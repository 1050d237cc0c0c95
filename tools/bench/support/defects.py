"""The patches of one real type and of what is compared with it, cut and described."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.data.backbones import Backbone
from detectors.official_test import open_test_split, read_mask
from synthgen.datasets.images import read_image
from synthgen.errors import UsageError, suggest
from synthgen.samples import Image, Mask, Sample, Size
from synthgen.shards import ShardDataset
from tools.bench.support.distances import Audit, Floats, Seen
from tools.bench.support.patches import (
    Locator,
    Patches,
    Window,
    cut,
    describe,
    farthest,
    same_objects,
    window_at,
    window_beside,
    window_of,
)

MOST = 400  # samples of a set, and normal images, that are looked at
_FLOOR = 0.1  # of the median deviation: channels that are nearly silent on normal patches do not decide alone


@dataclass(frozen=True, slots=True, eq=False)
class Defects:
    """Real defects, and the synthetic ones that stand for them, each in a window.

    Attributes:
        photographs, windows, objects: the real images, where each defect is, and the object that it is of.
        masks: the real defects' masks, or their windows where nobody marked them.
        synthetic: patches of each set.
        notes: lines for a person.
    """

    photographs: list[Image]
    windows: list[Window]
    objects: list[str]
    masks: list[Mask]
    synthetic: dict[str, Patches]
    notes: list[str]


def real_images(folder: Path, kind: str, size: Size) -> list[tuple[Image, Mask | None]]:
    """Images of one kind of defect, with their masks where they have one."""
    files = open_test_split("folder", folder, folder.resolve().name)
    kinds = sorted({file.kind for file in files if file.label})
    if kind not in kinds:
        raise UsageError(f"--types {kind}: {folder}/test has no such folder.{suggest(kind, kinds)}")
    return [(read_image(file.path, size)[0], read_mask(file, size)) for file in files if file.kind == kind]


def spread(count: int) -> list[int]:
    """MOST numbers at most, evenly spread over 0 to count - 1."""
    return [int(i) for i in np.linspace(0, count - 1, min(count, MOST)).round()]


def samples_of(shards: ShardDataset, types: Sequence[str]) -> Iterator[Sample]:
    """Accepted samples of the types."""
    accepted = np.flatnonzero(np.isin(shards.column("type"), types) & (shards.column("rejected") == ""))
    return (shards[int(accepted[i])] for i in spread(len(accepted)))


def prepare(
    real: Path, kind: str, types: Sequence[str], sets: Mapping[str, ShardDataset], normals: Sequence[Image], backbone: Backbone
) -> Audit:
    """Cut all patches of one real type, and describe them."""
    size: Size = normals[0].shape[:2]
    cases = real_images(real, kind, size)
    marked = [(image, mask) for image, mask in cases if mask is not None]
    used = {name: shards for name, shards in sets.items() if any(True for _ in samples_of(shards, types))}
    if not used:
        raise UsageError(f"--types {kind}: no set has samples of {' or '.join(types)}. Say which stand for it: {kind}=TYPE.")
    samples = {name: list(samples_of(shards, types)) for name, shards in used.items()}
    if 2 * len(marked) >= len(cases):
        defects = by_masks(marked, samples)
    else:
        defects = by_search([image for image, _ in cases], samples, Locator(backbone, normals, 0))
    notes = [f"{len(cases)} real images, {len(marked)} with a mask"]
    notes += [f"{name}: left out, no {' or '.join(types)}" for name in sets if name not in used]
    sources = {normal.source: normal.pixels for shards in used.values() for normal in shards.normals()}
    patches, room = all_patches(defects, normals, sources)
    notes += [*defects.notes, f"{len(set(defects.objects))} real objects; {room} with room beside the defect"]
    seen = described(patches, backbone)
    return Audit(
        type=kind, real=seen["real"], others={name: seen[name] for name in ("normal", *samples)}, beside=seen["beside"],
        clean=seen["clean"], size=size, notes=notes,
    )  # fmt: skip


def by_masks(marked: Sequence[tuple[Image, Mask]], samples: Mapping[str, list[Sample]]) -> Defects:
    """Windows around what is marked."""
    masks = [mask for _, mask in marked]
    return Defects(
        photographs=[image for image, _ in marked],
        windows=[window_of(mask) for mask in masks],
        objects=[f"real {number}" for number in same_objects(masks)],
        masks=masks,
        synthetic={name: cut((s.image, window_of(s.mask), s.spec.source) for s in of_set) for name, of_set in samples.items()},
        notes=[],
    )


def by_search(photographs: list[Image], samples: Mapping[str, list[Sample]], locator: Locator) -> Defects:
    """Windows of one side at the most unusual places, where too few defects are marked."""
    size: Size = photographs[0].shape[:2]
    side = int(np.median([window_of(sample.mask)[2] for of_set in samples.values() for sample in of_set]))
    windows = [window_at(*farthest(locator.distances(image), size), side, size) for image in photographs]
    synthetic, notes = {}, []
    for name, of_set in samples.items():
        cases, hits = [], 0
        for sample in of_set:
            distances = locator.distances(sample.image)
            window = window_at(*farthest(distances, size, sample.mask), side, size)
            cases.append((sample.image, window, sample.spec.source))
            hits += _hit(farthest(distances, size), sample.mask)
        synthetic[name] = cut(cases)
        notes.append(f"{name}: the most unusual place is on the mask in {hits} of {len(of_set)}")
    return Defects(
        photographs=photographs,
        windows=windows,
        objects=[f"real {number}" for number in range(len(photographs))],
        masks=[_square(window, size) for window in windows],
        synthetic=synthetic,
        notes=notes,
    )


def all_patches(defects: Defects, normals: Sequence[Image], sources: dict[str, Image]) -> tuple[dict[str, Patches], int]:
    """Patches by the table's rows; and how many real defects have room beside them."""
    pairs = enumerate(zip(defects.masks, defects.windows, strict=True))
    beside = [(window_beside(mask, window), k) for k, (mask, window) in pairs]
    clean = [(window, k) for window, k in beside if window is not None]
    patches = {
        "real": cut(zip(defects.photographs, defects.windows, defects.objects, strict=True), keep=True),
        "normal": same_windows(defects.windows, {f"normal {i}": normal for i, normal in enumerate(normals)}),
        **defects.synthetic,
        "beside": cut((defects.photographs[k], window, defects.objects[k]) for window, k in clean),
        "clean": same_windows([window for window, _ in clean], sources),
    }
    return patches, len(clean)


def described(patches: Mapping[str, Patches], backbone: Backbone) -> dict[str, Seen]:
    """What the network sees in them, in deviations of normal patches, compressed."""
    raw: dict[str, NDArray[np.float64]] = {name: describe(backbone, part.pixels) for name, part in patches.items() if len(part)}
    middle, deviation = raw["normal"].mean(0), raw["normal"].std(0)
    deviation = np.maximum(deviation, _FLOOR * np.median(deviation))
    empty = np.empty((0, len(middle)))
    return {
        name: Seen(part, compressed((raw[name] - middle) / deviation) if name in raw else empty)
        for name, part in patches.items()
    }


def compressed(z: Floats) -> Floats:
    """Deviations from normal of any size, large ones by their logarithm."""
    return np.asarray(np.sign(z) * np.log1p(np.abs(z)))


def same_windows(windows: Sequence[Window], images: dict[str, Image]) -> Patches:
    """The windows, in turn, of the images, in turn, until all of both have had their turn."""
    names = sorted(images)
    count = max(len(windows), len(names)) if windows else 0
    return cut((images[names[i % len(names)]], windows[i % len(windows)], names[i % len(names)]) for i in range(count))


def _square(window: Window, size: Size) -> Mask:
    mask, (top, left, side) = np.zeros(size, np.uint8), window
    mask[top : top + side, left : left + side] = 1
    return mask


def _hit(place: tuple[float, float], mask: Mask) -> bool:
    """Whether the mask is within a twentieth of the image's side of a place."""
    ys, xs = np.nonzero(mask)
    return bool(np.hypot(ys - place[0], xs - place[1]).min() <= min(mask.shape) / 20)
