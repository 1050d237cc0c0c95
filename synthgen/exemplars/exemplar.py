"""Real defects, taken apart: what is kept of each, and of all of a category together."""

from dataclasses import dataclass
from functools import cached_property

import cv2

from synthgen.samples import Box, Image, Mask, Size

SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """One real defect, or several of one photograph that lie so near together that they are one.

    Attributes:
        name: of the photograph, and the number of the defect in it: `crack/003.png#0`.
        kind: of the defect, by its folder.
        sha256: hexadecimal digest of the photograph's file.
        size: (height, width) of the whole photograph in pixels, as it was read.
        box: the window of the photograph that is kept: the defect and what surrounds it.
        pixels: (h, w, 3) uint8 RGB, the window.
        mask: (h, w) uint8 {0, 1}, the defect in it.
        unmarked: (h, w) uint8 {0, 1}, where the photograph shows no defect.
        foreground: (h, w) uint8 {0, 1}, the object.
        sides: those of `SIDES` of the picture that the defect reaches.
        outwards: angle in radians of the way out of the object, of a defect on the object's rim; else None.
        depth: how far within the object's outline its middle lies, in pixels; negative outside; 0 where it is on no rim.
        place: (v, u) of its middle, over the height and width of the box around the object.
        lay: angle in radians 0..pi along which the surface's lines run; None if it has none.
        colour: (r, g, b) mean of the surface around it, 0..255.
        texture: how restless that is, in gray levels.
    """

    name: str
    kind: str
    sha256: str
    size: Size
    box: Box
    pixels: Image
    mask: Mask
    unmarked: Mask
    foreground: Mask
    sides: tuple[str, ...]
    outwards: float | None
    depth: float
    place: tuple[float, float]
    lay: float | None
    colour: tuple[float, float, float]
    texture: float

    @property
    def extent(self) -> float:
        """Diagonal of the box around the defect, over the shorter side of the photograph."""
        _, _, width, height = cv2.boundingRect(self.mask)
        return float((height**2 + width**2) ** 0.5 / min(self.size))

    @property
    def share(self) -> float:
        """Of the photograph that is the defect, 0..1."""
        return float(self.mask.sum()) / (self.size[0] * self.size[1])


@dataclass(frozen=True, eq=False)
class ExemplarSet:
    """All exemplars of a category.

    Attributes:
        exemplars: in the order of their names.
        still: whether the product lies in the same place in all pictures.
    """

    exemplars: tuple[Exemplar, ...]
    still: bool

    @cached_property
    def by_kind(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the exemplars of each kind."""
        kinds = sorted({exemplar.kind for exemplar in self.exemplars})
        return {kind: tuple(k for k, exemplar in enumerate(self.exemplars) if exemplar.kind == kind) for kind in kinds}
