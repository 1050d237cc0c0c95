"""A canvas for pictures of parts: filled outlines with a colour and a height, as a camera sees them in uneven light."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Points: TypeAlias = NDArray[np.floating[Any]]
"""(n, 2) x and y; 1 is the side of the picture, (0, 0) the middle of the part."""
Colour: TypeAlias = Sequence[float]
"""Red, green, blue, 0..255."""

_NOISE_MARGIN = 96  # pixels by which the stored camera noise is larger than the picture
_NOISE_LEVEL = 2.0  # gray levels
_RELIEF = 0.004  # brightness per unit of slope of the height
_SUBPIXEL_BITS = 4


class Canvas:
    """A picture in the making.

    Attributes:
        size: height and width in pixels.
        colour: (size, size, 3) uint8 RGB, what the surfaces look like in even light.
        height: (size, size) uint8, how far they stand out; only differences matter.
        grain: share by which the brightness of the parts varies.
    """

    def __init__(self, size: int, ground: Colour) -> None:
        self.size = size
        self.colour: NDArray[np.uint8] = np.empty((size, size, 3), np.uint8)
        self.colour[:] = np.array(ground, np.uint8)
        self.height: NDArray[np.uint8] = np.zeros((size, size), np.uint8)
        self.grain = 0.05
        self.place()

    def place(self, x: float = 0.5, y: float = 0.5, degrees: float = 0.0, scale: float = 1.0) -> None:
        """Say where the next outlines go: their middle, turn and size."""
        turn = np.deg2rad(degrees)
        self._turn = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        self._middle = np.array([x, y])

    def fill(self, outline: Points, colour: Colour, height: int) -> None:
        """Paint an outline in a colour, 0..255, at a height, 0..255."""
        pixels = (outline @ self._turn + self._middle) * self.size - 0.5
        corners = [np.round(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)]
        cv2.fillPoly(self.colour, corners, tuple(float(value) for value in colour), cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.fillPoly(self.height, corners, (float(height),), cv2.LINE_AA, _SUBPIXEL_BITS)

    def cover(self, field: Floats, dark: Colour, light: Colour) -> None:
        """Paint everything: `dark` where the (size, size) field is 0 or less, `light` where it is 1 or more."""
        ends = np.array([dark, light], np.float32)
        table = (ends[0] + np.linspace(0, 1, 256, dtype=np.float32)[:, None] * (ends[1] - ends[0])).astype(np.uint8)
        levels = np.asarray(cv2.convertScaleAbs(np.maximum(field, 0), alpha=255), np.uint8)
        self.colour = np.asarray(cv2.LUT(cv2.merge([levels] * 3), table[None]), np.uint8)

    def photograph(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size, size, 3) uint8 RGB: the canvas under uneven light from one side, with the noise of a camera."""
        corners = rng.uniform(0.9, 1.08, (2, 2)).astype(np.float32)
        gain = np.asarray(cv2.resize(corners, (self.size, self.size), interpolation=cv2.INTER_LINEAR), np.float32)
        gain += np.float32(rng.uniform(-0.06, 0.06)) + self._slope(rng.uniform(0, 2 * np.pi))
        if self.height.any():
            gain += np.float32(self.grain) * clouds(self.size, 24, rng) * (self.height > 0)
        picture = np.asarray(cv2.multiply(self.colour, cv2.merge([gain] * 3), dtype=cv2.CV_32F), np.float32)
        picture += _noise_window(self.size, rng)
        return np.clip(picture, 0, 255).astype(np.uint8)

    def _slope(self, direction: float) -> Floats:
        """(size, size) brightness that the relief adds under light from a direction in radians."""
        soft = cv2.GaussianBlur(self.height, (0, 0), max(0.6, self.size / 110))
        soft = cv2.addWeighted(soft, 0.5, cv2.blur(self.height, (self.size // 12 | 1,) * 2), 0.5, 0)
        kernel = np.array([-1, 0, 1], np.float32) * _RELIEF * self.size / 32
        across = cv2.filter2D(soft, cv2.CV_32F, kernel[None] * np.cos(direction))
        down = cv2.filter2D(soft, cv2.CV_32F, kernel[:, None] * np.sin(direction))
        slope = np.clip(across + down, -0.35, 0.35)
        # beside a part there is its shadow, but no gleam
        return np.asarray(np.where(self.height > 0, slope, np.minimum(slope, 0)), np.float32)


def ellipse(width: float, height: float, x: float = 0.0, y: float = 0.0, corners: int = 40) -> Points:
    """An ellipse around (x, y), or a regular polygon where it has few corners."""
    turns = np.arange(corners) * (2 * np.pi / corners)
    points: Points = np.stack([x + width / 2 * np.cos(turns), y + height / 2 * np.sin(turns)], axis=1)
    return points


def box(width: float, height: float, x: float = 0.0, y: float = 0.0) -> Points:
    """A rectangle around (x, y)."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2] + [x, y]


def rounded(width: float, height: float, radius: float, x: float = 0.0, y: float = 0.0) -> Points:
    """A rectangle around (x, y) with round corners; a stadium where the radius is half the height."""
    turns = np.arange(40) * (2 * np.pi / 40) + np.pi / 40
    around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    reach = np.array([width / 2 - radius, height / 2 - radius])
    points: Points = np.sign(around) * reach + radius * around + np.array([x, y])
    return points


def bow(length: float, width: float, bend: float) -> Points:
    """A bent strip: `bend` is the angle in degrees from one end to the other, along a circle."""
    turns = np.deg2rad(np.linspace(-bend / 2, bend / 2, 24))
    radius = length / np.deg2rad(bend)
    taper = width / 2 * np.sqrt(1 - np.linspace(-0.97, 0.97, 24) ** 6)
    outer, inner = radius + taper, (radius - taper)[::-1]
    around = np.concatenate([turns, turns[::-1]])
    distances = np.concatenate([outer, inner])
    return np.stack([distances * np.sin(around), radius - distances * np.cos(around)], axis=1)


def clouds(size: int, cells: float, rng: np.random.Generator, stretch: float = 1.0) -> Floats:
    """(size, size) smooth noise around 0 with deviation about 0.5: `cells` bumps from top to bottom, wider by `stretch`."""
    shape = max(2, round(cells)), max(2, round(cells / stretch))
    return np.asarray(
        cv2.resize(rng.standard_normal(shape, np.float32) * 0.6, (size, size), interpolation=cv2.INTER_CUBIC), np.float32
    )


@cache
def _noise(size: int) -> Floats:
    """A sheet of camera noise larger than the picture: each picture takes its own window, which is cheaper than new noise."""
    sheet = np.random.default_rng(size).standard_normal((size + _NOISE_MARGIN, size + _NOISE_MARGIN, 3), np.float32)
    return np.asarray(sheet * np.float32(_NOISE_LEVEL), np.float32)


def _noise_window(size: int, rng: np.random.Generator) -> Floats:
    y, x = (int(value) for value in rng.integers(_NOISE_MARGIN, size=2))
    window: Floats = _noise(size)[y : y + size, x : x + size]
    return window
