"""How far synthetic defects are from real ones of the same material, for several settings of the generator.

    python tools/bench/realism.py --real CATEGORY --types crack,blowhole=spot+corrosion --set NAME=SHARDS --set NAME=SHARDS
        --weights resnet18.pth [--normals FOLDER] [--repeats 20] [--json FILE] [--sheet FILE.png]

CATEGORY has MVTec AD's layout; `REAL=SYNTHETIC+SYNTHETIC` says which synthetic types stand for a real one that is called
otherwise. SHARDS are folders of `synthgen build`, all of one image size, to which real images are resized as normal ones are.
Normal images are those of CATEGORY/train/good unless `--normals` says otherwise.

Each defect is seen in a square window (around the largest part of its mask, 1.6 times as long), as the mean and the deviation
of the channels of a frozen ResNet-18's levels 1 to 3: standardised by those of normal patches, then compressed to
sign(z) log(1 + |z|), or a few patches with channels that are nearly silent on normal ones would decide everything. Each
repetition draws n real patches; a set gives the n that match them best by the side of the window and, less so, by its place.
Two figures, as mean and deviation over the repetitions:

- KID: squared MMD with the kernel (x y / F + 1)^3. Without bias, as no pair of patches of one object counts; 0 is alike.
- AUROC of a ridge classifier that tells synthetic from real, over folds that share no object and no source image: 0.5 is
  alike, 1 means that every one is told. Of few patches that are alike, folds make it fall somewhat below 0.5.

Real images whose masks overlap count as photographs of one object: of each, a repetition takes three at most. Rows to
compare with: `real`, one half of the real defects against the other, so at a smaller n; `normal`, the same windows of normal
images; `surroundings`, windows beside the real defects against the same windows of the sets' normal images. The last tells
how much of a difference has nothing to do with defects: the light, the compression, the objects that were chosen. Rows for
which there are too few objects are left out. `side` and `place` are what the matching left: the mean ratio of the sides less
1, and the distance of the middles in image sides.

If most images of a real type have no mask, windows lie at the most unusual place by the features instead, all of one side; in
synthetic images at the most unusual place of the mask. How often it lies on the mask of a synthetic one when the whole image
is searched is printed: a guess at how often the real windows are right. Look at the sheet.

What the figures cannot tell: whether masks are right; whether sizes, places and numbers of defects are (those are matched
away, and what exceeds the largest window is not seen); look from strength, so that a bold defect of the wrong kind can be
nearer to bold real ones than a faint one of the right kind; which part of a difference a detector would mind (`synthgen
worth` tells); that a real defect was photographed, compressed and shrunk with its image, while a synthetic one is drawn at
the final size. An AUROC grows with n: compare rows of one table only, and by the KID where all are told. With few real
objects, all rows share their accidents: the deviation says nothing about other real defects.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detectors.data.backbones import Backbone, load_backbone
from detectors.metrics import auroc
from detectors.official_test import open_test_split, read_mask
from synthgen.datasets import read_normal, scan
from synthgen.datasets.images import read_image, resize
from synthgen.errors import InputDataError, SynthgenError, UsageError, suggest
from synthgen.samples import Image, Mask, Sample, Size
from synthgen.shards import ShardDataset
from tools.bench.realism_patches import (
    LEVELS,
    PATCH,
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

Floats = NDArray[np.float64]

FOLDS = 4
PER_OBJECT = 3
FEWEST = FOLDS * PER_OBJECT  # so many patches are of at least as many objects as there are folds
_SHARE = 0.8  # of the real patches that may be drawn; a repetition draws so many
MOST = 400  # samples of a set, and normal images, that are looked at
_PLACE = 0.25  # what a distance of one image side costs in the matching, against a side of the window e times as long
_FLOOR = 0.1  # of the median deviation: channels that are nearly silent on normal patches do not decide alone
_RIDGE = 0.1  # of the mean squared length of a feature vector
_COLUMNS = 14
_LABEL = 150


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
    kid: list[float]
    auroc: list[float]
    side: list[float]
    place: list[float]


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
    found = []
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        middle = (x[train & (label == 0)].mean(0) + x[train & (label == 1)].mean(0)) / 2
        inside = x[train] - middle
        products = inside @ inside.T
        weights = np.linalg.solve(
            products + _RIDGE * np.trace(products) / len(products) * np.eye(len(products)), 2.0 * label[train] - 1
        )
        found.append(auroc(label[test], (x[test] - middle) @ inside.T @ weights))
    return float(np.mean(found))


def matched(
    wanted: Sequence[Window], offered: Sequence[Window], size: Size, rng: np.random.Generator
) -> tuple[list[int], float, float]:
    """For each wanted window another offered one, alike in side and place; and what is left of both differences."""
    sides, places = _geometry(wanted, size), _geometry(offered, size)
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
    for some in by_object(groups, rng):
        (first if len(first) <= len(second) else second).extend(some)
    return first, second


def sizes(groups: Sequence[str]) -> tuple[int, int]:
    """Patches that a repetition draws, and those that `halves` has in each half at least."""
    counts = np.minimum(np.unique(np.array(groups), return_counts=True)[1], PER_OBJECT)
    return int(_SHARE * counts.sum()), int((counts.sum() - counts.max(initial=0)) // 2)


@dataclass(frozen=True, slots=True, eq=False)
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
    rows = [Row(audit.type, name, count, [], [], [], []) for name, count in counts.items() if count >= FEWEST]
    pairs = {"real": (audit.real, audit.real), "surroundings": (audit.beside, audit.clean)}
    pairs |= {name: (audit.real, other) for name, other in audit.others.items()}
    for repeat in range(repeats):
        for row in rows:
            rng = np.random.default_rng([seed, repeat])  # the same real patches for all sets
            base, other = pairs[row.name]
            side = place = 0.0
            if row.name == "real":
                first, chosen = (some[: row.n] for some in halves(groups, rng))
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
    return [i for some in by_object(patches.groups, rng) for i in some][:count]


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
    kept = np.flatnonzero(np.isin(shards.column("type"), types) & (shards.column("rejected") == ""))
    return (shards[int(kept[i])] for i in spread(len(kept)))


def prepare(
    real: Path, kind: str, types: Sequence[str], sets: dict[str, ShardDataset], normals: Sequence[Image], backbone: Backbone
) -> Audit:
    """Cut all patches of one real type, and describe them."""
    size: Size = normals[0].shape[:2]
    cases = real_images(real, kind, size)
    marked = [(image, mask) for image, mask in cases if mask is not None]
    notes = [f"{len(cases)} real images, {len(marked)} with a mask"]
    used = {name: shards for name, shards in sets.items() if any(True for _ in samples_of(shards, types))}
    notes += [f"{name}: left out, no {' or '.join(types)}" for name in sets if name not in used]
    if not used:
        raise UsageError(f"--types {kind}: no set has samples of {' or '.join(types)}. Say which stand for it: {kind}=TYPE.")
    synthetic: dict[str, Patches] = {}
    if 2 * len(marked) >= len(cases):
        objects = [f"real {number}" for number in same_objects([mask for _, mask in marked])]
        windows = [window_of(mask) for _, mask in marked]
        defects = [mask for _, mask in marked]
        photographs = [image for image, _ in marked]
        for name, shards in used.items():
            synthetic[name] = cut((s.image, window_of(s.mask), s.spec.source) for s in samples_of(shards, types))
    else:
        locator = Locator(backbone, normals, 0)
        side = int(np.median([window_of(s.mask)[2] for shards in used.values() for s in samples_of(shards, types)]))
        photographs = [image for image, _ in cases]
        objects = [f"real {number}" for number in range(len(cases))]
        windows = [window_at(*farthest(locator.distances(image), size), side, size) for image in photographs]
        defects = [_square(window, size) for window in windows]
        for name, shards in used.items():
            cases_of, hits = [], []
            for s in samples_of(shards, types):
                distances = locator.distances(s.image)
                cases_of.append((s.image, window_at(*farthest(distances, size, s.mask), side, size), s.spec.source))
                hits.append(_hit(farthest(distances, size), s.mask))
            synthetic[name] = cut(cases_of)
            notes.append(f"{name}: the most unusual place is on the mask in {sum(hits)} of {len(hits)}")
    found = cut(zip(photographs, windows, objects, strict=True), keep=True)
    beside = [(window_beside(defect, window), k) for k, (defect, window) in enumerate(zip(defects, windows, strict=True))]
    clean = [(window, k) for window, k in beside if window is not None]
    sources = {normal.source: normal.pixels for shards in used.values() for normal in shards.normals()}
    patches = {
        "real": found,
        "normal": same_windows(windows, {f"normal {i}": normal for i, normal in enumerate(normals)}),
        **synthetic,
        "beside": cut((photographs[k], window, objects[k]) for window, k in clean),
        "clean": same_windows([window for window, _ in clean], sources),
    }
    notes.append(f"{len(set(objects))} real objects; {len(clean)} with room beside the defect")
    raw = {name: describe(backbone, one.pixels) for name, one in patches.items() if len(one)}
    middle, deviation = raw["normal"].mean(0), raw["normal"].std(0)
    deviation = np.maximum(deviation, _FLOOR * np.median(deviation))
    seen = {
        name: Seen(one, compressed((raw[name] - middle) / deviation) if name in raw else np.empty((0, len(middle))))
        for name, one in patches.items()
    }
    others = {name: seen[name] for name in ("normal", *synthetic)}
    return Audit(kind, seen["real"], others, seen["beside"], seen["clean"], size, notes)


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


def sheet(audits: Sequence[Audit]) -> Image:
    """For each real type: real images with their windows, their patches, and below each the patches that match it."""
    strips = []
    for audit in audits:
        objects = by_object(audit.real.patches.groups, np.random.default_rng(0))
        chosen = [some[turn] for turn in range(PER_OBJECT) for some in objects if turn < len(some)][:_COLUMNS]
        windows = [audit.real.patches.windows[i] for i in chosen]
        strips.append(_strip("where", [_outlined(audit.real.patches.wholes[i], audit.real.patches.windows[i]) for i in chosen]))
        strips.append(_strip(f"real {audit.type}", [audit.real.patches.pixels[i] for i in chosen]))
        for name, other in audit.others.items():
            partners = matched(windows, other.patches.windows, audit.size, np.random.default_rng(0))[0]
            strips.append(_strip(name, [other.patches.pixels[i] for i in partners]))
    return np.concatenate(strips)


def _outlined(image: Image, window: Window) -> Image:
    top, left, side = window
    drawn = image.copy()
    cv2.rectangle(drawn, (left, top), (left + side - 1, top + side - 1), (255, 0, 0), 2)
    return resize(drawn, (PATCH, PATCH))


def _strip(text: str, cells: Sequence[Image]) -> Image:
    """A label, and cells beside each other."""
    strip = np.full((PATCH + 4, _LABEL + _COLUMNS * (PATCH + 4), 3), 255, np.uint8)
    cv2.putText(strip, text[:20], (4, PATCH // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    for k, cell in enumerate(cells):
        left = _LABEL + k * (PATCH + 4)
        strip[:PATCH, left : left + PATCH] = cell
    return strip


def table(audit: Audit, rows: Sequence[Row]) -> str:
    """The rows of one type, for a person."""
    lines = [f"{audit.type}: {'; '.join(audit.notes)}"]
    lines.append(f"  {'':20s} {'n':>4s} {'KID':>16s} {'AUROC':>14s} {'side':>6s} {'place':>6s}")
    for row in rows:
        lines.append(
            f"  {row.name[:20]:20s} {row.n:4d} {np.mean(row.kid):8.3f} ± {np.std(row.kid):5.3f} {np.mean(row.auroc):6.3f} ± "
            f"{np.std(row.auroc):5.3f} {np.mean(row.side):6.2f} {np.mean(row.place):6.2f}"
        )
    return "\n".join(lines)


def as_json(row: Row) -> str:
    """One line of JSON: means, deviations, and the values of the repetitions."""
    facts: dict[str, object] = {"type": row.type, "row": row.name, "n": row.n}
    for name in ("kid", "auroc", "side", "place"):
        values = getattr(row, name)
        facts |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": float(np.std(values))}
    return json.dumps(facts | {"kid": row.kid, "auroc": row.auroc})


def parse_types(text: str) -> dict[str, list[str]]:
    """`crack,blowhole=spot+corrosion`: real type -> the synthetic types that stand for it."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {real: (synthetic or real).split("+") for real, _, synthetic in pairs}


def open_sets(texts: Sequence[str]) -> dict[str, ShardDataset]:
    """NAME=SHARDS each. Raises `UsageError` if they are not of one image size."""
    sets = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path or name in ("real", "normal", "beside", "clean", "surroundings") or name in sets:
            raise UsageError(f"--set {text}: expected NAME=SHARDS, each NAME another and none of the table's own.")
        sets[name] = ShardDataset(path)
    sizes = {header.image_size for shards in sets.values() for header in shards.headers}
    if len(sizes) != 1:
        raise UsageError(f"--set: the sets' images are of different sizes, {sorted(sizes)}. Build them with one --size.")
    return sets


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, metavar="CATEGORY")
    parser.add_argument("--types", type=parse_types, required=True, metavar="REAL[=SYNTHETIC],...")
    parser.add_argument("--set", action="append", required=True, metavar="NAME=SHARDS")
    parser.add_argument("--weights", required=True, help="torchvision's ResNet-18, up to level 3 at least; or random")
    parser.add_argument("--normals", type=Path, help="folder of normal images (default: CATEGORY/train/good)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if given.repeats < 1:
            raise UsageError(f"--repeats {given.repeats}: at least one is needed.")
        sets = open_sets(given.set)
        size = next(iter(sets.values())).headers[0].image_size
        folder = given.normals or given.real / "train" / "good"
        if not folder.is_dir():
            raise InputDataError(f"{folder}: there is no such folder. Say where normal images are: --normals FOLDER.")
        (category,) = scan("folder", folder).categories
        normals = [read_normal(category.used[i], size).pixels for i in spread(len(category.used))]
        backbone = load_backbone("resnet18", LEVELS, given.weights)
        audits = [prepare(given.real, kind, types, sets, normals, backbone) for kind, types in given.types.items()]
        rows = [measure(audit, given.repeats) for audit in audits]
    except SynthgenError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print("\n\n".join(table(audit, some) for audit, some in zip(audits, rows, strict=True)))
    if given.json:
        given.json.write_text("".join(as_json(row) + "\n" for some in rows for row in some), encoding="utf-8")
    if given.sheet:
        encoded = cv2.imencode(".png", cv2.cvtColor(sheet(audits), cv2.COLOR_RGB2BGR))[1]
        given.sheet.write_bytes(encoded.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
