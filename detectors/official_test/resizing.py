"""How a mask of defects becomes smaller or larger, so that evaluation counts the pixels that it should."""

import numpy as np
from PIL import Image as Pillow

from synthgen.datasets.masks import resize_keeping_area
from synthgen.errors import UsageError, suggest
from synthgen.samples import Mask, Size

RULES = ("strict", "paper", "paper-visa")


def resize_mask(mask: Mask, size: Size, rule: str = "strict") -> Mask:
    """Resize a mask, ignoring its aspect ratio.

    `strict` keeps areas, and every defect (`resize_keeping_area`). The others do what the code of the PBAS paper does, which
    shrinks defects: `paper` (MVTec AD, MPDD) keeps only pixels that stay full under a bilinear filter; or inflates them:
    `paper-visa` keeps all pixels that the filter leaves above zero.

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
        return resize_keeping_area(mask, size)
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
