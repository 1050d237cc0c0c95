"""Rendered photographs of products whose foreground is known exactly, for measuring how well it is found.

A category is a product under a camera: a shape, a material, a ground and a light, drawn from its number; its images differ in
pose, light and noise. Shapes are bodies with holes, thin ones, several at once, and such that reach over the image's border.
Materials are bright and dark, plain, grained, streaked, printed, glossy, transparent, or made of what the ground is made of;
grounds are plain, grained, woven or streaked; light falls off, casts soft shadows and reflections. Some categories are textures
that fill the frame: there the whole image is the foreground. None of it was drawn to resemble a dataset.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.bench.support.scene_shapes import SHAPES, Rings, posed

Field = NDArray[np.float32]

_FINER = 2  # pixels are rendered finer, and averaged
_LEAST_DIFFERENCE = 14.0  # of the colours of product and ground, in Lab
_PATTERNS = ("plain", "plain", "grain", "streaks", "blotches", "weave")
_DECORATIONS = ("none", "none", "two-tone", "bright middle", "print", "label")
_TEXTURES = 0.12  # share of categories without an object


@dataclass(frozen=True, slots=True)
class Scene:
    """One image: (H, W, 3) uint8 RGB, and its foreground, (H, W) uint8 {0, 1}."""

    pixels: NDArray[np.uint8]
    foreground: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the images of a category have in common; colours are RGB from 0 to 1, lengths shares of the image's side."""

    shape: str
    fill: float
    turns: bool
    shifts: float
    colour: Field
    ground: Field
    pattern: str
    ground_pattern: str
    roughness: float
    ground_roughness: float
    decoration: str
    transparency: float
    bevel: float
    gloss: float
    vignetting: float
    shadow: float
    light: float
    gray: bool
    noise: float
    blur: float
    quality: int


def category_name(number: int) -> str:
    """What kind of category a number is, for tables."""
    look = _look(number)
    if look.shape == "texture":
        return "texture"
    kinds = [
        ("transparent", look.transparency > 0),
        ("like the ground", bool(np.abs(look.colour - look.ground).max() < 0.13)),
        ("several", look.shape == "several"),
        ("over the border", look.shape == "bar" or look.shifts > 0.2),
        ("thin", look.shape in ("wire", "screw", "bracket")),
        ("with holes", look.shape in ("nut", "gear", "ring", "plate")),
        ("dark on dark", max(look.colour.mean(), look.ground.mean()) < 0.3),
        ("bright on bright", min(look.colour.mean(), look.ground.mean()) > 0.6),
    ]
    return next((name for name, is_it in kinds if is_it), "body")


def render(category: int, number: int, side: int = 384) -> Scene:
    """Image `number` of a category, `side` pixels wide and high; the same numbers give the same image."""
    look, rng = _look(category), np.random.default_rng([7, category, number])
    size = side * _FINER
    ground = _surface(rng, look.ground, look.ground_pattern, look.ground_roughness, size)
    if look.shape == "texture":
        return Scene(_photograph(rng, look, ground * _vignette(rng, look, size), side), np.ones((side, side), np.uint8))
    rings = posed(SHAPES[look.shape](np.random.default_rng([8, category])), rng, look.fill, look.turns, look.shifts)
    mask = _filled(rings, size)
    product = _decorated(
        np.random.default_rng([9, category]), look, _surface(rng, look.colour, look.pattern, look.roughness, size), mask
    )
    product = (
        _transparent(look, product, ground, mask) * _relief(look, mask)[..., None] + _highlights(rng, look, mask)[..., None]
    )
    ground = ground * _shadow(rng, look, mask)[..., None]
    image = np.where(mask[..., None] > 0, product, ground) * _vignette(rng, look, size)
    foreground = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) >= 0.5
    return Scene(_photograph(rng, look, image, side), foreground.astype(np.uint8))


def _look(number: int) -> _Look:
    rng = np.random.default_rng([6, number])
    texture = rng.random() < _TEXTURES
    shape = "texture" if texture else str(rng.choice(list(SHAPES)))
    gray = rng.random() < 0.4
    ground = _colour(rng, gray)
    similar = rng.random() < 0.15
    colour = _colour(rng, gray)
    while not similar and _difference(colour, ground) < _LEAST_DIFFERENCE:
        colour = _colour(rng, gray)
    if similar:
        shift = np.float32(rng.choice([-1, 1]) * rng.uniform(0.06, 0.12))
        colour = np.clip(ground + shift, 0.03, 0.97).astype(np.float32)
    clear = not similar and rng.random() < 0.08
    return _Look(
        shape=shape,
        fill=float(rng.uniform(0.5, 0.95)),
        turns=bool(rng.random() < 0.5),
        shifts=float(rng.choice([0.02, 0.06, 0.3], p=[0.5, 0.35, 0.15])),
        colour=colour,
        ground=ground,
        pattern=str(rng.choice(_PATTERNS)) if not texture else str(rng.choice(_PATTERNS[2:])),
        ground_pattern=str(rng.choice(_PATTERNS)) if not texture else str(rng.choice(_PATTERNS[2:])),
        roughness=float(rng.uniform(0.01, 0.09)),
        ground_roughness=float(rng.uniform(0.003, 0.05)) if not texture else float(rng.uniform(0.04, 0.15)),
        decoration=str(rng.choice(_DECORATIONS)),
        transparency=float(rng.uniform(0.4, 0.75)) if clear else 0.0,
        bevel=float(rng.uniform(0.1, 0.5)),
        gloss=float(rng.choice([0.0, 0.25, 0.6])),
        vignetting=float(rng.uniform(0, 0.4)),
        shadow=float(rng.choice([0.0, rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.55)])),
        light=float(rng.uniform(0, 2 * np.pi)),
        gray=gray,
        noise=float(rng.uniform(0.5, 5)),
        blur=float(rng.uniform(0.4, 1.1)),
        quality=int(rng.integers(70, 100)),
    )


def _colour(rng: np.random.Generator, gray: bool) -> Field:
    level = float(rng.choice([rng.uniform(0.05, 0.25), rng.uniform(0.2, 0.7), rng.uniform(0.65, 0.95)]))
    tint = rng.normal(0, 0.0 if gray else float(rng.choice([0.02, 0.15])), 3)
    return np.clip(level + tint - tint.mean(), 0.03, 0.97).astype(np.float32)


def _difference(a: Field, b: Field) -> float:
    lab = cv2.cvtColor(np.stack([a, b])[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(lab[0] - lab[1]))


def _filled(rings: Rings, size: int) -> NDArray[np.float32]:
    mask = np.zeros((size, size), np.uint8)
    for outline, is_hole in rings:
        cv2.fillPoly(mask, [np.round(outline * size * 16).astype(np.int32)], 0 if is_hole else 1, cv2.LINE_8, 4)
    return mask.astype(np.float32)


def _surface(rng: np.random.Generator, colour: Field, pattern: str, roughness: float, size: int) -> Field:
    """(size, size, 3): a colour with a pattern of about that deviation."""
    return np.asarray(colour + (roughness * _noise(rng, pattern, size))[..., None], np.float32)


def _noise(rng: np.random.Generator, pattern: str, size: int) -> Field:
    """(size, size), deviation 1 (of a plain surface 0.1)."""
    plain = rng.normal(size=(size, size)).astype(np.float32)
    if pattern == "streaks":
        made = cv2.GaussianBlur(plain, (0, 0), sigmaX=size / 16, sigmaY=1.2)
    elif pattern == "blotches":
        made = cv2.GaussianBlur(plain, (0, 0), size / 60) + 0.5 * cv2.GaussianBlur(plain[::-1], (0, 0), size / 20) * 3
    elif pattern == "weave":
        across = np.arange(size, dtype=np.float32) * np.float32(2 * np.pi / max(6, size / 64))
        made = np.sin(across)[:, None] * np.sin(across)[None] + 0.3 * cv2.GaussianBlur(plain, (0, 0), 1.5) * 5
    else:
        made = cv2.GaussianBlur(plain, (0, 0), 1.5)
    made = made / made.std()
    return np.asarray(made * (0.1 if pattern == "plain" else 1.0), np.float32)


def _decorated(rng: np.random.Generator, look: _Look, product: Field, mask: Field) -> Field:
    """The product with what is printed on it, or its other half."""
    ys, xs = np.nonzero(mask)
    if look.decoration == "none" or not len(ys):
        return product
    size, other = mask.shape[0], _colour(rng, look.gray)
    top, left, height, width = ys.min(), xs.min(), np.ptp(ys) + 1, np.ptp(xs) + 1
    y, x = np.mgrid[:size, :size].astype(np.float32)
    v, u = (y - top) / height, (x - left) / width
    if look.decoration == "two-tone":
        inside = (u if width > height else v) > rng.uniform(0.35, 0.65)
    elif look.decoration == "bright middle":
        inside = np.hypot(u - 0.5, v - 0.5) < rng.uniform(0.15, 0.32)
    elif look.decoration == "label":
        inside = (np.abs(u - 0.5) < rng.uniform(0.15, 0.3)) & (np.abs(v - 0.5) < rng.uniform(0.1, 0.25))
    else:
        lines = (np.sin(v * rng.uniform(40, 80)) > 0.4) & (np.sin(u * 90 + 9 * np.sin(v * 50)) > -0.3)
        inside = lines & (np.abs(u - 0.5) < 0.3) & (np.abs(v - 0.5) < 0.2)
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.5)[..., None]
    return np.asarray(product + soft * (other - look.colour), np.float32)


def _transparent(look: _Look, product: Field, ground: Field, mask: Field) -> Field:
    """Glass: the ground shifted behind a tint, with dark and bright rims."""
    if not look.transparency:
        return product
    behind = np.roll(ground, mask.shape[0] // 40, (0, 1))
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / (0.02 * mask.shape[0])
    rim = np.exp(-((depth - 0.5) ** 2)) - 0.7 * np.exp(-((depth - 2) ** 2) / 0.5)
    return np.asarray(look.transparency * behind + (1 - look.transparency) * product - 0.35 * rim[..., None], np.float32)


def _relief(look: _Look, mask: Field) -> Field:
    """Brightness of a body with a rounded edge under light from one side."""
    width = 0.035 * mask.shape[0]
    depth = np.minimum(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / width, 1)
    height = cv2.GaussianBlur(np.sqrt(1 - (1 - depth) ** 2).astype(np.float32), (0, 0), 2)
    dy, dx = cv2.Sobel(height, cv2.CV_32F, 0, 1), cv2.Sobel(height, cv2.CV_32F, 1, 0)
    slope = -(dx * np.cos(look.light) + dy * np.sin(look.light))
    return np.asarray(np.clip(1 + look.bevel * slope / max(float(np.abs(slope).max()), 1e-6), 0.3, 1.7), np.float32)


def _highlights(rng: np.random.Generator, look: _Look, mask: Field) -> Field:
    """Reflections of lamps on a glossy body."""
    light = np.zeros_like(mask)
    ys, xs = np.nonzero(mask)
    if not look.gloss or not len(ys):
        return light
    for _ in range(int(rng.integers(1, 4))):
        k = int(rng.integers(len(ys)))
        axes = tuple(int(side) for side in rng.uniform(0.01, 0.06, 2) * mask.shape[0])
        at, turned = (float(xs[k]), float(ys[k])), float(rng.uniform(0, 180))
        cv2.ellipse(light, cv2.RotatedRect(at, (2 * axes[0], 2 * axes[1]), turned), 1.0, -1)
    return np.asarray(look.gloss * cv2.GaussianBlur(light, (0, 0), 0.006 * mask.shape[0]), np.float32)


def _shadow(rng: np.random.Generator, look: _Look, mask: Field) -> Field:
    """What is left of the light on the ground: less where the product stands in its way, and right beside it."""
    if not look.shadow:
        return np.ones_like(mask)
    size = mask.shape[0]
    away = size * rng.uniform(0.02, 0.07)
    matrix = np.float32([[1, 0, away * np.cos(look.light)], [0, 1, away * np.sin(look.light)]])
    cast = cv2.GaussianBlur(cv2.warpAffine(mask, matrix, (size, size)), (0, 0), size * rng.uniform(0.015, 0.05))
    contact = cv2.GaussianBlur(mask, (0, 0), size * 0.01)
    return np.asarray(1 - look.shadow * np.maximum(cast, 0.5 * contact), np.float32)


def _vignette(rng: np.random.Generator, look: _Look, size: int) -> Field:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    around = 1 - look.vignetting * 2 * (y**2 + x**2)
    across = 1 + rng.uniform(0, 0.2) * (x * np.cos(look.light) + y * np.sin(look.light))
    return np.asarray((around * across)[..., None], np.float32)


def _photograph(rng: np.random.Generator, look: _Look, image: Field, side: int) -> NDArray[np.uint8]:
    """(side, side, 3) uint8: what a camera makes of it, and a JPEG file."""
    small = cv2.resize(np.clip(image, 0, 1), (side, side), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), look.blur) * 255
    grain = rng.normal(size=blurred.shape[:2] if look.gray else blurred.shape).astype(np.float32)
    noisy = blurred + look.noise * (grain[..., None] if look.gray else grain)
    plain = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", plain[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, look.quality])[1]
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
