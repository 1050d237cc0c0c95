"""What corrosion does to which material, and what each kind of it looks like.

Numbers: looked at, chosen by eye on real images of these materials; no paper gives any.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthgen.painting.surface import UNKNOWN

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Mode:
    """How one kind of corrosion changes a surface.

    Attributes:
        tints: directions in RGB that the colour may move in, each of about unit length; one is drawn. How far it moves is
            limited by how colourful the surface is: a gray part stays gray.
        tint: smallest and largest move along the tint, in gray levels.
        bright: probability that it is brighter than the surface.
        detail: smallest and largest share of the surface's fine texture that stays.
        variation: how much the new material varies in brightness, relative to its contrast.
        relief: height of its relief: strength of the shading under light from one side, relative to its contrast.
        ring: how much stronger its rim is (the coffee ring of a dried stain).
        softness: width of its edge relative to its size.
        desaturation: smallest and largest share of the surface's own colour that goes.
        pits: whether it shows as pits rather than as a coat.
    """

    tints: tuple[Colour, ...] = ((0.0, 0.0, 0.0),)
    tint: tuple[float, float] = (0.0, 0.0)
    bright: float = 0.0
    detail: tuple[float, float] = (0.2, 0.6)
    variation: float = 0.4
    relief: float = 0.4
    ring: float = 0.0
    softness: float = 0.12
    desaturation: tuple[float, float] = (0.0, 0.0)
    pits: bool = False


MODES: Mapping[str, Mode] = {
    "rust": Mode(tints=((0.72, 0.02, -0.69), (0.6, 0.2, -0.77)), tint=(30, 90), bright=0.15, variation=0.55, relief=0.7),
    "tarnish": Mode(
        tints=((-0.2, 0.75, -0.1), (-0.6, 0.55, 0.3), (0.45, 0.2, -0.6)),
        tint=(10, 45), bright=0.1, detail=(0.6, 1.0), variation=0.35, relief=0.15, softness=0.3,
    ),
    "stain": Mode(
        tints=((0.4, 0.1, -0.7), (0.3, 0.3, -0.5)),
        tint=(0, 25), bright=0.1, detail=(0.8, 1.0), variation=0.25, relief=0.0, ring=0.5, softness=0.2,
    ),
    "pitting": Mode(bright=0.1, detail=(0.1, 0.5), variation=0.3, relief=1.0, softness=0.08, pits=True),
    "bleach": Mode(
        bright=0.9, detail=(0.6, 1.0), variation=0.3, relief=0.1, softness=0.3, desaturation=(0.3, 0.8),
    ),
    "mould": Mode(
        tints=((-0.3, 0.3, -0.2), (0.0, 0.1, 0.2)),
        tint=(10, 35), bright=0.5, detail=(0.1, 0.4), variation=0.6, relief=0.5, softness=0.25, desaturation=(0.2, 0.7),
    ),
}  # fmt: skip

MATERIAL_MODES: Mapping[str, Mapping[str, float]] = {
    "metal": {"rust": 0.5, "tarnish": 0.25, "pitting": 0.25},
    "wood": {"stain": 0.5, "bleach": 0.2, "mould": 0.3},
    "fabric": {"stain": 0.6, "bleach": 0.25, "mould": 0.15},
    "plastic": {"stain": 0.6, "pitting": 0.15, "bleach": 0.25},
    "food": {"mould": 0.4, "stain": 0.35, "bleach": 0.25},
    "stone": {"stain": 0.5, "pitting": 0.35, "tarnish": 0.15},
    UNKNOWN: {"stain": 0.3, "pitting": 0.25, "rust": 0.2, "tarnish": 0.15, "bleach": 0.1},
}
"""Material -> kinds of corrosion and how often each is drawn."""


def draw_mode(rng: np.random.Generator, material: str) -> str:
    """One of the kinds of corrosion that a material shows."""
    names = sorted(MATERIAL_MODES[material])
    weights = np.array([MATERIAL_MODES[material][name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]
