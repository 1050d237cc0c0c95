"""Photographs of defects on made-up products, for the tests of what is copied from them."""

import cv2
import numpy as np

from synthgen.exemplars.exemplar import ExemplarSet
from synthgen.exemplars.taking_apart import take_apart
from synthgen.painting.surface import Surface
from tests.support.builders import write

SIDE = 128


def plain(seed=0, level=120, side=SIDE):
    """(side, side, 3) uint8: a gray surface with grain and no lines."""
    grain = np.random.default_rng(seed).normal(0, 3, (side, side))
    return np.repeat(np.clip(level + grain, 0, 255).astype(np.uint8)[..., None], 3, 2)


def lined(seed=0, side=SIDE):
    """(side, side, 3) uint8: a gray surface with upright lines."""
    lines = np.random.default_rng(seed).normal(0, 14, (1, side))
    return np.repeat(np.clip(plain(seed, 110, side)[..., 0] + lines, 0, 255).astype(np.uint8)[..., None], 3, 2)


def spot(y, x, radius=8, side=SIDE):
    """(side, side) uint8 {0, 1}: a disc."""
    return cv2.circle(np.zeros((side, side), np.uint8), (x, y), radius, 1, -1)


def damaged(pixels, mask, change=-60):
    """The picture, darker or brighter by some gray levels where the mask is."""
    return np.clip(pixels.astype(int) + change * mask[..., None].astype(int), 0, 255).astype(np.uint8)


def exemplars(*masks, pixels=None, foreground=None, still=False, kind="hole"):
    """The exemplars of one photograph for each mask."""
    pixels = plain() if pixels is None else pixels
    foreground = np.ones(pixels.shape[:2], np.uint8) if foreground is None else foreground
    apart = [
        take_apart(f"{kind}/{number}.png", kind, f"{number:064x}", Surface(damaged(pixels, mask), foreground), mask)
        for number, mask in enumerate(masks)
    ]
    return ExemplarSet(tuple(exemplar for some in apart for exemplar in some), still)


def write_defects(folder, masks, kind="hole", pixels=plain):
    """A folder of defects of one kind with their masks, and its path."""
    for number, mask in enumerate(masks):
        write(folder / kind / f"{number:03}.png", damaged(pixels(number), mask))
        write(folder / "ground_truth" / kind / f"{number:03}_mask.png", mask * np.uint8(255))
    return folder


def write_normals(folder, count=4, pixels=plain):
    """A folder of normal images, and its path."""
    for number in range(count):
        write(folder / f"{number:03}.png", pixels(100 + number))
    return folder
