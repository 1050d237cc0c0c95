"""The parts that lie in the tray: each a function from local coordinates to a shape.

Coordinates are in pixels from the part's centre, along its axis (`along`) and across it (`across`); a colour is (3, 1, 1).
"""

import math
from collections.abc import Callable

import numpy as np

from synthgen.datasets.demo.relief import Field, Shape, planes

COLOURS = {
    "steel": (0.50, 0.52, 0.54),
    "zinc": (0.56, 0.55, 0.50),
    "brass": (0.66, 0.45, 0.13),
    "red": (0.48, 0.03, 0.02),
    "white": (0.66, 0.65, 0.60),
    "green": (0.06, 0.30, 0.10),
    "black": (0.02, 0.02, 0.022),
}
"""Linear RGB, 0..1."""
_METAL, _PLASTIC = 1.9, 0.8


def washer(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A flat ring of 23 px radius, turned: its shine runs around."""
    radius = np.hypot(along, across)
    distance = np.maximum(radius - 23, 11 - radius)
    turned = 0.85 + 0.35 * np.cos(2 * np.arctan2(across, along)) ** 2
    return [Shape(distance, 4 * np.clip(-distance / 2, 0, 1), colour * turned, _METAL)]


def nut(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A hexagon of 25 px with a threaded hole."""
    radius = np.hypot(along, across)
    sides = np.maximum(np.abs(across), np.abs(across) * 0.5 + np.abs(along) * 0.8660254) - 25
    distance = np.maximum(sides, 12.5 - radius)
    chamfer = np.clip((radius - 23.5) * 0.6, 0, 3) + np.clip((15 - radius) * 0.9, 0, 3)
    body = Shape(distance, 15 * np.clip(-distance / 1.5, 0, 1) - chamfer, colour, _METAL)
    thread = Shape(radius - 13, np.clip(2 + (radius - 9) * 1.2, 0, 8), colour * np.float32(0.45), _PLASTIC)
    return [thread, body]


def screw(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A lying screw, 150 px long: a cylinder head at one end, a thread to the other."""
    shank_along = np.abs(along - 11) - 64
    taper = np.clip((along - 66) * 0.5, 0, 6)
    wave = np.cos((along + across * 0.28) * (2 * math.pi / 6.5))
    threaded = np.clip((along + 28) / 4, 0, 1)
    reach = 8.5 - taper + threaded * (0.7 * wave - 0.7)
    shank = Shape(np.maximum(np.abs(across) - reach, shank_along), _round(across, reach) + threaded * wave, colour, _METAL)
    rim = np.maximum(np.abs(across) - 16, np.abs(along + 64) - 11)
    bevel = np.clip((np.abs(along + 64) - 8.5) * 1.2, 0, 3)
    knurl = 0.5 * np.cos(across * 2.1) * (np.abs(along + 64) < 8)
    head = Shape(rim, _round(across, np.float32(16)) - bevel + knurl, colour, _METAL)
    return [shank, head]


def spacer(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A lying plastic tube, 84 px long, with a dark bore at its ends."""
    distance = np.maximum(np.abs(across) - 14, np.abs(along) - 42)
    bevel = np.clip((np.abs(along) - 40) * 1.5, 0, 3)
    return [Shape(distance, _round(across, np.float32(14)) - bevel, colour, _PLASTIC)]


def cable(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A coiled wire with a tie, and two leads that end in black plugs."""
    across = across + 26  # the centre of coil and leads together
    coil = np.hypot(along * 1.12, across) / 1.06
    shapes = []
    for radius, height in ((33, 0), (40, 1), (47, 0), (43.5, 5)):
        away = np.abs(coil - radius)
        shapes.append(Shape(away - 3.6, _round(away, np.float32(3.6)) + height, colour, _PLASTIC))
    for side, tilt in ((-1, 0.1), (1, 0.22)):
        x, y = along - side * 9 - tilt * across, across - 52
        lead = np.maximum(np.abs(x) - 3.4, np.abs(y - 8) - 26)
        shapes.append(Shape(lead, _round(x, np.float32(3.4)) + 8, colour, _PLASTIC))
        plug = rounded_box(x, y - 34, 6.5, 12)
        ridges = 0.6 * np.cos(y * 1.6)
        shapes.append(Shape(plug, 12 * np.clip(-plug / 2.5, 0, 1) + ridges, _rgb("black"), _PLASTIC))
    tie = rounded_box(along, across + 38, 4, 15)
    shapes.append(Shape(tie, 12 * np.clip(-tie / 4, 0, 1), _rgb("white"), _PLASTIC))
    return shapes


def terminal(along: Field, across: Field, colour: Field) -> list[Shape]:
    """A block of three terminals: a box with a slotted screw in each of three wells."""
    body = rounded_box(along, across, 52, 21)
    seam = 2 * (np.abs(np.abs(along) - 17) < 0.9)
    shapes = [Shape(body, 20 * np.clip(-body / 2.5, 0, 1) - seam, colour, _PLASTIC)]
    for centre, slot in ((-34, 0.4), (0, 1.3), (34, 2.2)):
        x, y = along - centre, across + 3
        radius = np.hypot(x, y)
        shapes.append(Shape(radius - 11, np.clip(8 + (radius - 9.5) * 4, 8, 18), colour * np.float32(0.5), 0.2))
        cut = np.abs(x * math.sin(slot) - y * math.cos(slot)) < 1.4
        shapes.append(Shape(radius - 8.5, 12 - 3.0 * cut - np.clip(radius - 7, 0, 2), _rgb("steel") * (1 - 0.7 * cut), _METAL))
        inlet = rounded_box(x, across - 17, 8, 3.2)
        shapes.append(Shape(inlet, np.full_like(along, 9), _rgb("black"), 0.2))
    return shapes


KINDS: dict[str, tuple[Callable[[Field, Field, Field], list[Shape]], int]] = {
    "washer": (washer, 26),
    "nut": (nut, 31),
    "screw": (screw, 80),
    "spacer": (spacer, 47),
    "cable": (cable, 80),
    "terminal": (terminal, 58),
}
"""Name of a part -> the function that draws it, and how far it reaches from its centre, in pixels."""


def _rgb(name: str) -> Field:
    return planes(COLOURS[name])


def _round(offset: Field, radius: Field | np.float32) -> Field:
    """Height of a lying cylinder at an offset from its axis."""
    return np.asarray(radius + np.sqrt(np.maximum(radius * radius - offset * offset, 0)), np.float32)


def rounded_box(x: Field, y: Field, half_width: float, half_height: float, corner: float = 2.5) -> Field:
    """Signed distance in pixels to a box with rounded corners around the origin, negative inside."""
    dx, dy = np.abs(x) - (half_width - corner), np.abs(y) - (half_height - corner)
    inside = np.minimum(np.maximum(dx, dy), 0)
    np.maximum(dx, 0, out=dx)
    np.maximum(dy, 0, out=dy)
    return np.asarray(np.sqrt(dx * dx + dy * dy) + inside - corner, np.float32)
