"""From rendered values to changed pixels and an exact mask; what the types share about windows and appearance."""

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Image, Mask, Size

SEEN = 6
"""A change of at least this many gray levels in some channel counts as visible (the mask covers all such pixels)."""

_HALO = np.ones((3, 3), np.uint8)


def clip_box(y0: float, x0: float, y1: float, x1: float, size: Size) -> Box:
    """The whole-pixel box around (y0, x0)..(y1, x1) inside an image of (height, width) `size`; maybe empty."""
    top, left = max(int(np.floor(y0)), 0), max(int(np.floor(x0)), 0)
    bottom, right = min(int(np.ceil(y1)), size[0]), min(int(np.ceil(x1)), size[1])
    return (top, left, bottom, right) if bottom > top and right > left else (0, 0, 0, 0)


def finish(normal: Image, box: Box, changed: Image, core: Mask, allowed: Mask | None = None) -> Rendered:
    """The exact mask of a rendered window, and the window with everything outside the mask's surroundings put back.

    The mask is the core and every visibly changed pixel; one pixel around it may keep an invisible transition, everything
    farther away becomes the normal image again. Core pixels that came out as they were are moved by one gray level: new
    material never equals the old one exactly, and so every mask pixel has changed.

    Args:
        normal: (H, W, 3) uint8 RGB whole normal image.
        box: window of the image that was rendered.
        changed: (h, w, 3) uint8 RGB rendered window.
        core: (h, w) uint8 {0, 1}, the body of the anomaly.
        allowed: (h, w) uint8 {0, 1}, where pixels may change at all; everywhere if None.
    """
    y0, x0, y1, x1 = box
    before = normal[y0:y1, x0:x1]
    change = largest_change(before, changed)
    mask = core | (change >= SEEN).astype(np.uint8)
    if allowed is not None:
        mask &= allowed
    keep = np.asarray(cv2.dilate(mask, _HALO), np.uint8)
    if allowed is not None:
        keep &= allowed
    patch = np.asarray(cv2.copyTo(changed, keep, before.copy()), np.uint8)
    same = np.flatnonzero(mask & (change == 0))
    if len(same):
        pixels = patch.reshape(-1, 3)
        pixels[same] += np.where(pixels[same] < 128, 1, 255).astype(np.uint8)
    return _cropped(box, patch, mask, mask | ((change > 0).astype(np.uint8) & keep))


def tighten(before: Image, box: Box, patch: Image, mask: Mask) -> Rendered:
    """Shrink a window to the smallest one that holds every changed and every mask pixel."""
    return _cropped(box, patch, mask, mask | (largest_change(before, patch) > 0).astype(np.uint8))


def _cropped(box: Box, patch: Image, mask: Mask, touched: Mask) -> Rendered:
    x, y, width, height = cv2.boundingRect(touched)
    if not width:
        return NOTHING
    inner = (slice(y, y + height), slice(x, x + width))
    top, left = box[0] + y, box[1] + x
    return Rendered((top, left, top + height, left + width), patch[inner].copy(), mask[inner].copy())


def largest_change(before: Image, after: Image) -> NDArray[np.uint8]:
    """(h, w) uint8: the largest absolute change of the three channels at each pixel."""
    r, g, b = cv2.split(cv2.absdiff(before, after))
    return np.asarray(cv2.max(cv2.max(r, g), b), np.uint8)


def drop_specks(mask: Mask, smallest: float) -> Mask:
    """`mask` without its connected components of fewer than `smallest` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = (stats[:, cv2.CC_STAT_AREA] >= smallest).astype(np.uint8)
    if keep[1:].all():
        return mask
    keep[0] = 0
    return np.asarray(keep[labels], np.uint8)


def odd_size(value: float) -> int:
    """The odd whole number nearest to `value`, at least 1: sizes of filter kernels."""
    return 2 * int(max(value, 1) // 2) + 1


def gaussian(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """`image` blurred by a Gaussian, borders reflected."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT_101), np.float32)


def visible(surface: Surface, box: Box, after: Image, candidates: Mask) -> Rendered:
    """What can be seen of a change: where the picture differs by more than its grain once both are smoothed a little.

    Everything farther than two pixels from the mask becomes the normal image again.
    """
    y0, x0, y1, x1 = box
    before = surface.pixels[y0:y1, x0:x1]
    side = max(odd_size(5 * surface.scale), 3)
    smooth = (np.asarray(cv2.blur(picture, (side, side)), np.uint8) for picture in (before, after))
    # 4 standard deviations of the difference of two averages of grain (in a channel it is some 1.5 times that of the luma)
    seen = max(4.0, 4 * 1.5 * np.sqrt(2) * surface.grain / side)
    mask = (largest_change(*smooth) >= seen).astype(np.uint8) & candidates
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd_size(7 * surface.scale),) * 2)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, around), np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    mask = drop_specks(mask, 20 * surface.scale**2) & (largest_change(before, after) > 0).astype(np.uint8)
    if not mask.any():
        return NOTHING
    keep = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    patch = np.asarray(cv2.copyTo(after, keep, before.copy()), np.uint8)
    return tighten(before, box, patch, mask)
