"""A scene as a relief: height, colour and gloss of every pixel, lit by one lamp and the room."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.demo.textures import SIDE

Field: TypeAlias = NDArray[np.floating[Any]]
"""float32, one value (or colour) per pixel."""
_SHADOW_STEPS = (2, 4, 6, 9, 13, 18)  # pixels of the half-size relief looked at towards the lamp


@dataclass(frozen=True, slots=True)
class Lamp:
    """Where the light comes from.

    Attributes:
        azimuth, elevation: direction of the lamp in radians; azimuth 0 is right, pi/2 is down.
        power: brightness, about 1.
        tint: RGB factors of its colour.
    """

    azimuth: float
    elevation: float
    power: float
    tint: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """A surface seen from above; parts are put on it one after the other.

    Attributes:
        height: (512, 512) float32, pixels above the table.
        colour: (3, 512, 512) float32 RGB, 0..1; planes, which numpy works on several times as fast as on pixels.
        gloss: (512, 512) float32, 0 dull .. 1 polished plastic; above 1 metal.
        owner: (512, 512) uint8, number of the part seen at a pixel; 0 none.
    """

    height: Field
    colour: Field
    gloss: Field
    owner: NDArray[np.uint8]

    @classmethod
    def plane(cls, colour: tuple[float, float, float], gloss: float) -> "Relief":
        """An even table."""
        shape = (SIDE, SIDE)
        table = np.broadcast_to(planes(colour), (3, *shape)).copy()
        return cls(np.zeros(shape, np.float32), table, np.full(shape, gloss, np.float32), np.zeros(shape, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One part as drawn on a window of the relief.

    Attributes:
        distance: (h, w) float32, signed distance to the outline in pixels, negative inside.
        height: (h, w) float32, pixels above the ground it lies on.
        colour: (3, 1, 1) or (3, h, w) float32 RGB, 0..1.
        gloss: as in `Relief`.
    """

    distance: Field
    height: Field
    colour: Field
    gloss: float


def planes(colour: tuple[float, float, float]) -> Field:
    """A colour as (3, 1, 1) float32, ready to be multiplied with fields."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def put(relief: Relief, window: tuple[slice, slice], shape: Shape, owner: int, ground: float) -> None:
    """Lay a part into a window of the relief, on a ground of the given height, with a smooth outline."""
    touched = shape.distance < 0.5
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cover = np.clip(0.5 - shape.distance[part], 0, 1)
    height, gloss, colour = relief.height[window][part], relief.gloss[window][part], relief.colour[:, *window][:, *part]
    height += cover * (shape.height[part] + np.float32(ground) - height)
    gloss += cover * (np.float32(shape.gloss) - gloss)
    even = shape.colour.shape[1:] == (1, 1)
    colour += cover * ((shape.colour if even else shape.colour[:, *part]) - colour)
    relief.owner[window][part][cover >= 0.5] = owner


def light(relief: Relief, lamp: Lamp) -> Field:
    """What a camera above the relief sees.

    Returns:
        (512, 512, 3) float32, 0..255, not clipped.
    """
    smooth = cv2.GaussianBlur(relief.height, (0, 0), 0.8)
    slope_x = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    slope_y = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    up = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    x, y = np.cos(lamp.azimuth) * np.cos(lamp.elevation), np.sin(lamp.azimuth) * np.cos(lamp.elevation)
    z = np.sin(lamp.elevation)
    lit = (np.float32(z) - slope_x * np.float32(x) - slope_y * np.float32(y)) * up
    np.maximum(lit, 0, out=lit)
    lit *= 1 - np.float32(0.8) * _shadow(relief.height, lamp)
    openness = np.clip(1 - np.float32(0.035) * (cv2.blur(relief.height, (25, 25)) - relief.height), 0.35, 1.05)
    diffuse = np.float32(0.29) * openness * (0.6 + 0.4 * up) + np.float32(0.88) * lit
    # the highlight: how near the normal is to half way between the lamp and the camera
    half = np.sqrt(2 + 2 * z)
    glint = ((np.float32((z + 1) / half) - slope_x * np.float32(x / half) - slope_y * np.float32(y / half)) * up) ** 2
    glint = glint * glint
    glint = glint * glint * glint  # 12th power
    metal = np.clip(relief.gloss - 1, 0, 1)
    # polished metal mirrors the room: bright above the lamp's side, dark on the other
    mirror = np.float32(0.25) + np.float32(0.95) * glint * openness + np.float32(0.25) * lit
    body = diffuse + metal * (mirror - diffuse)
    shine = np.minimum(relief.gloss, 1) * (glint * glint) * np.float32(0.16) * (lit > 0)
    seen = relief.colour * body
    seen += shine
    np.maximum(seen, 0, out=seen)
    seen *= planes(lamp.tint) * np.float32(lamp.power * 255 * 255)
    np.sqrt(seen, out=seen)  # about the curve of a camera
    return np.asarray(cv2.merge(list(seen)), np.float32)


def _shadow(height: Field, lamp: Lamp) -> Field:
    """(512, 512) float32, 0 lit .. 1 in the shadow of something between here and the lamp."""
    small = cv2.resize(height, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    fall = np.tan(lamp.elevation)
    above = np.full_like(small, -1e3)
    for step in _SHADOW_STEPS:
        shift = np.array([[1, 0, -step * np.cos(lamp.azimuth)], [0, 1, -step * np.sin(lamp.azimuth)]])
        size = (small.shape[1], small.shape[0])
        towards = cv2.warpAffine(small, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        np.maximum(above, towards - np.float32(2 * step * fall), out=above)
    dark = cv2.GaussianBlur(np.clip((above - small) / np.float32(5), 0, 1), (0, 0), 1.6)
    return np.asarray(cv2.resize(dark, (height.shape[1], height.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def grain(rng: np.random.Generator, sigma: float) -> Field:
    """(512, 512) float32 noise of unit variance, smoothed over `sigma` pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE), np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(noise / noise.std(), np.float32)
