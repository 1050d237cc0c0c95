"""Just noticeable differences of an image by the free-energy principle (Wu et al., "Just Noticeable Difference Estimation for
Images With Free-Energy Principle", 2013), as the authors' code has them.

A brain that predicts each pixel from what surrounds it notices changes of what it can predict, and overlooks them in what it
cannot. An autoregressive prediction therefore parts the image into an orderly portion, in which luminance and contrast mask
changes, and a disorderly one, the prediction's error, which hides as much as it holds.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image

Plane = NDArray[np.float32]
"""(H, W) float32, gray levels of 0 to 255."""

VERSION = 2
"""Raised whenever the maps change; part of the cache's key."""

FULL = 20.0
"""Gray levels that `normalised` calls 1."""

_REACH, _PATCH = 10, 7  # pixels: how far prediction looks, and the side of the patches it compares
_OVERLAP = 0.3  # of two effects that mask each other
_LEAST_SPREAD = 8.0  # gray levels
_FLAT = 10.0  # deviation under which a place has structure, and no disorder to speak of
_PROTECTED = 0.8  # share of the disorder that is taken away along edges
_CANNY = (0.28 * 255, 0.7 * 255)  # of a 3x3 Sobel filter's sums
_BACKGROUND = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], np.float32
) / np.float32(32)  # fmt: skip
_DISC = (np.hypot(*np.mgrid[-2:3, -2:3]) <= 2).astype(np.uint8)
_DIRECTIONS = [
    np.array(rows, np.float32) / np.float32(16)
    for rows in (
        [[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]],
        [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]],
        [[0, 0, 1, 0, 0], [0, 0, 3, 8, 0], [-1, -3, 0, 3, 1], [0, -8, -3, 0, 0], [0, 0, -1, 0, 0]],
        [[0, 1, 0, -1, 0], [0, 3, 0, -3, 0], [0, 8, 0, -8, 0], [0, 3, 0, -3, 0], [0, 1, 0, -1, 0]],
    )
]


def jnd_map(image: Image) -> Plane:
    """How far each pixel may change before one notices.

    Args:
        image: (H, W, 3) uint8 RGB, sides of at least 32 pixels.

    Returns:
        (H, W) float32, gray levels, about 3 to 45 in photographs; a lone white dot on black has hundreds.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    predicted = prediction(luma)
    orderly = masked(luminance_adaptation(predicted), contrast_masking(predicted))
    return masked(orderly, disorder(luma, predicted))


def normalised(jnd: Plane) -> Plane:
    """Just noticeable differences as 0 to 1, on one scale for all images: 1 is 20 gray levels and more."""
    return np.asarray(np.minimum(jnd / np.float32(FULL), 1), np.float32)


def masked(first: Plane, second: Plane) -> Plane:
    """Two effects together: their sum, less what they have in common (the nonlinear additivity model)."""
    return np.asarray(first + second - np.float32(_OVERLAP) * np.minimum(first, second), np.float32)


def background(luma: Plane) -> Plane:
    """The mean luminance around each pixel, in whole gray levels; 32 at least, since screens are never quite dark."""
    mean = np.floor(_filtered(luma, _BACKGROUND) + np.float32(1e-3))  # a mean of whole numbers must not fall below itself
    return np.asarray(np.where(mean <= 127, np.round(32 + mean * np.float32((127 - 32) / 127)), mean), np.float32)


def luminance_adaptation(luma: Plane) -> Plane:
    """What the brightness around each pixel hides: most in the dark, least in the middle."""
    around = background(luma)
    dark = 17 * (1 - np.sqrt(np.minimum(around, 127) / 127)) + 3
    return np.where(around <= 127, dark, 3 * (around - 127) / 128 + 3).astype(np.float32)


def contrast_masking(luma: Plane) -> Plane:
    """What the edges around each pixel hide."""
    around = background(luma)
    slopes = np.max([np.abs(_filtered(luma, kernel)) for kernel in _DIRECTIONS], axis=0)
    seen = 80 * np.log10(1 + slopes / 80) / np.log10(np.float32(4))
    return np.asarray(np.abs(seen * (1e-4 * around + 0.115) + 0.5 - 0.01 * around), np.float32)


def disorder(luma: Plane, predicted: Plane) -> Plane:
    """What cannot be predicted: it hides changes, but not along edges, where the eye looks."""
    error = np.abs(luma - predicted)
    smooth = cv2.GaussianBlur(error, (_PATCH, _PATCH), _PATCH / 3, borderType=cv2.BORDER_REFLECT)
    error = np.where(_deviation(luma) < _FLAT, np.minimum(error, smooth), error)
    edges = cv2.Canny(luma.astype(np.uint8), *_CANNY)
    near = cv2.dilate(edges, _DISC).astype(np.float32) / 255
    protection = cv2.GaussianBlur(1 - _PROTECTED * near, (5, 5), 0.8, borderType=cv2.BORDER_REFLECT)
    return np.asarray(error * protection, np.float32)


def prediction(luma: Plane) -> Plane:
    """Each pixel as its surroundings predict it: a mean of pixels whose own surroundings look alike.

    In single precision, the weights of a place that resembles nothing would all vanish, and the prediction with them: the
    smallest distance of each place is taken from all of its distances, which changes no ratio.

    Args:
        luma: (H, W) float32, whole gray levels.

    Returns:
        (H, W) float32, whole gray levels.
    """
    height, width = luma.shape
    spread = np.maximum(luminance_adaptation(luma), np.float32(_LEAST_SPREAD))
    deviation = _deviation(luma)
    falls = np.where(deviation > spread, spread**3 / np.maximum(deviation, 1e-6), spread**2)
    around = np.pad(luma, _REACH, mode="symmetric")
    shifts = [(dy, dx) for dy in range(2 * _REACH + 1) for dx in range(2 * _REACH + 1) if (dy, dx) != (_REACH, _REACH)]

    def distance(dy: int, dx: int) -> tuple[Plane, Plane]:
        moved = around[dy : dy + height, dx : dx + width]
        square = cv2.absdiff(luma, moved)
        cv2.multiply(square, square, square)
        return moved, np.asarray(cv2.blur(square, (_PATCH, _PATCH), borderType=cv2.BORDER_REFLECT), np.float32)

    least = np.full_like(luma, np.inf)
    for shift in shifts:
        np.minimum(least, distance(*shift)[1], out=least)
    # the pixel itself counts as much as the one that resembles it most, whose weight is 1
    total, weights, inverse = luma.copy(), np.ones_like(luma), -1 / falls
    for shift in shifts:
        moved, far = distance(*shift)
        weight = cv2.exp((far - least) * inverse)
        total += weight * moved
        weights += weight
    return np.round(total / weights)


def _deviation(luma: Plane) -> Plane:
    """(H, W) float32: of each pixel's patch."""
    side = (_PATCH, _PATCH)
    mean = cv2.blur(luma, side, borderType=cv2.BORDER_REFLECT)
    square = cv2.sqrBoxFilter(luma, cv2.CV_32F, side, borderType=cv2.BORDER_REFLECT)
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _filtered(luma: Plane, kernel: NDArray[np.float32]) -> Plane:
    return np.asarray(cv2.filter2D(luma, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT), np.float32)
