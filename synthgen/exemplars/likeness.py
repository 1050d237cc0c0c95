"""Which types of anomalies make what looks like a real defect: by its shape, its size, and where it lies."""

from collections.abc import Mapping

import cv2
import numpy as np

from synthgen.exemplars.exemplar import Exemplar, ExemplarSet
from synthgen.samples import Mask, Size

_LONG, _THIN = 8.0, 0.03  # length over width, and width over the shorter side of the picture, of what is a line
_STRAIGHT = 0.12  # of its length, across which a straight line may stray
_COMPACT, _WIDE = 0.004, 0.05  # shares of the picture
_LINES = {"crooked": {"crack": 0.8, "scratch": 0.2}, "straight": {"scratch": 0.6, "crack": 0.4}}
_SMALL = {"spot": 0.5, "contamination": 0.2, "dent": 0.15, "break": 0.15}
_LARGE = {"zone": 0.5, "scuff": 0.25, "stain": 0.25}
_AT_THE_EDGE = {"break": 0.6, "contamination": 0.15, "scuff": 0.15, "stain": 0.1}
_OTHERS = {"stain": 0.25, "contamination": 0.25, "break": 0.2, "scuff": 0.15, "dent": 0.15}


def types_like(exemplars: ExemplarSet) -> dict[str, float]:
    """How often each surface type should be made beside copies of these defects; the numbers add up to 1 at most.

    Each kind counts the same, and in it each exemplar. Only lines and small defects ask for types: of these there are more
    shapes than copies show, while large ones are learned from their copies. What is missing to 1 is left to the mixture.
    """
    total: dict[str, float] = {}
    for numbers in exemplars.by_kind.values():
        for number in numbers:
            shares = likeness(exemplars.exemplars[number])
            if shares in (*_LINES.values(), _SMALL):
                for name, share in shares.items():
                    total[name] = total.get(name, 0.0) + share / len(numbers) / len(exemplars.by_kind)
    return total


def likeness(exemplar: Exemplar) -> Mapping[str, float]:
    """Surface types that make what looks like one defect, with shares that add up to 1."""
    return likeness_of(exemplar.mask, exemplar.size, bool(exemplar.sides) or exemplar.outwards is not None)


def likeness_of(mask: Mask, size: Size, at_edge: bool) -> Mapping[str, float]:
    """As `likeness`, of a defect of which nothing more is known.

    Args:
        mask: (h, w) uint8 {0, 1}, the defect, or the window of the picture that holds it.
        size: (height, width) of the picture.
        at_edge: whether it reaches the border of the picture or the rim of the object.
    """
    length, width = length_and_width(mask)
    if length / max(width, 1e-6) > _LONG and width < _THIN * min(size):
        _, sides, _ = cv2.minAreaRect(np.argwhere(mask)[:, ::-1].astype(np.float32))
        return _LINES["straight" if min(sides) < _STRAIGHT * max(sides) + width else "crooked"]
    share = float(mask.sum()) / (size[0] * size[1])
    if share < _COMPACT:
        return _SMALL
    if share > _WIDE:
        return _LARGE
    return _AT_THE_EDGE if at_edge else _OTHERS


def length_and_width(mask: Mask) -> tuple[float, float]:
    """Pixels: half of the outline of what a mask marks, and its area over that; of a line its length and its mean width."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    length = max(sum(cv2.arcLength(outline, True) for outline in outlines) / 2, 1.0)
    return length, float(mask.sum()) / length
