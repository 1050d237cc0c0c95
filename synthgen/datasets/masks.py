"""Masks of real defects: what their files mark, and how they are resized."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from synthgen.datasets.headers import UnusableImageError, check_bytes, check_file
from synthgen.datasets.listing import printable
from synthgen.errors import InputDataError
from synthgen.samples import Mask, Size

_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR  # drops alpha, expands palettes, keeps 16 bits
_Window: TypeAlias = tuple[slice, slice]
_ORIENTATION = 0x0112  # EXIF tag; values from 5 turn the picture by 90 degrees


def read_mask_files(image: Path, masks: Sequence[Path]) -> Mask:
    """Everything that the files of an image's mask mark.

    Values are 0 or anything else, such as VisA's numbers of defects or the values of MVTec LOCO's; but in a gray mask that
    reaches the upper half of its range, values below that half are none: they are soft edges, or traces of lossy compression.

    Args:
        image: the image that they belong to.
        masks: at least one file.

    Returns:
        (h, w) uint8 {0, 1}, in the size of the files.

    Raises:
        InputDataError: a mask cannot be read, or does not have the shape of its image or of the image's other masks.
    """
    parts = [_decode(path) for path in masks]
    for path, part in zip(masks, parts, strict=True):
        if part.shape != parts[0].shape:
            raise _mismatch(path, part.shape, masks[0], parts[0].shape)
    if not _same_aspect(parts[0].shape, size := image_size(image)):
        raise _mismatch(masks[0], parts[0].shape, image, size)
    return np.asarray(np.maximum.reduce(parts), np.uint8)


def _decode(path: Path) -> Mask:
    try:
        data = path.read_bytes()
        check_bytes(data)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except OSError as error:
        raise InputDataError(f"{printable(str(path))}: the mask cannot be read ({error.strerror or error}).") from error
    except UnusableImageError as error:
        raise InputDataError(f"{printable(str(path))}: not a usable mask: {error}. Repair or remove the file.") from error
    except cv2.error as error:
        raise InputDataError(f"{printable(str(path))}: the mask cannot be decoded ({error.err}).") from error
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise InputDataError(f"{printable(str(path))}: the mask cannot be decoded to 8 or 16 bits. Repair or remove the file.")
    return _binary(np.asarray(decoded, np.uint16), 128 if decoded.dtype == np.uint8 else 32768)


def _binary(decoded: NDArray[np.uint16], half: int) -> Mask:
    """(h, w, 3), and the middle of the values' range -> (h, w) uint8 {0, 1}; see `read_mask_files` for the rule."""
    blue, green, red = (decoded[..., channel] for channel in range(3))
    gray = np.array_equal(blue, green) and np.array_equal(blue, red)  # colours stand for kinds of defects, and some are dark
    if gray and blue.max() >= half:
        return np.asarray(blue >= half, np.uint8)
    return np.asarray((blue > 0) | (green > 0) | (red > 0), np.uint8)


def image_size(path: Path) -> Size:
    """(height, width) as the image is read, that is turned as its EXIF data say; from the header alone."""
    try:
        header = check_file(path)
        with Pillow.open(path, formats=[header.kind]) as image:
            width, height = image.size
            # only JPEG: elsewhere it is rare, and Pillow would decode the whole file for it
            turned = header.kind == "JPEG" and image.getexif().get(_ORIENTATION, 1) >= 5
    except (UnusableImageError, OSError) as error:
        raise InputDataError(f"{printable(str(path))}: {error}. Repair or remove the file.") from error
    return (width, height) if turned else (height, width)


def _same_aspect(first: Size, second: Size) -> bool:
    """Whether one can be the other resized, with sides rounded by up to a pixel."""
    scales = first[0] / second[0], first[1] / second[1]
    return abs(scales[0] - scales[1]) <= 1 / second[0] + 1 / second[1]


def _mismatch(mask: Path, size: Size, other: Path, expected: Size) -> InputDataError:
    return InputDataError(
        f"{printable(str(mask))} is {size[1]}x{size[0]}, but {printable(str(other))} is {expected[1]}x{expected[0]}: "
        "the mask does not lie on the image. Is it another image's?"
    )


def resize_keeping_area(mask: Mask, size: Size) -> Mask:
    """Resize a mask, ignoring its aspect ratio, so that areas stay as they are and no defect vanishes.

    A pixel is set if at least half of it is; and of each 8-connected component that would vanish, the pixel that it covers
    most.

    Args:
        mask: (h, w) uint8 {0, 1}.
        size: (height, width) wanted, in pixels.

    Returns:
        (height, width) uint8 {0, 1}, a new array.
    """
    if mask.shape == tuple(size):
        return mask.copy()
    mask = np.ascontiguousarray(mask)
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
