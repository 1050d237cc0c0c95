"""Pictures and foregrounds of every awkward kind, for the tests of what is made on them."""

import cv2
import numpy as np
from hypothesis import settings

from synthgen.painting.surface import MATERIALS, Surface
from tests.support.builders import picture

SURFACES = ("photo", "colour", "gray", "black", "white", "constant", "noise", "gray noise")
FOREGROUNDS = ("whole", "disc", "corner", "parts", "stripe", "pixel", "empty")


def stable(examples):
    """Settings of a property test that tries the same examples each time."""
    return settings(max_examples=examples, derandomize=True, deadline=None)


def texture(kind, height, width, seed=0):
    """(height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == "photo":
        return picture(seed, height, width)
    if kind == "colour":
        return smooth
    if kind == "gray":
        return np.ascontiguousarray(np.repeat(smooth[..., :1], 3, axis=2))
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "gray noise":
        return np.repeat(rng.integers(0, 256, (height, width, 1), dtype=np.uint8), 3, axis=2)
    return np.full((height, width, 3), {"black": 0, "white": 255, "constant": (120, 80, 40)}[kind], np.uint8)


def disc(height, width, radius=None, centre=None):
    """(height, width) uint8 {0, 1}."""
    cy, cx = centre or (height // 2, width // 2)
    y, x = np.mgrid[:height, :width]
    return ((y - cy) ** 2 + (x - cx) ** 2 <= (radius or min(height, width) / 3) ** 2).astype(np.uint8)


def foreground(kind, height, width, seed=0):
    """(height, width) uint8 {0, 1}."""
    if kind == "whole":
        return np.ones((height, width), np.uint8)
    if kind == "disc":
        return disc(height, width)
    mask = np.zeros((height, width), np.uint8)
    if kind == "corner":
        mask[: height // 2, : width // 2] = 1
    elif kind == "parts":
        rng = np.random.default_rng(seed)
        for _ in range(3):
            mask |= disc(height, width, min(height, width) / 7, (int(rng.integers(height)), int(rng.integers(width))))
    elif kind == "stripe":
        mask[height // 2 : height // 2 + 3] = 1
    elif kind == "pixel":
        mask[height // 2, width // 2] = 1
    return mask


def surface(kind="photo", where="whole", height=64, width=64, seed=0):
    """A surface whose arrays cannot be written to."""
    pixels, mask = texture(kind, height, width, seed), foreground(where, height, width, seed)
    pixels.setflags(write=False)
    mask.setflags(write=False)
    return Surface(pixels, mask, MATERIALS[seed % len(MATERIALS)])


def plain(side=192, colour=(120, 120, 120), noise=2.0, seed=0):
    """A plain, slightly grainy surface."""
    rng = np.random.default_rng(seed)
    gray = rng.normal(0, noise, (side, side, 1))
    return np.clip(np.array(colour) + gray, 0, 255).astype(np.uint8)


def ball(side=192, light=0.0):
    """A matt ball lit from one side in front of a dark background, and its mask."""
    y, x = np.mgrid[:side, :side] / (side / 2) - 1
    r2 = (x / 0.7) ** 2 + (y / 0.7) ** 2
    z = np.sqrt(np.clip(1 - r2, 0, 1))
    shade = np.clip(0.5 * z + 0.5 * (x * np.cos(light) + y * np.sin(light)) / 0.7 + 0.4, 0, 1)
    image = np.where(r2 < 1, 30 + 180 * shade, 20).astype(np.uint8)
    return np.repeat(image[..., None], 3, 2), (r2 < 1).astype(np.uint8)


def brushed(side=256, lines=10.0, grain=5.0):
    """A surface with vertical lines of unequal brightness, and grain."""
    rng = np.random.default_rng(1)
    across = cv2.GaussianBlur(rng.normal(0, 1, (1, side)), (0, 0), 1.5)
    values = 120 + lines * across / across.std() + rng.normal(0, grain, (side, side))
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)
