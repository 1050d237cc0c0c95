"""Real and synthetic anomalies measured in the same way, from an image and its mask alone."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from detectors.real.defects import NORMAL, read_real
from synthgen.anomalies.registry import TYPES
from synthgen.errors import InputDataError
from synthgen.exemplars.likeness import length_and_width, likeness_of
from synthgen.samples import Image, Mask
from synthgen.shards import ShardDataset

MEASURES = {
    "area": "area of a defect, percent of the image",
    "extent": "length of a defect, percent of the image's longer side",
    "width": "mean width of a defect, percent of the image's shorter side",
    "contrast": "difference to what surrounds it, gray levels",
    "count": "defects in an image",
}
"""What is measured, and of what: `count` of an image, the others of a connected part of its mask."""
POOLED = "all"
LIKE = "those like it"
"""Held against a type: the real defects whose shape and size it makes."""
_MOST = 400  # samples of each type
_GRID = 24  # cells along a side
_RING = 0.02  # of the shorter side: width of the surroundings
_LEAST = 6  # pixels of a part that counts
_FEWEST = 3  # real defects that a suggestion needs
_SLACK = 1.15  # changes below are no suggestion
_SCALED = {
    "extent": ("size_range", "length_range", "radius_px_range"),
    "width": ("width_px_range",),
    "contrast": ("contrast_range",),  # of relief, light and shadow cancel: it shows in no mean
}
"""The settings that are taken to scale with a measure."""
_FEW, _SPREAD, _SPREAD_OF_FEW = (
    10,
    1.5,
    3.0,
)  # largest over smallest of a suggested range, and of one from few defects, at least
_FARTHEST = 4.0  # times, beyond a type's own range, that a suggestion may go
_LIKE = 0.2  # likeness from which on a defect is held against a type


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The defects of one kind.

    Attributes:
        values: float64 arrays by name, see `MEASURES`.
        places: (24, 24) float64, how often a mask covers a place, 0..1.
        images: how many there were.
    """

    values: dict[str, NDArray[np.float64]]
    places: NDArray[np.float64]
    images: int

    def percentiles(self, name: str) -> tuple[float, float, float]:
        """10th, 50th and 90th of one measure."""
        low, middle, high = np.percentile(self.values[name], (10, 50, 90)).tolist()
        return low, middle, high


@dataclass(frozen=True, slots=True, eq=False)
class DefectComparison:
    """A comparison.

    Attributes:
        category: of the dataset.
        real: the real kinds, `all` for all of them together.
        synthetic: the types, `all` likewise.
        matched: for each type the real kind it is held against, or `LIKE` it.
        suggested: settings by type that would bring it nearer.
    """

    category: str
    real: dict[str, Measured]
    synthetic: dict[str, Measured]
    matched: dict[str, str]
    suggested: dict[str, dict[str, list[float]]]

    def to_json(self) -> dict[str, Any]:
        """As JSON types: percentiles, not values."""

        def kinds(measured: dict[str, Measured]) -> dict[str, Any]:
            return {
                kind: {
                    "images": of_kind.images,
                    **{name: [round(v, 4) for v in of_kind.percentiles(name)] for name in of_kind.values},
                }
                for kind, of_kind in measured.items()
            }

        return {
            "format": "synthgen-audit",
            "format_version": 1,
            "category": self.category,
            "percentiles": [10, 50, 90],
            "real": kinds(self.real),
            "synthetic": kinds(self.synthetic),
            "matched": self.matched,
            "suggested": self.suggested,
        }


def compare_defects(
    shards: Path, real: Path, category: str | None = None, match: dict[str, str] | None = None
) -> DefectComparison:
    """Measure a dataset's anomalies beside real ones.

    Args:
        shards: the dataset.
        real: the real defects, see `read_real`; those without a mask are passed over.
        category: of the dataset, if it holds several.
        match: real kind for each type; where nothing is said, a kind of the type's own name, else the defects like it.

    Raises:
        InputDataError: no real defect has a mask, or there is no such category or kind.
        IntegrityError: a shard is damaged.
    """
    dataset = ShardDataset(shards)
    known = sorted({header.category for header in dataset.headers})
    if category is None and len(known) == 1:
        category = known[0]
    if category not in known:
        told = f"--category {category}: no such category" if category else "several categories"
        raise InputDataError(f"{shards}: {told}; name one of {', '.join(known)} with --category.")
    header = next(header for header in dataset.headers if header.category == category)
    defects = read_real(real, header.image_size)
    marked = [(kind, image, mask) for kind, image, mask in zip(defects.kinds, defects.images, defects.masks, strict=True)
              if kind != NORMAL and mask is not None]  # fmt: skip
    if not marked:
        raise InputDataError(f"--real {real}: none of the defects has a mask, without which nothing can be measured.")
    real_kinds = _by_kind(marked)
    synthetic = _by_kind(_chosen(dataset, category))
    matched = {}
    for kind in synthetic:
        named = (match or {}).get(kind)
        if named is not None and named not in real_kinds:
            raise InputDataError(f"--match {kind}={named}: the real defects have no such kind, but {', '.join(real_kinds)}.")
        matched[kind] = named or (kind if kind in real_kinds else LIKE)
    types = json.loads(header.config_json).get("types", {})
    suggested = {}
    for kind in synthetic:
        settings = types.get(kind, {}).get("settings", {})
        if kind == POOLED:
            continue
        real_ones = real_kinds[matched[kind]] if matched[kind] != LIKE else measure(_like(kind, marked))
        if changes := _suggested(kind, real_ones, synthetic[kind], settings):
            suggested[kind] = changes
    return DefectComparison(str(category), real_kinds, synthetic, matched, suggested)


def measure(images: Iterable[tuple[Image, Mask]]) -> Measured:
    """Measure anomalies.

    Args:
        images: (H, W, 3) uint8 RGB with (H, W) uint8 {0, 1}.
    """
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    places, count = np.zeros((_GRID, _GRID)), 0
    for image, mask in images:
        parts = 0
        for part in _parts(image, mask):
            for name, value in part.items():
                values[name].append(value)
            parts += 1
        if parts:
            values["count"].append(parts)
            places += cv2.resize(mask.astype(np.float64), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
            count += 1
    return Measured({name: np.array(numbers) for name, numbers in values.items()}, places / max(count, 1), count)


def _like(kind: str, marked: Iterable[tuple[str, Image, Mask]]) -> Iterator[tuple[Image, Mask]]:
    """The images with those connected parts of their masks that a type makes the like of."""
    for _, image, mask in marked:
        kept = np.zeros_like(mask)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for number in range(1, count):
            x, y, w, h, _ = (int(value) for value in stats[number])
            part = np.asarray(labels[y : y + h, x : x + w] == number, np.uint8)
            at_border = x == 0 or y == 0 or x + w == mask.shape[1] or y + h == mask.shape[0]
            if likeness_of(part, (mask.shape[0], mask.shape[1]), at_border).get(kind, 0) >= _LIKE:
                kept[y : y + h, x : x + w] |= part
        yield image, kept


def _parts(image: Image, mask: Mask) -> Iterator[dict[str, float]]:
    """The measures of each connected part, see `MEASURES`.

    A real defect has no normal image beside it: contrast is the difference of its mean colour to that of a ring around it.
    """
    height, width = mask.shape
    reach = max(2, round(_RING * min(height, width)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for number in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[number])
        if area < _LEAST:
            continue
        y0, x0 = max(0, y - 2 * reach), max(0, x - 2 * reach)
        window = np.s_[y0 : y + h + 2 * reach, x0 : x + w + 2 * reach]
        region = np.asarray(labels[window] == number, np.uint8)
        ring = (cv2.dilate(region, disc) > 0) & (mask[window] == 0)
        if ring.any():
            difference = image[window][region > 0].mean(0) - image[window][ring].mean(0)
            yield {
                "area": 100 * area / (height * width),
                "extent": 100 * float(np.hypot(w, h)) / max(height, width),
                "width": 100 * length_and_width(region)[1] / min(height, width),
                "contrast": float(np.abs(difference).max()),
            }


def _by_kind(marked: Iterable[tuple[str, Image, Mask]]) -> dict[str, Measured]:
    """The measured kinds by name, `all` first; those of which nothing could be measured are left out."""
    groups: dict[str, list[tuple[Image, Mask]]] = {}
    for kind, image, mask in marked:
        groups.setdefault(kind, []).append((image, mask))
    everything = [pair for pairs in groups.values() for pair in pairs]
    measured = {POOLED: measure(everything)} | {kind: measure(pairs) for kind, pairs in sorted(groups.items())}
    return {kind: of_kind for kind, of_kind in measured.items() if of_kind.images}


def _chosen(dataset: ShardDataset, category: str) -> Iterator[tuple[str, Image, Mask]]:
    """Accepted samples of a category, evenly chosen of each type."""
    columns = zip(dataset.column("category"), dataset.column("type"), dataset.column("label"), strict=True)
    groups: dict[str, list[int]] = {}
    for number, (of_category, kind, label) in enumerate(columns):
        if of_category == category and label:
            groups.setdefault(str(kind), []).append(number)
    for kind, numbers in sorted(groups.items()):
        for k in np.linspace(0, len(numbers) - 1, min(_MOST, len(numbers))).round().astype(int):
            sample = dataset[numbers[k]]
            yield kind, sample.image, sample.mask


def _suggested(kind: str, real: Measured, made: Measured, settings: dict[str, Any]) -> dict[str, list[float]]:
    """Ranges that would move the synthetic percentiles onto the real ones, if they scale with what is measured."""
    count = len(real.values["area"])
    if count < _FEWEST:
        return {}
    changes: dict[str, list[float]] = {}
    for measured, names in _SCALED.items():
        (low, _, high), (made_low, _, made_high) = real.percentiles(measured), made.percentiles(measured)
        factors = low / max(made_low, 1e-9), high / max(made_high, 1e-9)
        if all(1 / _SLACK < factor < _SLACK for factor in factors):
            continue
        for name in names:
            if name in settings:
                first, last = (float(value) * factor for value, factor in zip(settings[name], factors, strict=True))
                spread = _SPREAD if count >= _FEW else _SPREAD_OF_FEW
                if legal := _legal(kind, name, _widened(min(first, last), max(first, last), spread), settings):
                    changes[name] = legal
    if "count_range" in settings:
        low, _, high = real.percentiles("count")
        counts = [max(1, round(low)), max(1, round(high))]
        if counts != [int(value) for value in settings["count_range"]]:
            changes["count_range"] = [float(value) for value in counts]
    return changes


def _widened(low: float, high: float, spread: float) -> tuple[float, float]:
    """A range around the same middle whose ends are at least `spread` times apart: so few defects know no more."""
    grow = max(spread / max(high / max(low, 1e-9), 1.0), 1.0) ** 0.5
    return low / grow, high * grow


def _legal(kind: str, name: str, wanted: tuple[float, float], settings: dict[str, Any]) -> list[float]:
    """A range no farther than that beyond a type's own, moved as a whole; empty where the type would not take it."""
    lowest, highest = settings[name][0] / _FARTHEST, settings[name][1] * _FARTHEST
    moved = min(max(1.0, lowest / max(wanted[0], 1e-9)), highest / max(wanted[1], 1e-9))
    clipped = [float(f"{min(max(value * moved, lowest), highest):.3g}") for value in wanted]
    try:
        TYPES[kind].settings(**{**settings, name: tuple(clipped)})
    except ValidationError:
        return []
    return clipped
