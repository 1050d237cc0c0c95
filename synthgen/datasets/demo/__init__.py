"""A small inspection set that needs no files: textures, a single object, and a tray of parts with rules.

An image is rendered from (category, split, number) and nothing else. Rendering has two steps, so that a later test split can
break a rule and know the truth: a scene says which part lies where; the picture is drawn from the scene.
"""

import hashlib
import zlib

import numpy as np

from synthgen.datasets.demo.gear import render_gear
from synthgen.datasets.demo.textures import PHOTOGRAPHS, render_texture
from synthgen.datasets.demo.tray import render_tray, tray_scene
from synthgen.datasets.records import NormalSource
from synthgen.errors import InputDataError
from synthgen.samples import Image, Size

COUNTS = {"brick": 24, "grass": 24, "gravel": 24, "gear": 30, "tray": 40}
"""Number of normal training images of each category."""
_SEED = 20240229  # of the set as a whole; another number would be another set


def sources(dataset: str) -> dict[str, tuple[NormalSource, ...]]:
    """The normal training images of each category."""
    return {
        category: tuple(
            NormalSource(dataset, category, f"{number:03}", f"{category}/train/good/{number:03}", None)
            for number in range(count)
        )
        for category, count in sorted(COUNTS.items())
    }


def render_normal(category: str, number: int) -> Image:
    """Render one normal training image.

    Returns:
        (512, 512, 3) uint8 RGB.
    """
    rng = generator(category, "train", number)
    if category in PHOTOGRAPHS:
        return render_texture(category, rng)
    if category == "gear":
        return render_gear(rng)
    if category == "tray":
        return render_tray(tray_scene(rng))[0]
    raise InputDataError(f"the demo set has no category {category}.")


def generator(category: str, split: str, number: int) -> np.random.Generator:
    """The random numbers of one image, whatever else is rendered."""
    key = zlib.crc32(f"{category}/{split}".encode())
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([_SEED, key, number])))


def read_rendered(category: str, stem: str, size: Size) -> tuple[Image, str]:
    """Render a normal training image and resize it.

    Returns:
        (H, W, 3) uint8 RGB, and the sha256 of the pixels as rendered.
    """
    from synthgen.datasets.images import resize

    pixels = render_normal(category, int(stem))
    return resize(pixels, size), hashlib.sha256(pixels.tobytes()).hexdigest()
