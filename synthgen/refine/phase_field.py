"""A coherent boundary without a network: a phase field that is 1 in an anomaly, -1 around it, and smooth in between.

MaPhC2F's npcF penalises the Allen-Cahn residual (equations 9 and 10) of an RGB image, whose stable states are black and
white: taken by its word it saturates colours. Here the equation rules a phase field phi instead, as its physics has it. Its
energy is the one whose gradient flow equation 9 is, with a term that keeps phi near the rendered mask:

    E(phi) = sum of  epsilon^2 / 2 |grad phi|^2  +  (phi^2 - 1)^2 / 4  +  mu / 2 (phi - phi_0)^2,      phi_0 = 2 mask - 1

The picture follows as u = x + (phi + 1) / 2 (z - x), between the normal image x and the rendered one z: the colour terms of
equations 16, 17 and 19 have such blends as their minimisers.

Without the last term, and with one epsilon for all, the flow eats cracks: a 3-pixel line is gone once epsilon exceeds a
pixel. So epsilon follows the anomaly's width at each place, and is halved where the area would still change too much.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.rendered import Rendered
from synthgen.refine.windows import blended, finished, window_around
from synthgen.samples import Image, Mask

VERSION = 1
"""Raised whenever the same anomaly would come out otherwise."""

FIDELITY = 0.75
"""mu; without it thin anomalies vanish, from 2 on nothing changes."""

LARGEST_AREA_CHANGE = 0.1
"""Share of the mask's area."""

_WIDTHS_PER_EPSILON = 6.0
_SMALLEST, _LARGEST = 0.1, 4.0  # epsilon^2 in square pixels of a 512-pixel image
_STEPS, _HALVINGS = 60, 4
_STEP_SIZE = 1.4  # of the largest that cannot raise the energy, 2
_STILL = 1e-3
_MARGIN = 8  # pixels of a 512-pixel image, twice the widest transition

Field = NDArray[np.float32]


def refine(normal: Image, rendered: Rendered, scale: float) -> Rendered:
    """A rendered anomaly with a smooth boundary.

    Args:
        normal: (H, W, 3) uint8 RGB whole normal image.
        rendered: stage A, on that image; its box must not be empty.
        scale: pixels per pixel of a 512-pixel image.
    """
    window = window_around(normal, rendered, max(round(_MARGIN * scale), 2))
    phi = solve(window.mask, scale)
    core = (phi > 0).astype(np.uint8) & window.mask
    return finished(normal, window, blended(window, (phi + np.float32(1)) / np.float32(2)), core, scale)


def solve(mask: Mask, scale: float = 1.0) -> Field:
    """The phase field of an anomaly.

    Args:
        mask: (h, w) uint8 {0, 1}, with a margin of some pixels around the anomaly.
        scale: pixels per pixel of a 512-pixel image.

    Returns:
        (h, w) float32 in [-1, 1]; phi > 0 covers the mask's area up to `LARGEST_AREA_CHANGE`, where any epsilon can do that.
    """
    start = 2 * mask.astype(np.float32) - 1
    squares = epsilon_squared(mask, scale)
    area = max(int(np.count_nonzero(mask)), 1)
    for _ in range(_HALVINGS):
        phi = minimise(start, squares)
        if abs(int(np.count_nonzero(phi > 0)) - area) <= LARGEST_AREA_CHANGE * area:
            return phi
        squares *= np.float32(0.5)
    return phi


def epsilon_squared(mask: Mask, scale: float = 1.0) -> Field:
    """(h, w) float32 square pixels: epsilon is a sixth of the anomaly's width at the nearest place of its middle line."""
    inside = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 3), np.float32)
    inside = np.minimum(inside, np.float32(max(mask.shape)))  # infinite where the anomaly fills the window
    reach = 2 * max(round(3 * scale), 1) + 1  # a bump smaller than this has no width of its own: it is to be smoothed
    middle = (mask > 0) & (inside >= cv2.dilate(inside, np.ones((reach, reach), np.uint8)))
    if not middle.any():
        return np.full(mask.shape, _SMALLEST * scale**2, np.float32)
    _, nearest = cv2.distanceTransformWithLabels((~middle).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    widths = np.zeros(int(nearest.max()) + 1, np.float32)
    widths[nearest[middle]] = 2 * inside[middle]
    width = cv2.blur(widths[nearest], (reach, reach))
    return np.asarray(np.clip((width / _WIDTHS_PER_EPSILON) ** 2, _SMALLEST * scale**2, _LARGEST * scale**2), np.float32)


def minimise(start: Field, squares: Field, steps: int = _STEPS) -> Field:
    """Phi after descending the energy from `start`.

    Each pixel has a step size of its own: that which bounds the energy's second derivatives there, so that no step raises
    the energy, and thin parts do not wait for wide ones.

    Args:
        start: (h, w) float32 phi_0, -1 or 1.
        squares: (h, w) float32 epsilon^2 in square pixels.
        steps: at most so many.
    """
    across, down = _between(squares)
    bound = np.full_like(start, 2 + FIDELITY)  # the double well's second derivative is 2 at most, between -1 and 1
    for part, here, there in ((across, np.s_[:, :-1], np.s_[:, 1:]), (down, np.s_[:-1], np.s_[1:])):
        bound[here] += 2 * part
        bound[there] += 2 * part
    step = np.float32(_STEP_SIZE) / bound
    phi = start.copy()
    for _ in range(steps):
        move = step * _slope(phi, start, across, down)
        phi -= move
        if float(np.abs(move).max()) < _STILL:
            break
    return np.clip(phi, -1, 1)


def energy(phi: Field, start: Field, squares: Field) -> float:
    """E(phi), summed over the pixels; the gradient over pairs of neighbours."""
    across, down = _between(squares.astype(np.float64))
    phi, start = phi.astype(np.float64), start.astype(np.float64)
    surface = (across * np.diff(phi, axis=1) ** 2).sum() + (down * np.diff(phi, axis=0) ** 2).sum()
    return float(surface / 2 + ((phi**2 - 1) ** 2).sum() / 4 + FIDELITY / 2 * ((phi - start) ** 2).sum())


def _between(squares: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """epsilon^2 between neighbours in a row and in a column."""
    return (squares[:, 1:] + squares[:, :-1]) / 2, (squares[1:] + squares[:-1]) / 2


def _slope(phi: Field, start: Field, across: Field, down: Field) -> Field:
    """The energy's derivative; nothing flows over the border."""
    slope: Field = phi * (phi * phi - 1) + np.float32(FIDELITY) * (phi - start)
    flow = across * (phi[:, 1:] - phi[:, :-1])
    slope[:, :-1] -= flow
    slope[:, 1:] += flow
    flow = down * (phi[1:] - phi[:-1])
    slope[:-1] -= flow
    slope[1:] += flow
    return slope
