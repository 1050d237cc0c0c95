"""Outlines of the products in rendered scenes: closed curves around (0, 0) that fit into a square from -1 to 1."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]
"""(n, 2) points (x, y) of a closed curve."""
Rings = list[tuple[Outline, bool]]
"""Curves in the order in which they are filled, and whether each is a hole."""


def posed(rings: Rings, rng: np.random.Generator, fill: float, turns: bool, shifts: float) -> Rings:
    """The curves at a place in the image, whose sides go from 0 to 1.

    Args:
        rings: around (0, 0).
        rng: draws the pose.
        fill: share of the image's side that the square takes.
        turns: whether the product lies at any angle, else nearly upright.
        shifts: how far from the middle it may be.
    """
    angle = rng.uniform(0, 2 * np.pi) if turns else rng.normal(0, 0.02)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = 0.5 + rng.uniform(-shifts, shifts, 2)
    scale = 0.5 * fill * rng.uniform(0.96, 1.04)
    return [(outline @ turn.T * scale + middle, is_hole) for outline, is_hole in rings]


def _curve(radius: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int = 240) -> Outline:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return radius(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _circle(radius: float, at: tuple[float, float] = (0.0, 0.0)) -> Outline:
    return _curve(lambda angle: np.full_like(angle, radius)) + at


def _box(width: float, height: float, roundness: float = 0.0) -> Outline:
    """A rectangle of half these sides, its corners rounded by a share of the shorter."""
    corner = roundness * min(width, height)
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    sides = np.stack([np.sign(x) * (width - corner) + corner * x, np.sign(y) * (height - corner) + corner * y], 1)
    return np.asarray(sides, np.float64)


def _disc(rng: np.random.Generator) -> Rings:
    return [(_circle(1) * (1, rng.uniform(0.6, 1)), False)]


def _rectangle(rng: np.random.Generator) -> Rings:
    return [(_box(1, rng.uniform(0.4, 1), rng.uniform(0.05, 0.6)), False)]


def _stadium(rng: np.random.Generator) -> Rings:
    return [(_box(1, rng.uniform(0.25, 0.45), 1.0), False)]


def _blob(rng: np.random.Generator) -> Rings:
    waves = [(k, rng.normal(0, 0.18 / k), rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    outline = _curve(lambda angle: 1 + sum(size * np.cos(k * angle + phase) for k, size, phase in waves))
    return [(outline / np.abs(outline).max(), False)]


def _ring(rng: np.random.Generator) -> Rings:
    return [(_circle(1), False), (_circle(rng.uniform(0.35, 0.75)), True)]


def _nut(rng: np.random.Generator) -> Rings:
    sides = int(rng.choice([4, 6, 8]))
    outline = _curve(lambda angle: np.cos(np.pi / sides) / np.cos(np.mod(angle, 2 * np.pi / sides) - np.pi / sides))
    return [(outline / np.abs(outline).max(), False), (_circle(rng.uniform(0.25, 0.5)), True)]


def _gear(rng: np.random.Generator) -> Rings:
    teeth, depth = int(rng.integers(8, 24)), rng.uniform(0.08, 0.2)
    outline = _curve(lambda angle: 1 - depth * (np.sin(teeth * angle) > 0), 960)
    return [(outline, False), (_circle(rng.uniform(0.15, 0.4)), True)]


def _plate(rng: np.random.Generator) -> Rings:
    height = rng.uniform(0.5, 1)
    holes = [(_circle(rng.uniform(0.08, 0.16), (x, y * height)), True) for x in (-0.65, 0.65) for y in (-0.6, 0.6)]
    return [(_box(1, height, 0.15), False), *holes]


def _screw(rng: np.random.Generator) -> Rings:
    head, shaft, threads = rng.uniform(0.22, 0.4), rng.uniform(0.1, 0.16), int(rng.integers(10, 26))
    along = np.linspace(-0.6, 0.92, 20 * threads)
    thread = shaft * (1 + 0.18 * np.abs(np.mod(along * threads, 1) - 0.5) * 2)
    upper = np.concatenate([[[-1, head * 0.7], [-0.85, head], [-0.7, head], [-0.6, shaft]], np.stack([along, thread], 1)])
    return [(np.concatenate([upper, [[1.0, 0.0]], upper[::-1] * (1, -1)]), False)]


def _bottle(rng: np.random.Generator) -> Rings:
    body, neck = rng.uniform(0.3, 0.45), rng.uniform(0.1, 0.18)
    half = [(neck, -1), (neck, -0.55), (body * 0.7, -0.4), (body, -0.2), (body, 0.9), (body * 0.9, 1)]
    right = np.array(half)
    return [(np.concatenate([right, right[::-1] * (-1, 1)]), False)]


def _bracket(rng: np.random.Generator) -> Rings:
    thick = rng.uniform(0.2, 0.5)
    return [(np.array([(-1, -1), (-1 + thick, -1), (-1 + thick, 1 - thick), (1, 1 - thick), (1, 1), (-1, 1)], float), False)]


def _wire(rng: np.random.Generator) -> Rings:
    along = np.linspace(-1, 1, 200)
    middle = rng.uniform(0.2, 0.5) * np.sin(along * rng.uniform(2, 5) + rng.uniform(0, 6))
    thick = rng.uniform(0.04, 0.09)
    return [(np.concatenate([np.stack([along, middle - thick], 1), np.stack([along, middle + thick], 1)[::-1]]), False)]


def _bar(rng: np.random.Generator) -> Rings:
    """Longer than the image: it reaches over two of its borders."""
    return [(_box(4, rng.uniform(0.25, 0.6)), False)]


def _several(rng: np.random.Generator) -> Rings:
    count = int(rng.integers(2, 4))
    kind, small = rng.integers(2), 0.75 / count
    places = [((2 * (x + 0.5) / count - 1), (2 * (y + 0.5) / count - 1)) for x in range(count) for y in range(count)]
    one = _circle(small) if kind else _box(small, small * 0.6, 0.5)
    return [(one + place, False) for place in places]


SHAPES: dict[str, Callable[[np.random.Generator], Rings]] = {
    "disc": _disc,
    "rectangle": _rectangle,
    "stadium": _stadium,
    "blob": _blob,
    "ring": _ring,
    "nut": _nut,
    "gear": _gear,
    "plate": _plate,
    "screw": _screw,
    "bottle": _bottle,
    "bracket": _bracket,
    "wire": _wire,
    "bar": _bar,
    "several": _several,
}
"""Curves of each kind of product, drawn by a generator of the category's."""
