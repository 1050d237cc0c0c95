"""Texture images: crops of the photographs in scikit-image's wheel, each with its own place, light and noise."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputDataError
from synthgen.samples import Image

SIDE = 512
"""Height and width of a rendered image in pixels."""
_CROP = 384  # pixels of the photograph that an image shows: small enough for many different places


@dataclass(frozen=True, slots=True)
class Photograph:
    """A gray photograph, and how it becomes a colour image.

    Attributes:
        file: its name in scikit-image's data folder.
        dark, light: RGB, 0..255, of black and of white.
        turns: whether the texture looks the same upside down, so that an image may be turned and mirrored.
    """

    file: str
    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    turns: bool


PHOTOGRAPHS = {
    "brick": Photograph("brick.png", (34, 22, 18), (255, 206, 176), False),
    "grass": Photograph("grass.png", (14, 24, 8), (214, 236, 150), True),
    "gravel": Photograph("gravel.png", (22, 20, 20), (250, 246, 238), True),
}


def render_texture(name: str, rng: np.random.Generator) -> Image:
    """Render one image of the texture `name`.

    Returns:
        (512, 512, 3) uint8 RGB.
    """
    photograph = PHOTOGRAPHS[name]
    gray = _read(photograph.file)
    angle = rng.uniform(-2, 2) + (90 * int(rng.integers(4)) if photograph.turns else 0)
    zoom = SIDE / _CROP * rng.uniform(1.0, 1.12)
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, zoom)
    reach = (gray.shape[0] - SIDE / zoom) / 2
    matrix[:, 2] = matrix[:, 2] + zoom * rng.uniform(-reach, reach, 2)
    crop = cv2.warpAffine(gray, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if rng.integers(2):
        crop = cv2.flip(crop, 1)
    tone = np.clip(crop.astype(np.float32) / 255, 0, 1) ** np.float32(rng.uniform(0.92, 1.08))
    light = _uneven_light(rng) * np.float32(rng.uniform(0.92, 1.06))
    channels = [(tone * (bright - dark) + dark) * light for dark, bright in zip(photograph.dark, photograph.light, strict=True)]
    return with_sensor_noise(np.asarray(cv2.merge(channels), np.float32), rng)


def with_sensor_noise(linear: NDArray[np.floating[Any]], rng: np.random.Generator) -> Image:
    """Add the noise of a camera (more in bright pixels) and round to uint8.

    Args:
        linear: (H, W, 3) float32, 0..255.
        rng: where the noise comes from.

    Returns:
        (H, W, 3) uint8.
    """
    # the sum of four uniform bytes is near enough to a normal distribution, and four times as fast
    dice = np.frombuffer(rng.bytes(4 * linear.size), np.uint8).reshape(4, *linear.shape)
    total = dice[0].astype(np.int16)
    for throw in dice[1:]:
        total += throw
    noisy = total.astype(np.float32)
    noisy -= 510
    noisy *= np.sqrt(np.maximum(linear, 0) * np.float32(0.012 / 147.8**2) + np.float32(0.6 / 147.8**2))
    noisy += linear
    return np.asarray(cv2.convertScaleAbs(np.maximum(noisy, 0, out=noisy)), np.uint8)


def _uneven_light(rng: np.random.Generator) -> NDArray[np.float32]:
    """(512, 512) float32 around 1: light that falls off slightly across the image."""
    corners = rng.uniform(0.93, 1.07, (2, 2)).astype(np.float32)
    return np.asarray(cv2.resize(corners, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


@cache
def _read(name: str) -> NDArray[np.uint8]:
    import skimage.data

    path = Path(skimage.data.__file__).parent / name
    gray = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if gray is None:
        raise InputDataError(f"{path}: this photograph comes with scikit-image. Install scikit-image again.")
    return np.asarray(gray, np.uint8)
