"""How a mask of defects becomes smaller or larger, so that evaluation counts the pixels that it should."""

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from synthgen.errors import UsageError, suggest
from synthgen.samples import Mask, Size

RULES = ("strict", "paper", "paper-visa")
_Window: TypeAlias = tuple[slice, slice]


def resize_mask(mask: Mask, size: Size, rule: str = "strict") -> Mask:
    """Resize a mask, ignoring its aspect ratio.

    `strict` keeps areas, and every defect: a pixel is set if at least half of it is; and of each 8-connected component that
    would vanish, the pixel that it covers most. The others do what the code of the PBAS paper does, which shrinks defects:
    `paper` (MVTec AD, MPDD) keeps only pixels that stay full under a bilinear filter; or inflates them: `paper-visa` keeps
    all pixels that the filter leaves above zero.

    Args:
        mask: (h, w) uint8 {0, 1}.
        size: (height, width) wanted, in pixels.
        rule: one of `RULES`.

    Returns:
        (height, width) uint8 {0, 1}, a new array.

    Raises:
        UsageError: an unknown rule.
    """
    check_rule(rule)
    if mask.shape == tuple(size):
        return mask.copy()
    if rule == "strict":
        return _strict(np.ascontiguousarray(mask), size)
    # Pillow's filter widens as the picture shrinks. That code has bytes for MVTec AD, where almost full counts as full
    values = mask * np.uint8(255) if rule == "paper" else mask.astype(np.float32)
    resized = np.asarray(Pillow.fromarray(values).resize((size[1], size[0]), Pillow.Resampling.BILINEAR))
    return np.asarray(resized == 255 if rule == "paper" else resized > 0, np.uint8)


def check_rule(rule: str) -> None:
    """Check the name of a rule.

    Raises:
        UsageError: there is none of that name.
    """
    if rule not in RULES:
        raise UsageError(f"mask rule {rule!r}: there is no such rule.{suggest(rule, list(RULES))}")


def _strict(mask: Mask, size: Size) -> Mask:
    resized = np.zeros(size, np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    labels = np.asarray(components, np.int32)
    if count == 1:
        return resized
    x0, y0, width, height = stats[1:, :4].T.astype(np.int64)
    boxes = np.stack([y0, x0, y0 + height, x0 + width], axis=1)
    window, covered = _covered(mask, np.hstack([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]), size)
    resized[window] = 2 * covered >= mask.size
    for label in _unseen(labels, count, resized):
        window, covered = _covered(labels, boxes[label - 1], size, label)
        if not resized[window][covered > 0].any():
            resized[window][np.unravel_index(covered.argmax(), covered.shape)] = 1
    return resized


def _covered(labels: NDArray[Any], box: NDArray[np.int64], size: Size, label: int = 1) -> tuple[_Window, NDArray[np.float64]]:
    """How much of each pixel of the resized picture is covered by the pixels with a label in a part of the original.

    Args:
        labels: (h, w), a mask or numbers of components.
        box: (y0, x0, y1, x1), the part.
        size: (height, width) of the resized picture.
        label: which number counts.

    Returns:
        The window of the resized picture on which the part lies, and the covered area there: whole numbers of 0..h * w, where
        h * w is all of a pixel.
    """
    y0, x0, y1, x1 = (int(side) for side in box)
    top, rows = _overlaps(y0, y1, labels.shape[0], size[0])
    left, columns = _overlaps(x0, x1, labels.shape[1], size[1])
    # in float64 because only floats multiply fast; the numbers stay whole, far below 2^53, so that half is exactly half
    area = rows @ (labels[y0:y1, x0:x1] == label).astype(np.float64) @ columns.T
    return (slice(top, top + len(rows)), slice(left, left + len(columns))), area


def _overlaps(start: int, stop: int, pixels: int, cells: int) -> tuple[int, NDArray[np.float64]]:
    """Of a line of `pixels` that is divided into `cells`: how much of each pixel from start to stop lies in each cell.

    Returns:
        The number of the first cell that is touched, and (touched cells, stop - start) lengths, in units of which a pixel has
        `cells` and a cell has `pixels`.
    """
    first, last = start * cells // pixels, -(-stop * cells // pixels)
    edges, grid = np.arange(first, last + 1)[:, None] * pixels, np.arange(start, stop + 1) * cells
    return first, np.clip(np.minimum(edges[1:], grid[1:]) - np.maximum(edges[:-1], grid[:-1]), 0, None).astype(np.float64)


def _unseen(labels: NDArray[np.int32], count: int, resized: Mask) -> list[int]:
    """The components of which no pixel's centre lies in a set pixel of the resized mask: only they can have vanished."""
    rows, columns = (
        (2 * np.arange(pixels) + 1) * cells // (2 * pixels) for pixels, cells in zip(labels.shape, resized.shape, strict=True)
    )
    seen = np.bincount(labels[resized[rows][:, columns] > 0], minlength=count)
    return [label for label in range(1, count) if not seen[label]]
