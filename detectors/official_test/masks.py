"""From the ground truth's files to one mask."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from detectors.official_test.files import LabelledFile
from detectors.official_test.guard import check_open
from detectors.official_test.resizing import check_rule, resize_mask
from synthgen.datasets.headers import UnusableImageError, check_bytes, check_file
from synthgen.datasets.listing import printable
from synthgen.errors import InputDataError
from synthgen.samples import Mask, Size

_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR  # drops alpha, expands palettes, keeps 16 bits
_ORIENTATION = 0x0112  # EXIF tag; values from 5 turn the picture by 90 degrees


def read_mask(file: LabelledFile, size: Size, rule: str = "strict") -> Mask | None:
    """Read the ground truth of one test image, and resize it as the image is resized: the aspect ratio is not kept.

    A pixel is anomalous if any of the files says so. Values are 0 or anything else, such as VisA's numbers of defects or the
    values of MVTec LOCO's; but in a gray mask that reaches the upper half of its range, values below that half are none:
    they are soft edges, or traces of lossy compression.

    Args:
        file: an image of a test split.
        size: (height, width) wanted, in pixels.
        rule: `strict`, or `paper` for what the published PBAS numbers were measured with (see `resize_mask`).

    Returns:
        (height, width) uint8 {0, 1}; zeros for a normal image. None where nobody knows: an anomalous image without a mask, or
        with one that is empty. (By `paper`, a small defect may leave no pixel; that mask is zeros, as it was published.)

    Raises:
        ClosedSplitError: during training.
        UsageError: an unknown rule.
        InputDataError: a mask cannot be read, or does not have the shape of its image or of the image's other masks.
    """
    check_open()
    check_rule(rule)
    if file.label == 0:
        return np.zeros(size, np.uint8)
    if not file.masks:
        return None
    mask = _merged(file)
    if not mask.any():
        return None
    return resize_mask(mask, size, "paper-visa" if (rule, file.dataset) == ("paper", "visa") else rule)


def _merged(file: LabelledFile) -> Mask:
    """(h, w) uint8 {0, 1}, in the size of the files."""
    parts = [_decode(path) for path in file.masks]
    for path, part in zip(file.masks, parts, strict=True):
        if part.shape != parts[0].shape:
            raise _mismatch(path, part.shape, file.masks[0], parts[0].shape)
    if not _same_aspect(parts[0].shape, size := image_size(file.path)):
        raise _mismatch(file.masks[0], parts[0].shape, file.path, size)
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
    """(h, w, 3), and the middle of the values' range -> (h, w) uint8 {0, 1}; see `read_mask` for the rule."""
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
