"""The window of an image that is refined, and how what was refined becomes changed pixels and a mask again."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.blending import SEEN, finish, largest_change, odd_size
from synthgen.painting.rendered import Rendered
from synthgen.samples import Box, Image, Mask

_GROWN = 4  # pixels of a 512-pixel image by which a refined anomaly may outgrow its mask: a pixel, and a rim that fades out
_FAINT = 2  # gray levels


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of a normal image with a rendered anomaly in it.

    Attributes:
        box: where it is in the image.
        normal, stage_a: (h, w, 3) uint8 RGB, without and with the anomaly; equal outside its surroundings.
        mask: (h, w) uint8 {0, 1}.
    """

    box: Box
    normal: Image
    stage_a: Image
    mask: Mask


def window_around(normal: Image, rendered: Rendered, margin: int) -> Window:
    """The window that shows an anomaly and `margin` pixels around it, as far as the image goes.

    Args:
        normal: (H, W, 3) uint8 RGB whole normal image.
        rendered: the anomaly; its box must not be empty.
        margin: pixels.
    """
    y0, x0, y1, x1 = rendered.box
    box = (max(y0 - margin, 0), max(x0 - margin, 0), min(y1 + margin, normal.shape[0]), min(x1 + margin, normal.shape[1]))
    return window_at(normal, rendered, box)


def window_at(normal: Image, rendered: Rendered, box: Box) -> Window:
    """The window with a given box, which holds that of the anomaly."""
    before = normal[box[0] : box[2], box[1] : box[3]]
    stage_a, mask = before.copy(), np.zeros(before.shape[:2], np.uint8)
    inner = (
        slice(rendered.box[0] - box[0], rendered.box[2] - box[0]),
        slice(rendered.box[1] - box[1], rendered.box[3] - box[1]),
    )
    stage_a[inner], mask[inner] = rendered.patch, rendered.mask
    return Window(box, before, stage_a, mask)


def blended(window: Window, share: NDArray[np.float32]) -> Image:
    """(h, w, 3) uint8: between the normal image where `share` (h, w) is 0 and stage A where it is 1."""
    before = window.normal.astype(np.float32)
    mixed = before + share[..., None] * (window.stage_a.astype(np.float32) - before)
    return np.rint(mixed).astype(np.uint8)


def finished(normal: Image, window: Window, changed: Image, core: Mask | None, scale: float) -> Rendered:
    """Refined pixels as an anomaly: the normal image's own pixels around it, and a mask of what changed.

    Args:
        normal: (H, W, 3) uint8 RGB whole normal image.
        window: the window that was refined.
        changed: (h, w, 3) uint8 RGB, its new pixels.
        core: (h, w) uint8 {0, 1}, pixels that are the anomaly's in any case; None finds them from the change.
        scale: pixels per pixel of a 512-pixel image.
    """
    if not np.ptp(window.stage_a, axis=2).any():  # gray stays gray
        changed = np.repeat(np.rint(changed.mean(2, keepdims=True)).astype(np.uint8), 3, 2)
    reach = odd_size(2 * _GROWN * scale + 1)
    near = np.asarray(cv2.dilate(window.mask, np.ones((reach, reach), np.uint8)), np.uint8)
    if core is None:
        change = largest_change(window.normal, changed)
        seen = (change >= SEEN).astype(np.uint8) & near | (change >= _FAINT).astype(np.uint8) & window.mask
        core = np.asarray(cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.uint8) & near
    return finish(normal, window.box, changed, core, near)
