"""Trays that break a rule: a part is missing, is one too many, or is of another compartment's kind.

Each is a normal scene with one part changed and rendered anew, so that the truth is known to the pixel: where the part was,
and where the new one is.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.demo.tray import (
    CELL_HEIGHT,
    CELL_WIDTH,
    COLUMNS,
    ROWS,
    RULES,
    TrayPart,
    TrayScene,
    render_tray,
    tray_scene,
)
from synthgen.samples import Image, Mask

DEFECTS = ("missing", "added", "swapped")
_WALL = 9  # pixels around a compartment's floor
_TRIES = 5000
_HALF_SIDES = {
    "washer": (24, 24), "nut": (27, 27), "screw": (77, 17), "spacer": (43, 15), "cable": (66, 66), "terminal": (53, 22),
}  # fmt: skip

Owners = NDArray[np.uint8]
"""(512, 512) uint8: 1 + the number of the part seen at a pixel, else 0."""


@dataclass(frozen=True, slots=True, eq=False)
class BrokenTray:
    """A tray that breaks a rule.

    Attributes:
        image: (512, 512, 3) uint8 RGB.
        mask: (512, 512) uint8 {0, 1}: the pixels of the part that is gone, and of the one that is new. Shadows are not marked.
        intact: the scene that keeps all rules.
        broken: the one that is shown.
    """

    image: Image
    mask: Mask
    intact: TrayScene
    broken: TrayScene


def break_tray(defect: str, rng: np.random.Generator) -> BrokenTray:
    """Draw a tray with one of `DEFECTS`."""
    scene = tray_scene(rng)
    owners = render_tray(scene)[1]
    if defect == "missing":
        gone = int(rng.integers(len(scene.parts)))
        broken = _without(scene, gone)
        return BrokenTray(render_tray(broken)[0], _of(owners, gone), scene, broken)
    for _ in range(_TRIES):
        if defect == "added":
            broken, number, before = _added(scene, rng), len(scene.parts), np.zeros_like(owners)
        else:
            number = int(rng.integers(len(scene.parts)))
            broken, before = _swapped(scene, number, rng), _of(owners, number)
        others = ((owners > 0) & (before == 0)).astype(np.uint8)
        if _has_room(broken, number, others):
            image, now = render_tray(broken)
            return BrokenTray(image, _of(now, number) | before, scene, broken)
    raise RuntimeError("no room for another part was found in this tray")


def _without(scene: TrayScene, gone: int) -> TrayScene:
    return replace(scene, parts=tuple(part for k, part in enumerate(scene.parts) if k != gone))


def _added(scene: TrayScene, rng: np.random.Generator) -> TrayScene:
    """One more part of any compartment's kind and colour, anywhere in a compartment."""
    number, rule = int(rng.integers(len(RULES))), RULES[int(rng.integers(len(RULES)))]
    x = (number % COLUMNS - (COLUMNS - 1) / 2 + rng.uniform(-0.5, 0.5)) * CELL_WIDTH
    y = (number // COLUMNS - (ROWS - 1) / 2 + rng.uniform(-0.5, 0.5)) * CELL_HEIGHT
    angle = rng.uniform(-np.pi, np.pi)
    new = TrayPart(number, rule.kind, rule.colour, float(x), float(y), float(angle), brightness=rng.uniform(0.94, 1.06))
    return replace(scene, parts=(*scene.parts, new))


def _swapped(scene: TrayScene, number: int, rng: np.random.Generator) -> TrayScene:
    """A part of another compartment's kind and colour in the place of one, turned as it is at home."""
    part = scene.parts[number]
    rule = RULES[(part.compartment + int(rng.integers(1, len(RULES)))) % len(RULES)]
    angle = rule.turn + rng.uniform(-rule.turn_range, rule.turn_range)
    new = replace(part, kind=rule.kind, colour=rule.colour, angle=float(angle))
    return replace(scene, parts=tuple(new if k == number else other for k, other in enumerate(scene.parts)))


def _has_room(scene: TrayScene, number: int, others: Mask) -> bool:
    """Whether a part lies on the floor of its compartment, and on no other part."""
    part = scene.parts[number]
    corners = _outline(part)
    middle = ((part.compartment % COLUMNS - (COLUMNS - 1) / 2) * CELL_WIDTH,
              (part.compartment // COLUMNS - (ROWS - 1) / 2) * CELL_HEIGHT)  # fmt: skip
    room = np.array((CELL_WIDTH, CELL_HEIGHT)) / 2 - _WALL
    if (np.abs(corners - middle) > room).any():
        return False
    cos, sin = np.cos(scene.angle), np.sin(scene.angle)
    seen = corners @ np.array([[cos, sin], [-sin, cos]]) + (scene.x, scene.y)
    footprint = np.asarray(cv2.fillConvexPoly(np.zeros_like(others), np.rint(seen).astype(np.int32), 1), np.uint8)
    return not (footprint & others).any()


def _outline(part: TrayPart) -> NDArray[np.float64]:
    """(K, 2) corners (x, y) of a convex shape that holds the part, in the tray's frame."""
    half_length, half_width = _HALF_SIDES[part.kind]
    if half_length == half_width:
        turns = np.arange(16) * (np.pi / 8)
        corners = half_length * np.stack([np.cos(turns), np.sin(turns)], 1)
    else:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_length, half_width)
    cos, sin = np.cos(part.angle), np.sin(part.angle)
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + (part.x, part.y))


def _of(owners: Owners, number: int) -> Mask:
    return np.asarray(owners == number + 1, np.uint8)
