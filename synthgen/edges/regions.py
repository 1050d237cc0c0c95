"""Candidate regions of a normal image: the parts that a logical anomaly removes, moves or doubles (LogicAL).

LogicAL refines SAM's masks into regions without giving numbers; the thresholds here are our own, chosen at 256 pixels, and
lengths scale with the image. The same refinement serves masks of any source, overlapping or not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthgen.samples import Box, Image

BoolMask: TypeAlias = NDArray[np.bool_]
"""(H, W) bool."""

MOST_REGIONS = 64
FEWEST_REGIONS = 3
"""With fewer, a choice among them would be the same choice every time."""
SMALLEST_SHARE = 0.002  # of the image; smaller regions are joined to others, or dropped

_LARGEST_SHARE = 0.5  # of the image: what is larger is background, or the object as a whole
_BORDER_SHARE = 0.35  # of the image's border: what covers more runs behind the objects
_INSIDE_SHARE = 0.5  # of a region: what lies less than this in the foreground is background
_SAME = 0.6  # intersection over union of two masks of one thing
_PART = 0.85  # share of a mask inside another one that makes it a part of it
_LARGEST_WHOLE = 0.35  # of the image: what is larger than this holds objects (a tray) and does not swallow them
_TOUCH, _GAP = 3, 6  # pixels at 256
_SAME_COLOUR = 15.0  # CIE76 colour difference
_FULL_FRAME, _TEXTURE = 0.95, 0.05  # shares of foreground: a scene without background; one without objects


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Disjoint regions of one image.

    Attributes:
        labels: (H, W) uint8; 0 is background, 1..K (K <= 64) are regions by descending area, none below 0.002 of the image.
        available: whether regions say something here; False for textures and where fewer than 3 were found.
    """

    labels: NDArray[np.uint8]
    available: bool

    def __len__(self) -> int:
        return int(self.labels.max(initial=0))

    @property
    def areas(self) -> NDArray[np.int64]:
        """(K,) int64: pixels of each region."""
        return np.bincount(self.labels.ravel(), minlength=len(self) + 1)[1:].astype(np.int64)

    @property
    def boxes(self) -> list[Box]:
        """The smallest box around each region."""
        return [_box(window) for window in ndimage.find_objects(self.labels) if window is not None]

    def mask(self, label: int) -> BoolMask:
        """(H, W) bool: the pixels of region `label` (1..K)."""
        return np.asarray(self.labels == label, bool)


def refine(masks: Sequence[BoolMask], image: Image, foreground: BoolMask | None = None) -> Regions:
    """Regions from the masks of a segmentation: without background, without overlaps, without crumbs.

    The order of `masks` makes no difference. Refining the regions again, with the same image and foreground, changes nothing.

    Args:
        masks: (H, W) bool each; they may overlap.
        image: (H, W, 3) uint8 RGB, whose colours decide what small regions belong to.
        foreground: (H, W) bool, which pixels are objects; None where that is not known. One that covers more than 0.95 of the
            image is none; one that covers less than 0.05 says that the image is a texture.
    """
    share = 1.0 if foreground is None else float(np.mean(foreground))
    inside = foreground if share <= _FULL_FRAME else None
    kept = _merge_overlaps([mask for mask in masks if not _is_background(mask, inside)])
    grouped = _group_small(_paint(kept, image.shape[:2]), image)
    # what was joined or painted over may have become background
    names = [name for name in np.unique(grouped[grouped > 0]) if not _is_background(grouped == name, inside)]
    labels = _by_area(grouped, names)
    return Regions(labels, bool(share >= _TEXTURE and labels.max(initial=0) >= FEWEST_REGIONS))


def covers_border(mask: BoolMask) -> bool:
    """Whether a mask runs along so much of the image's border that it lies behind the objects."""
    return float(_border(mask).mean()) > _BORDER_SHARE


def scaled(pixels: float, height: int, width: int) -> int:
    """A length in pixels of a 256-pixel image, for an image of another size; at least 1."""
    return max(1, round(pixels * math.sqrt(height * width) / 256))


def _is_background(mask: BoolMask, foreground: BoolMask | None) -> bool:
    area = int(np.count_nonzero(mask))
    if area == 0 or area > _LARGEST_SHARE * mask.size or covers_border(mask):
        return True
    return foreground is not None and int(np.count_nonzero(mask & foreground)) < _INSIDE_SHARE * area


def _border(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """The values along the border, each pixel once."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _largest_first(masks: Sequence[BoolMask]) -> list[BoolMask]:
    """By descending area; equal areas by what they show, so that the order they came in makes no difference."""
    return sorted(masks, key=lambda mask: (-np.count_nonzero(mask), np.packbits(mask).tobytes()))


@dataclass(slots=True, eq=False)
class _Whole:
    mask: BoolMask
    area: int
    box: Box


def _merge_overlaps(masks: Sequence[BoolMask]) -> list[BoolMask]:
    """Masks of the same thing as one, and the parts of a thing with it."""
    kept: list[_Whole] = []
    for mask in _largest_first(masks):
        area, box = int(np.count_nonzero(mask)), _box_of(mask)
        whole = next((other for other in kept if _belongs(mask, area, box, other)), None)
        if whole is None:
            kept.append(_Whole(mask, area, box))
        else:
            whole.mask = whole.mask | mask
            whole.area, whole.box = int(np.count_nonzero(whole.mask)), _box_of(whole.mask)
    return [whole.mask for whole in kept]


def _belongs(mask: BoolMask, area: int, box: Box, whole: _Whole) -> bool:
    y0, x0, y1, x1 = _common(box, whole.box)
    if y0 >= y1 or x0 >= x1:
        return False
    shared = int(np.count_nonzero(mask[y0:y1, x0:x1] & whole.mask[y0:y1, x0:x1]))
    if shared >= _SAME * (area + whole.area - shared):
        return True
    return shared >= _PART * area and whole.area <= _LARGEST_WHOLE * mask.size


def _paint(masks: Sequence[BoolMask], size: tuple[int, ...]) -> NDArray[np.int32]:
    """(H, W) int32 labels 1..n, the smaller mask on top."""
    labels = np.zeros(size, np.int32)
    for number, mask in enumerate(_largest_first(masks), 1):
        labels[mask] = number
    return labels


def _group_small(labels: NDArray[np.int32], image: Image) -> NDArray[np.int32]:
    """Regions below the smallest area joined to what they touch, or to each other (a heap of cereal), or dropped."""
    height, width = labels.shape
    smallest = SMALLEST_SHARE * labels.size
    touch, gap = scaled(_TOUCH, height, width), scaled(_GAP, height, width)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    count = int(labels.max(initial=0)) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    sums = np.stack([np.bincount(labels.ravel(), lab[..., k].ravel(), count) for k in range(3)], axis=1)
    boxes = {name: _box(window) for name, window in enumerate(ndimage.find_objects(labels), 1) if window is not None}
    crumbs = [name for name in boxes if areas[name] < smallest]  # a heap of them may be large, and takes more
    # equal areas in reading order
    while small := [name for name in boxes if areas[name] < smallest]:
        name = min(small, key=lambda n: (areas[n], boxes[n], n))
        window = _grown(boxes[name], gap + 1, height, width)
        part = labels[window]
        distance = cv2.distanceTransform((part != name).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        colour = sums[name] / areas[name]

        def nearest(names: NDArray[np.int32], colour: NDArray[np.float64] = colour, itself: int = name) -> tuple[float, int]:
            others = [int(n) for n in np.unique(names) if n not in (0, itself)]
            return min(((math.dist(colour, sums[n] / areas[n]), n) for n in others), default=(math.inf, 0))

        _, into = nearest(part[distance <= touch])
        if not into:
            near = part[distance <= gap]
            difference, other = nearest(near[np.isin(near, crumbs)])
            into = other if difference <= _SAME_COLOUR else 0
        part[part == name] = into
        if into:
            areas[into] += areas[name]
            sums[into] += sums[name]
            boxes[into] = _union(boxes[into], boxes[name])
        del boxes[name]
    return labels


def _by_area(labels: NDArray[np.int32], names: Sequence[int]) -> NDArray[np.uint8]:
    """The named regions as 1..K by descending area, equal areas in reading order; the rest, and the 65th on, as 0."""
    areas = np.bincount(labels.ravel())
    first = dict(zip(*(values.tolist() for values in np.unique(labels, return_index=True)), strict=True))
    order = sorted((int(name) for name in names), key=lambda name: (-areas[name], first[name]))
    table = np.zeros(len(areas), np.uint8)
    for number, name in enumerate(order[:MOST_REGIONS], 1):
        table[name] = number
    return table[labels]


def _box(window: tuple[slice, ...]) -> Box:
    rows, columns = window[0], window[1]
    return rows.start, columns.start, rows.stop, columns.stop


def _box_of(mask: BoolMask) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _grown(box: Box, by: int, height: int, width: int) -> tuple[slice, slice]:
    y0, x0, y1, x1 = box
    return slice(max(y0 - by, 0), min(y1 + by, height)), slice(max(x0 - by, 0), min(x1 + by, width))
