"""Which look each category has, and how a picture of it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.standin import parts, textures, trays
from tools.standin.canvas import Canvas, Colour

_TINT = 6  # gray levels by which a picture's ground may be brighter than the category's


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures of a category come about.

    Attributes:
        draw: paints the part or texture on a canvas.
        ground: RGB, 0..255, of what lies around the part.
        gray: whether the files have one channel.
    """

    draw: Callable[[Canvas, np.random.Generator], None]
    ground: Colour = (0, 0, 0)
    gray: bool = False


LOOKS = {
    "mvtec/bottle": Look(parts.bottle, (222, 222, 222)),
    "mvtec/cable": Look(parts.cable, (130, 130, 134)),
    "mvtec/capsule": Look(parts.capsule, (214, 214, 212)),
    "mvtec/carpet": Look(textures.carpet),
    "mvtec/grid": Look(textures.grid, gray=True),
    "mvtec/hazelnut": Look(parts.hazelnut, (26, 26, 28)),
    "mvtec/leather": Look(textures.leather),
    "mvtec/metal_nut": Look(parts.metal_nut, (24, 24, 26)),
    "mvtec/pill": Look(parts.pill, (18, 18, 20)),
    "mvtec/screw": Look(parts.screw, (196, 196, 196), gray=True),
    "mvtec/tile": Look(textures.tile),
    "mvtec/toothbrush": Look(parts.toothbrush, (22, 22, 26)),
    "mvtec/transistor": Look(parts.transistor, (150, 118, 84)),
    "mvtec/wood": Look(textures.wood),
    "mvtec/zipper": Look(textures.zipper, gray=True),
    "visa/candle": Look(trays.candles, (36, 40, 48)),
    "visa/capsules": Look(trays.capsules, (206, 204, 198)),
    "visa/cashew": Look(parts.cashew, (40, 92, 62)),
    "visa/chewinggum": Look(parts.chewinggum, (44, 46, 54)),
    "visa/fryum": Look(parts.fryum, (48, 50, 92)),
    "visa/macaroni1": Look(trays.macaroni_in_rows, (34, 44, 56)),
    "visa/macaroni2": Look(trays.macaroni_at_random, (40, 40, 44)),
    "visa/pcb1": Look(partial(parts.board, colour=(28, 84, 60), width=0.82, height=0.46, design=1), (196, 196, 192)),
    "visa/pcb2": Look(partial(parts.board, colour=(30, 44, 96), width=0.60, height=0.70, design=2), (200, 198, 194)),
    "visa/pcb3": Look(partial(parts.board, colour=(92, 30, 34), width=0.74, height=0.56, design=3), (204, 204, 202)),
    "visa/pcb4": Look(partial(parts.board, colour=(34, 36, 42), width=0.84, height=0.60, design=4), (190, 192, 194)),
    "visa/pipe_fryum": Look(parts.pipe_fryum, (42, 60, 84)),
    "btad/01": Look(parts.disc, (22, 24, 26)),
    "btad/02": Look(partial(textures.wood, dark=(58, 52, 48), light=(150, 140, 128))),
    "btad/03": Look(parts.plate, (206, 206, 200)),
}


def render(category: str, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Make a normal picture of a category such as `"visa/candle"`.

    Returns:
        (size, size, 3) uint8 RGB, or (size, size) uint8 where the category's files are gray.
    """
    look = LOOKS[category]
    tint = rng.uniform(0, _TINT)
    canvas = Canvas(size, [level + tint for level in look.ground])
    look.draw(canvas, rng)
    picture = canvas.photograph(rng)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) if look.gray else picture


def scratch(picture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Scratch a picture near its middle.

    Returns:
        The scratched picture, and (size, size) bool where the scratch is.
    """
    size = picture.shape[0]
    mask = np.zeros((size, size), np.uint8)
    path = size * (0.5 + np.cumsum(rng.uniform(-0.09, 0.09, (6, 2)), axis=0))
    cv2.polylines(mask, [np.round(path).astype(np.int32)], False, (1,), max(2, size // 50))
    shade = int(rng.choice([10, 245]))
    scratched = picture.copy()
    scratched[mask > 0] = shade
    return scratched, mask > 0
