"""Foreground masks that the user brings along: one image file per normal image, white where the object is."""

from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from synthgen.errors import InputDataError
from synthgen.samples import Mask, NormalImage, Size

_ENDINGS = (".png", ".PNG", ".bmp", ".BMP", ".tif", ".tiff", ".jpg", ".JPG", ".jpeg")


def read(folder: Path, normal: NormalImage, size: Size) -> Mask | None:
    """(H, W) uint8 {0, 1} mask of a normal image, or None if there is no file for it.

    The file is looked for as `folder/<path of the image in its dataset>`, as `folder/<category>/<name>` and as
    `folder/<name>`, with the image's name or `<name>_mask`, and any usual ending. Pixels above half of the file's range
    are the object.

    Raises:
        InputDataError: the file is no image that can be read.
    """
    path = PurePosixPath(normal.source)
    for parent in (folder / path.parent, folder / normal.category, folder):
        for stem in (path.stem, f"{path.stem}_mask"):
            for ending in _ENDINGS:
                candidate = parent / f"{stem}{ending}"
                if candidate.is_file():
                    return _decode(candidate, size)
    return None


def _decode(path: Path, size: Size) -> Mask:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror}). Make it readable or remove it.") from error
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    if image is None:
        raise InputDataError(f"{path}: is not an image that can be read. Save the mask as an 8-bit PNG, or remove it.")
    # masks with values 0 and 1 are as common as masks with 0 and 255
    level = 0 if image.max() <= 1 else 127
    inside = (image > level).astype(np.float32)
    return (cv2.resize(inside, (size[1], size[0]), interpolation=cv2.INTER_AREA) >= 0.5).astype(np.uint8)
