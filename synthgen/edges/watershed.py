"""The parts of an image that its edges enclose: what stands in for SAM's masks where there is no SAM checkpoint.

Edges are a landscape: from the flat places water rises until it meets along the ridges. Places that reach the image's border
widely are background. The thresholds are our own, for maps like the fused output of PiDiNet (Su et al. 2021).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from synthgen.edges.regions import BoolMask, scaled

_OPEN_GROUND = 0.35  # edge probability below which background runs on
_CLOSED_GROUND, _MOST_OF_IT = 0.15, 0.5  # a lower one, tried where that finds nothing, believed where it finds this share
_BORDER_SHARE = 0.08  # of the image's border: a place that covers this is background
_EDGE_WIDTH = 2  # pixels at 256: background ends in the middle of an edge, the object at its inside
_TEXTURE, _FULL_FRAME = 0.05, 0.95  # shares of foreground: nothing is enclosed; there is no background
_FLAT, _SMALLEST_SEED = 0.20, 30 / 256**2  # edge probability of the places that parts grow from, and their least share
_FLATTER, _SMALLEST_PART = 0.10, 0.005  # the same of a place's parts, which a faint edge sets apart


def edge_segments(edges: NDArray[np.floating[Any]]) -> tuple[list[BoolMask], BoolMask | None]:
    """Segments between edges, and which pixels are objects.

    Args:
        edges: (H, W) float, edge probability 0..1, high at edges.

    Returns:
        (H, W) bool masks that share no pixel, background among them; and the (H, W) bool foreground, or None where it is
        nearly the whole image, whose objects then fill the frame. A foreground of nearly nothing says that no edge encloses
        anything: a texture.
    """
    edges = np.ascontiguousarray(edges, np.float32)
    foreground = _foreground(edges, _OPEN_GROUND)
    if foreground.mean() < _TEXTURE:  # perhaps the outline of something large has a gap
        closed = _foreground(edges, _CLOSED_GROUND)
        foreground = closed if closed.mean() > _MOST_OF_IT else foreground
    seeds = _seeds(edges)
    flood: Any = watershed  # has no types
    basins = flood(cv2.GaussianBlur(edges, (0, 0), 1.0), seeds)
    masks = [basins == name for name in np.unique(seeds[seeds > 0])]
    return masks, None if foreground.mean() > _FULL_FRAME else foreground


def _foreground(edges: NDArray[np.float32], open_ground: float) -> BoolMask:
    """What the flat places that run along the border leave over."""
    height, width = edges.shape
    count, places = cv2.connectedComponents((edges < open_ground).astype(np.uint8), connectivity=4)
    border = np.concatenate([places[0], places[-1], places[1:-1, 0], places[1:-1, -1]])
    wide = np.bincount(border, minlength=count) >= _BORDER_SHARE * len(border)
    wide[0] = False  # the edges themselves
    disc = _disc(scaled(_EDGE_WIDTH, height, width))
    ground = cv2.dilate(wide[places].astype(np.uint8), disc)
    objects = cv2.morphologyEx(1 - ground, cv2.MORPH_OPEN, disc)
    return np.asarray(ndimage.binary_fill_holes(objects), bool)


def _seeds(edges: NDArray[np.float32]) -> NDArray[np.int32]:
    """(H, W) int32: flat places by number, each of its large parts by its own where it has several; 0 elsewhere."""
    places = _places(edges < _FLAT, _SMALLEST_SEED)
    parts = _places(edges < _FLATTER, _SMALLEST_PART)
    numbers, first = np.unique(parts, return_index=True)
    whole = places.ravel()[first[numbers > 0]]  # the place that each part lies in
    several = np.flatnonzero(np.bincount(whole, minlength=1) > 1)
    apart = np.where(parts > 0, parts + places.max(), 0)
    return np.where(np.isin(places, several), apart, places).astype(np.int32)


def _places(flat: BoolMask, smallest: float) -> NDArray[np.int32]:
    """(H, W) int32: connected places of at least a share of the image by number, 0 elsewhere."""
    _, places, stats, _ = cv2.connectedComponentsWithStats(flat.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest * flat.size
    large[0] = False
    return np.where(large[places], places, 0).astype(np.int32)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
