"""A photograph of a defect, taken apart: the defect with its surroundings, where it lies, and what the surface is there."""

import cv2
import numpy as np

from synthgen.exemplars.exemplar import SIDES, Exemplar
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Image, Mask

_NEAR = 0.04  # of the shorter side: parts of a mask that lie nearer to each other are one defect
_MARGIN = 0.08  # of the shorter side, around a defect: what its surroundings are told by
_LEAST = 2e-5  # of the image: smaller parts of a mask are no defect to copy
_RIM = 0.02  # of the shorter side: a defect that reaches so near to the object's outline lies on its rim
_BORDER = 1.5 / 512  # of a side: a mask that reaches so near to the picture's border reaches it


def take_apart(name: str, kind: str, sha256: str, surface: Surface, mask: Mask) -> list[Exemplar]:
    """The defects of one photograph.

    Args:
        name: of the photograph.
        kind: of its defects.
        sha256: of its file.
        surface: the photograph, with the object in it.
        mask: (H, W) uint8 {0, 1}, what is marked.
    """
    height, width = mask.shape
    side = min(height, width)
    reach = max(round(_NEAR * side / 2), 1)
    joined = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    parts = [np.asarray((labels == number) & (mask > 0), np.uint8) for number in range(1, count)]
    parts = [part for part in parts if part.sum() >= max(_LEAST * mask.size, 4)]
    return [
        _exemplar(f"{name}#{number}", kind, sha256, surface, part, mask)
        for number, part in enumerate(sorted(parts, key=lambda part: -int(part.sum())))
    ]


def _exemplar(name: str, kind: str, sha256: str, surface: Surface, part: Mask, marked: Mask) -> Exemplar:
    height, width = part.shape
    side = min(height, width)
    x, y, w, h = cv2.boundingRect(part)
    margin = max(round(_MARGIN * side), 6)
    box = max(y - margin, 0), max(x - margin, 0), min(y + h + margin, height), min(x + w + margin, width)
    y0, x0, y1, x1 = box
    window = np.s_[y0:y1, x0:x1]
    border = max(round(_BORDER * side), 1)
    reached = (y < border, y + h > height - border, x < border, x + w > width - border)
    unmarked, foreground = np.asarray(marked[window] == 0, np.uint8), surface.foreground[window].copy()
    top, left, object_height, object_width = _object_box(surface.foreground)
    outwards = _outwards(surface.foreground, part, max(round(_RIM * side), 2))
    return Exemplar(
        name=name,
        kind=kind,
        sha256=sha256,
        size=(height, width),
        box=box,
        pixels=surface.pixels[window].copy(),
        mask=part[window].copy(),
        unmarked=unmarked,
        foreground=foreground,
        sides=tuple(name for name, is_reached in zip(SIDES, reached, strict=True) if is_reached),
        outwards=outwards,
        depth=0.0 if outwards is None else _depth(surface.foreground, round(y + (h - 1) / 2), round(x + (w - 1) / 2)),
        place=((y + h / 2 - top) / object_height, (x + w / 2 - left) / object_width),
        lay=surface.lay,
        colour=_colour(surface.pixels[window], unmarked & foreground),
        texture=surface.texture(box),
    )


def _object_box(foreground: Mask) -> Box:
    x, y, width, height = cv2.boundingRect(foreground)
    return y, x, max(height, 1), max(width, 1)


def _outwards(foreground: Mask, part: Mask, reach: int) -> float | None:
    """The way out of the object at a defect that lies on its rim."""
    if foreground.all():
        return None
    near = np.asarray(cv2.dilate(part, np.ones((2 * reach + 1,) * 2, np.uint8))) > 0
    outside, inside = near & (foreground == 0), near & (foreground > 0)
    if not outside.any() or not inside.any():
        return None
    ys, xs = np.nonzero(outside)
    iy, ix = np.nonzero(inside)
    return float(np.arctan2(ys.mean() - iy.mean(), xs.mean() - ix.mean()))


def _depth(foreground: Mask, y: int, x: int) -> float:
    """Pixels from a place to the object's outline, negative outside the object."""
    within, beyond = (cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (foreground, 1 - foreground))
    return float(within[y, x] - beyond[y, x])


def _colour(pixels: Image, around: Mask) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in (pixels[around > 0] if around.any() else pixels.reshape(-1, 3)).mean(0))
    return round(r, 2), round(g, 2), round(b, 2)
