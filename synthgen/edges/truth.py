"""What an edit of the edges has changed in the picture: the mask, or why there is none (LogicAL, section 3.1).

The generated picture is compared with the generated normal picture, not with the real one: both come out of the same
network, so that what it cannot draw differs in neither. LogicAL compares by structural similarity and leaves threshold and
clean-up open; those here are our own.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.edges.editing import SIDE, grown
from synthgen.painting.blending import drop_specks
from synthgen.samples import Image, Mask

Difference = NDArray[np.float32]
"""(h, w) float32 in [0, 1]: 0 where two pictures have the same structure."""

_WINDOW, _SIGMA = (11, 11), 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SEEN = 12.0  # gray levels

_RIM, _NEAR, _CLOSE, _OPEN, _FAR = 3, 5, 3, 1, 12  # pixels at 256
_SMALLEST_PIECE, _SMALLEST = 0.0005, 0.001  # of the picture
_LEAST_OF_AREA = 0.1  # of what was edited
_MEAN_OUTSIDE, _LEVEL_OUTSIDE, _SHARE_OUTSIDE = 0.15, 0.5, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What an edit has changed.

    Attributes:
        mask: (h, w) uint8 {0, 1}.
        difference: (h, w) float32, 1 - SSIM.
        refused: why this is no anomaly to learn from; empty if it is one.
    """

    mask: Mask
    difference: Difference
    refused: str


def structural_difference(before: Image, after: Image) -> Difference:
    """1 - SSIM of two (h, w, 3) uint8 pictures, mean of the channels (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""
    a, b = (picture.astype(np.float32) * np.float32(1 / 255) for picture in (before, after))
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    same = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    same /= (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return np.asarray(np.clip(1 - same.mean(-1), 0, 1), np.float32)


def visible_change(before: Image, after: Image) -> Difference:
    """(h, w) float32 gray levels: the largest change of a channel, smoothed by a pixel's width."""
    change = cv2.absdiff(before, after).max(-1).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(change, (0, 0), max(min(change.shape) / SIDE, 0.4)), np.float32)


def find_truth(difference: Difference, change: Difference, area: Mask, removed: Mask | None, level: float) -> Truth:
    """The mask of an edit.

    Args:
        difference: (h, w) float32 between generated normal and edited picture. Its window makes it reach some pixels beyond
            what has changed, and on plain ground it takes the faintest pattern for a change; hence `change`.
        change: (h, w) float32 gray levels between them; what cannot be seen is not labelled.
        area: (h, w) uint8 {0, 1}, where the edges were edited.
        removed: (h, w) uint8 {0, 1}, the parts that were taken away as a whole, without a margin; None for other edits.
        level: difference from which on a pixel counts as changed.
    """
    scale, pixels = min(area.shape) / SIDE, area.size
    mask = ((difference > level) & (change >= _SEEN)).astype(np.uint8) & grown(area, _NEAR * scale)
    mask = _filled(_morphed(mask, cv2.MORPH_CLOSE, _CLOSE * scale))
    mask = drop_specks(_morphed(mask, cv2.MORPH_OPEN, _OPEN * scale), _SMALLEST_PIECE * pixels)
    if removed is not None:
        mask &= grown(removed, _RIM * scale)
        mask |= _completed(mask, removed)  # a part that is gone is gone as a whole, also where the floor looks like it
    return Truth(mask, difference, _refusal(mask, difference, area, scale))


def _refusal(mask: Mask, difference: Difference, area: Mask, scale: float) -> str:
    if mask.sum() < max(_SMALLEST * mask.size, _LEAST_OF_AREA * int(area.sum())):
        return "the edit changed nothing to speak of"
    outside = difference[grown(area, _FAR * scale) == 0]
    if len(outside) and (outside.mean() > _MEAN_OUTSIDE or (outside > _LEVEL_OUTSIDE).mean() > _SHARE_OUTSIDE):
        return "the edit changed the whole picture"
    return ""


def _window(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, _WINDOW, _SIGMA, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * round(radius) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _morphed(mask: Mask, operation: int, radius: float) -> Mask:
    return np.asarray(cv2.morphologyEx(mask, operation, _disc(max(radius, 1))), np.uint8)


def _filled(mask: Mask) -> Mask:
    """Without holes."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED), np.uint8)


def _completed(mask: Mask, removed: Mask) -> Mask:
    """Of each part, what lies within the convex hull of its changed pixels."""
    whole = np.zeros_like(mask)
    count, parts = cv2.connectedComponents(removed)
    for number in range(1, count):
        changed = cv2.findNonZero(((parts == number) & (mask > 0)).astype(np.uint8))
        if changed is not None:
            cv2.fillConvexPoly(whole, cv2.convexHull(changed), 1)
    return np.asarray(whole & removed, np.uint8)
