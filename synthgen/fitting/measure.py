"""Real and synthetic anomalies measured in the same way, from an image and its mask alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.exemplars.likeness import length_and_width, likeness_of
from synthgen.samples import Image, Mask

MEASURES = {
    "area": "area of a defect, percent of the image",
    "extent": "length of a defect, percent of the image's longer side",
    "width": "mean width of a defect, percent of the image's shorter side",
    "contrast": "difference to what surrounds it, gray levels",
    "count": "defects in an image",
}
"""What is measured, and of what: `count` of an image, the others of a connected part of its mask."""
POOLED = "all"
_GRID = 24  # cells along a side
_RING = 0.02  # of the shorter side: width of the surroundings
_LEAST = 6  # pixels of a part that counts
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


def parts_like(kind: str, marked: Iterable[tuple[str, Image, Mask]]) -> Iterator[tuple[Image, Mask]]:
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


def by_kind(marked: Iterable[tuple[str, Image, Mask]]) -> dict[str, Measured]:
    """The measured kinds by name, `all` first; those of which nothing could be measured are left out."""
    groups: dict[str, list[tuple[Image, Mask]]] = {}
    for kind, image, mask in marked:
        groups.setdefault(kind, []).append((image, mask))
    everything = [pair for pairs in groups.values() for pair in pairs]
    measured = {POOLED: measure(everything)} | {kind: measure(pairs) for kind, pairs in sorted(groups.items())}
    return {kind: of_kind for kind, of_kind in measured.items() if of_kind.images}
