"""What rendering gives: the pixels of a box, and which of them are anomalous."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Box, Image, Mask


@dataclass(frozen=True, slots=True)
class Rendered:
    """Changed pixels.

    Attributes:
        box: (y0, x0, y1, x1), half-open; outside it nothing changed. The empty box means that nothing changed at all.
        patch: (y1 - y0, x1 - x0, 3) uint8 RGB, the new pixels of the box.
        mask: (y1 - y0, x1 - x0) uint8 {0, 1}, a subset of the pixels that changed.
        refused: why it is no anomaly to learn from, where the type itself can tell; else empty.
        generated, difference: of edge edits, see `Sample`.
    """

    box: Box
    patch: Image
    mask: Mask
    refused: str = ""
    generated: Image | None = None
    difference: NDArray[np.uint8] | None = None


NOTHING = Rendered((0, 0, 0, 0), np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.uint8))
