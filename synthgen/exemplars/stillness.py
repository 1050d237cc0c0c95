"""Whether a product lies in the same place and the same way in all its pictures."""

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.surface import Surface

_SIDE, _SLACK = 64, 4  # pixels of a shrunk picture, and how far products may be shifted in it
_WIDE = 6.0  # what varies over more is light
_ALIKE = 0.6  # correlation
_MOST = 8  # pictures


def lies_still(surfaces: Sequence[Surface]) -> bool:
    """Whether what some normal images of a category show is the same, but for light, and a shift of a sixteenth of a side.

    That holds of a part in a holder or on a mark. It does not of parts that lie as they fell, nor of a texture.
    """
    pictures = [_structure(surface) for surface in surfaces[:_MOST]]
    if len(pictures) < 2:
        return False
    alike = [float(_best(first, second)) for first, second in combinations(pictures, 2)]
    return float(np.median(alike)) >= _ALIKE


def _structure(surface: Surface) -> NDArray[np.float32]:
    """(64, 64) float32: the brightness without what varies slowly, the background all alike."""
    luma = surface.luma.astype(np.float32)
    inside = surface.foreground > 0
    luma[~inside] = luma[inside].mean() if inside.any() else 0
    small = cv2.resize(luma, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small - cv2.GaussianBlur(small, (0, 0), _WIDE), np.float32)


def _best(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The largest correlation over all shifts."""
    return float(cv2.matchTemplate(first, second[_SLACK:-_SLACK, _SLACK:-_SLACK], cv2.TM_CCOEFF_NORMED).max())
