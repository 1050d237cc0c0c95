"""Which images a training sets aside, to be measured on and never learned from: those whose names hash lowest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """How many of a training's images are held out.

    Attributes:
        share: of the images, 0 to 1.
        least: so many at least, as far as a third of the images goes.
        most: so many at most; None for no such bound.
        fewest: images there must be for any to be held out.
    """

    share: float
    least: int
    most: int | None
    fewest: int

    def count(self, images: int) -> int:
        """How many of so many images are held out."""
        if images < self.fewest:
            return 0
        wanted = max(round(self.share * images), self.least)
        return min(wanted, images // 3, images if self.most is None else self.most)


OF_DETECTORS = HoldOut(share=0.1, least=6, most=None, fewest=4)
"""For thresholds, which are percentiles and want many."""
OF_GENERATORS = HoldOut(share=0.05, least=2, most=50, fewest=8)
"""For networks that draw or refine: to look at, and for a mean or two."""


def choose_held_out(keys: Sequence[str], rule: HoldOut, salt: str = "") -> list[int]:
    """Numbers of the images to hold out, in the order of their hashes.

    Other images move none across: each one's place depends on its own key, the border alone on their number.

    Args:
        keys: what an image is known by, such as the digest of its file; equal keys lie side by side in the order.
        rule: how many.
        salt: hashed before each key; another one holds out others.
    """
    order = sorted(range(len(keys)), key=lambda number: hashlib.sha256(f"{salt}{keys[number]}".encode()).digest())
    return order[: rule.count(len(keys))]
