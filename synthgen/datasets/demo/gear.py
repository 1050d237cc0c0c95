"""A single object on a plain ground: a turned steel gear, somewhere near the middle, turned to any angle."""

import cv2
import numpy as np

from synthgen.datasets.demo.relief import Lamp, Relief, Shape, grain, light, planes, put
from synthgen.datasets.demo.textures import SIDE, with_sensor_noise
from synthgen.samples import Image

_TEETH = 26
_REACH = 196  # pixels from the centre


def render_gear(rng: np.random.Generator) -> Image:
    """Render one gear.

    Returns:
        (512, 512, 3) uint8 RGB.
    """
    relief = Relief.plane((0.66, 0.67, 0.66), 0.1)
    relief.colour[:] *= 1 + np.float32(0.015) * grain(rng, 1.5)
    x, y = SIDE / 2 + rng.uniform(-14, 14, 2)
    angle, lamp_angle = rng.uniform(0, 2 * np.pi), rng.uniform(-2.5, -2.1)
    window = tuple(slice(int(centre) - _REACH, int(centre) + _REACH + 1) for centre in (y, x))
    dy = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(y)
    dx = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - np.float32(x)
    radius, around = np.hypot(dx, dy), np.arctan2(dy, dx)
    lamp = Lamp(lamp_angle, rng.uniform(0.8, 0.95), rng.uniform(0.94, 1.06), (1.0, 1.0, 0.99))
    for shape in _gear(radius, around - np.float32(angle), around - np.float32(lamp_angle), rng):
        put(relief, (window[0], window[1]), shape, 1, 0)
    seen = cv2.GaussianBlur(light(relief, lamp), (0, 0), 0.6)
    return with_sensor_noise(np.asarray(seen, np.float32), rng)


def _gear(radius: np.ndarray, around: np.ndarray, from_lamp: np.ndarray, rng: np.random.Generator) -> list[Shape]:
    """The gear's body, then what is cut into it; `around` is the angle from the keyway, in radians."""
    tooth = np.clip(0.5 + 1.3 * np.cos(_TEETH * around), 0, 1)
    outline = radius - (172 + 20 * tooth)
    web = np.clip(np.minimum(radius - 78, 138 - radius) / 5, 0, 1)
    bevel = np.clip((radius - 187) * 0.7, 0, 4) + np.clip((46 - radius) * 0.8, 0, 4)
    # a lathe leaves fine rings: they scatter light to both sides of the lamp's direction, as a bow tie
    rings = cv2.GaussianBlur(rng.normal(1, 0.1, (1, 1600)).astype(np.float32), (7, 1), 1.5)[0][(radius * 4).astype(np.intp)]
    bow_tie = 0.72 + 0.55 / (1 + 7 * np.cos(from_lamp) ** 2)
    steel = planes((0.47, 0.48, 0.50)) * (rings * bow_tie)
    height = 18 * np.clip(-outline / 2, 0, 1) - 9 * web - bevel
    shapes = [Shape(outline, height.astype(np.float32), steel.astype(np.float32), 1.9)]
    sixth = np.float32(np.pi / 3)
    nearest = around - np.rint(around / sixth) * sixth
    holes = np.hypot(radius * np.cos(nearest) - 108, radius * np.sin(nearest)) - 17
    across = radius * np.sin(around)
    keyway = np.maximum(np.abs(across) - 8, np.abs(radius * np.cos(around) - 34) - 16)
    bore = np.minimum(radius - 40, keyway)
    ground = planes((0.40, 0.41, 0.40))  # the table in the shade of the bore
    for cut in (holes, bore):
        shapes.append(Shape(cut.astype(np.float32), np.zeros_like(radius), ground, 0.1))
    return shapes
