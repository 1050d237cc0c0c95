"""A mask as instances: its connected parts, with their boxes, run lengths and polygons."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Mask


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One connected part of a mask.

    Attributes:
        mask: (H, W) uint8 {0, 1}, of the whole image's size.
        box: (x, y, width, height) in pixels.
        area: in pixels.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    area: int


def instances(mask: Mask) -> Iterator[Instance]:
    """The 8-connected parts of a mask, from the top down."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for number in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[number])
        yield Instance(np.asarray(labels == number, np.uint8), (x, y, width, height), area)


def run_lengths(mask: Mask) -> list[int]:
    """COCO's uncompressed run lengths: of zeros, ones, zeros and so on, column by column."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def polygons(mask: Mask) -> Iterator[NDArray[np.int32]]:
    """Outlines (K, 2) of x, y that give the mask again when they are filled, borders included.

    A polygon has no holes: a part with some is cut through the middle of one, until there are none.
    """
    outlines, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for number, outline in enumerate(outlines):
        if tree[0][number][3] >= 0:
            continue  # a hole
        hole = int(tree[0][number][2])
        if hole < 0:
            yield np.asarray(outline[:, 0], np.int32)
            continue
        part = np.zeros_like(mask)
        cv2.drawContours(part, [outline], -1, 1, cv2.FILLED)
        part &= mask
        middle = int(outlines[hole][:, 0, 0].mean())
        left, right = part.copy(), part.copy()
        left[:, middle + 1 :] = 0
        right[:, : middle + 1] = 0
        yield from polygons(left)
        yield from polygons(right)
