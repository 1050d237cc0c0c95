"""Foreground masks that the user brings along: one image file per normal image, white where the object is."""

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.headers import UnusableImageError, check_bytes
from synthgen.errors import InputDataError
from synthgen.samples import Mask, NormalImage, Size

_ENDINGS = (".png", ".PNG", ".bmp", ".BMP", ".tif", ".tiff", ".jpg", ".JPG", ".jpeg")


def read(folder: Path, normal: NormalImage, size: Size) -> Mask | None:
    """(H, W) uint8 {0, 1} mask of a normal image, or None if there is no file for it.

    The file is looked for as `folder/<path of the image in its dataset>`, as `folder/<category>/<name>` and as
    `folder/<name>`, called `<name>_mask` or like the image, with any usual ending. Pixels brighter than half are the
    object (in files that hold 0 and 1, the ones); in a file whose colours say nothing, its alpha channel is the mask.

    Raises:
        InputDataError: the file is no image that can be read.
    """
    path = PurePosixPath(normal.source)
    for parent in (folder / path.parent, folder / normal.category, folder):
        for stem in (f"{path.stem}_mask", path.stem):
            for ending in _ENDINGS:
                candidate = parent / f"{stem}{ending}"
                if candidate.is_file():
                    return _decode(candidate, size)
    return None


def _decode(path: Path, size: Size) -> Mask:
    try:
        data = path.read_bytes()
        check_bytes(data)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror}). Make it readable or remove it.") from error
    except (UnusableImageError, cv2.error) as error:
        reason = error.detail if isinstance(error, UnusableImageError) else "it cannot be decoded"
        raise InputDataError(f"{path}: not usable as a mask: {reason}. Save it as an 8-bit PNG, or remove it.") from error
    if image is None:
        raise InputDataError(f"{path}: cannot be decoded. Save the mask as an 8-bit PNG, or remove it.")
    values = _one_channel(np.asarray(image))
    # masks with values 0 and 1 are as common as masks with 0 and 255, also in 16-bit files
    level = next(half for largest, half in ((1, 0), (255, 127), (65535, 32767)) if values.max() <= largest)
    inside = (values > level).astype(np.float32)
    return (cv2.resize(inside, (size[1], size[0]), interpolation=cv2.INTER_AREA) >= 0.5).astype(np.uint8)


def _one_channel(image: NDArray[np.generic]) -> NDArray[np.uint16]:
    """(H, W): the brightest colour channel, or the alpha channel if the colours are the same everywhere."""
    if image.ndim == 2:
        return image.astype(np.uint16)
    colours = image[..., :3].max(axis=-1)
    return (image[..., 3] if image.shape[-1] == 4 and colours.min() == colours.max() else colours).astype(np.uint16)
