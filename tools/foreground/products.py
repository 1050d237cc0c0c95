"""Random photographs of products that nobody makes, with their masks: what the foreground network learns from.

A product is a heap of random parts: bodies are joined, holes cut, decorations laid on, all of it mirrored or repeated around
a middle as made things are. Its materials, the ground, the light and the camera are random too, far beyond what is likely, so
that what is learned is what an object is: a closed outline, whatever is inside of it, while a shadow has no edge and keeps the
ground's texture. A part of the scenes are textures that fill the frame; there everything is foreground.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.foreground.textures import Field, colour, pattern, shading

SIDE = 128
"""Of what the network sees."""
_FINE = 192  # as it is rendered
_TEXTURES = 0.14


@dataclass(frozen=True, slots=True)
class _Light:
    """How a scene is lit: the angle that light comes from, and how much of it shadows take."""

    angle: float
    shadow: float


def scene(seed: int) -> tuple[NDArray[np.uint8], Field]:
    """One scene: (128, 128, 3) uint8 RGB, and (128, 128) float32, the share of each pixel that is foreground."""
    rng = np.random.default_rng([41, seed])
    gray = bool(rng.random() < 0.4)
    if rng.random() < _TEXTURES:
        return _photograph(rng, _texture(rng, gray), gray), np.ones((SIDE, SIDE), np.float32)
    light = _Light(float(rng.uniform(0, 2 * np.pi)), float(rng.choice([0.0, rng.uniform(0.05, 0.35), rng.uniform(0.3, 0.65)])))
    while True:
        mask, parts = _product(rng)
        if 0.01 < mask.mean() < 0.85:
            break
    base = colour(rng, gray)
    ground = _ground(rng, base, gray)
    body = _body(rng, mask, parts, base, gray)
    if rng.random() < 0.08:
        body = _glass(rng, body, ground, mask)
    body = body * _relief(rng, mask, light)[..., None] + _highlights(rng, mask)[..., None]
    ground = ground * _shadows(rng, mask, light)[..., None]
    if rng.random() < 0.1:
        ground = _mirrored(rng, ground, body, mask)
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.7)[..., None]
    image = (alpha * body + (1 - alpha) * ground) * shading(rng, _FINE)[..., None]
    return _photograph(rng, image, gray), np.asarray(cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


# ---- the product's shape


def _product(rng: np.random.Generator) -> tuple[Field, list[Field]]:
    """The silhouette, and masks of what is laid on or joined to it, each (192, 192) of 0 and 1."""
    frame = _frame(rng)
    mask = _repeated(rng, _primitive(rng, 1.0), frame)
    parts = []
    for _ in range(int(rng.integers(0, 5))):
        kind = rng.choice(["join", "hole", "lay"], p=[0.35, 0.2, 0.45])
        points = _primitive(rng, float(rng.uniform(0.1, 0.7))) + rng.uniform(-0.7, 0.7, 2)
        part = _repeated(rng, points, frame)
        if kind == "join":
            mask = np.maximum(mask, part)
            parts.append(part)
        elif kind == "hole" and (part * mask).sum() < 0.6 * mask.sum():
            mask = mask * (1 - part)
        else:
            parts.append(part * mask)
    return np.asarray(mask, np.float32), parts


@dataclass(frozen=True, slots=True)
class _Frame:
    """From the product's coordinates to pixels: copies of (2, 3) matrices."""

    matrices: list[NDArray[np.float64]]
    symmetries: list[NDArray[np.float64]]


def _frame(rng: np.random.Generator) -> _Frame:
    size = 0.5 * _FINE * float(rng.choice([rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.3)]))
    angle = float(rng.choice([0.0, rng.uniform(0, 2 * np.pi)]))
    stretch = np.diag([1.0, float(rng.choice([1.0, rng.uniform(0.25, 1.0)]))])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ stretch * size
    away = float(rng.choice([0.03, 0.12, 0.45], p=[0.45, 0.35, 0.2]))
    middle = _FINE * (0.5 + rng.uniform(-away, away, 2))
    places = [middle]
    if rng.random() < 0.1:  # several of them
        count = int(rng.integers(2, 4))
        turn = turn / count
        places = [_FINE * (np.array([x, y]) + 0.5) / count + rng.normal(0, 3, 2) for x in range(count) for y in range(count)]
    matrices = [np.concatenate([turn, place[:, None]], 1) for place in places]
    symmetries = [np.eye(2)]
    chance = rng.random()
    if chance < 0.35:
        symmetries.append(np.diag([-1.0, 1.0]))
    elif chance < 0.55:
        turns = int(rng.integers(2, 9))
        steps = [2 * np.pi * k / turns for k in range(turns)]
        symmetries = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in steps]
    return _Frame(matrices, symmetries)


def _repeated(rng: np.random.Generator, points: NDArray[np.float64], frame: _Frame) -> Field:
    """A closed curve filled in every copy, with the symmetries of made things."""
    mask = np.zeros((_FINE, _FINE), np.uint8)
    for matrix in frame.matrices:
        for symmetry in frame.symmetries:
            placed = points @ symmetry.T @ matrix[:, :2].T + matrix[:, 2]
            cv2.fillPoly(mask, [np.round(placed * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return mask.astype(np.float32)


def _primitive(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """(n, 2) points of a closed curve within a square from -1 to 1, times `size`."""
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    kind = rng.integers(6)
    if kind == 0:
        points = circle * (1, rng.uniform(0.3, 1))
    elif kind == 1:  # a box with round corners, at times longer than the image
        power, long = rng.uniform(0.05, 0.7), float(rng.choice([1, 1, 1, 4]))
        points = np.sign(circle) * np.abs(circle) ** power * (long, rng.uniform(0.1, 1))
    elif kind == 2:  # a polygon
        corners = int(rng.integers(3, 9))
        points = circle[:: 160 // corners][:corners] * (rng.uniform(0.6, 1, (corners, 1)) if rng.random() < 0.5 else 1)
    elif kind == 3:  # teeth, petals
        count, depth = int(rng.integers(3, 24)), rng.uniform(0.05, 0.5)
        wave = np.sin(count * angle)
        points = circle * (1 - depth * (0.5 + 0.5 * (np.sign(wave) if rng.random() < 0.5 else wave)))[:, None]
    elif kind == 4:  # a blob
        radius = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 7))
        points = circle * (radius / np.abs(radius).max())[:, None]
    else:  # a bent stroke
        along, thick = np.linspace(-1, 1, 60), rng.uniform(0.04, 0.25)
        middle = rng.uniform(0, 0.5) * np.sin(along * rng.uniform(1, 6) + rng.uniform(0, 6))
        thickness = thick * (1 + rng.uniform(0, 0.5) * np.sin(along * rng.uniform(1, 60)))
        upper, lower = np.stack([along, middle - thickness], 1), np.stack([along, middle + thickness], 1)[::-1]
        points = np.concatenate([upper, lower])
    return np.asarray(points * size, np.float64)


# ---- its look


def _painted(rng: np.random.Generator, base: Field, roughness: float) -> Field:
    direction = np.ones(3, np.float32) if rng.random() < 0.7 else rng.normal(1, 0.5, 3).astype(np.float32)
    return np.asarray(base + roughness * pattern(rng, _FINE)[..., None] * direction, np.float32)


def _texture(rng: np.random.Generator, gray: bool) -> Field:
    roughness = float(rng.choice([rng.uniform(0, 0.015), rng.uniform(0.01, 0.2)], p=[0.2, 0.8]))
    image = _painted(rng, colour(rng, gray), roughness) * shading(rng, _FINE)[..., None]
    return np.asarray(image * np.exp(_unevenness(rng))[..., None], np.float32)


def _unevenness(rng: np.random.Generator) -> Field:
    """(192, 192): how much brighter or darker a surface is in wide, soft places and towards its sides, as a logarithm."""
    strength = float(rng.choice([0.0, rng.uniform(0.05, 0.5)]))
    rows, columns = (int(rng.choice([1, 2, 3, 5])) for _ in range(2))
    wide = cv2.resize(rng.normal(size=(rows, columns)).astype(np.float32), (_FINE, _FINE), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.choice([0, 0, rng.integers(1, 3)]))):
        along = np.arange(_FINE, dtype=np.float32) / _FINE
        edge = 1 / (1 + np.exp((along - rng.uniform(0, 0.3)) / rng.uniform(0.01, 0.08)))
        side = np.repeat(edge[:, None], _FINE, 1) * rng.uniform(-3, 3)
        wide += np.rot90(side, int(rng.integers(4)))
    return np.asarray(strength * wide, np.float32)


def _ground(rng: np.random.Generator, base: Field, gray: bool) -> Field:
    """Mostly calm; sometimes rough, with seams, specks or another ground beside it."""
    roughness = float(
        rng.choice([rng.uniform(0, 0.01), rng.uniform(0.005, 0.04), rng.uniform(0.03, 0.12)], p=[0.45, 0.4, 0.15])
    )
    ground = _painted(rng, base, roughness)
    y, x = np.mgrid[:_FINE, :_FINE].astype(np.float32) / _FINE - 0.5
    if rng.random() < 0.08:
        angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
        beside = x * np.cos(angle) + y * np.sin(angle) > rng.uniform(0.1, 0.45)
        ground[beside] += colour(rng, gray) * 0.5 - 0.25
    if rng.random() < 0.08:
        for _ in range(int(rng.integers(1, 4))):
            ends = rng.uniform(-0.2, 1.2, (2, 2)) * _FINE
            first, last = (tuple(int(v) for v in end) for end in ends)
            line = cv2.line(np.zeros((_FINE, _FINE), np.float32), first, last, 1.0, int(rng.integers(1, 4)))
            ground += rng.uniform(-0.25, 0.25) * cv2.GaussianBlur(line, (0, 0), 1)[..., None]
    if rng.random() < 0.12:
        specks = (rng.random((_FINE, _FINE)) < 0.0006).astype(np.float32)
        ground += rng.uniform(-0.5, 0.5) * cv2.dilate(specks, np.ones((2, 2), np.uint8))[..., None]
    return ground


def _body(rng: np.random.Generator, mask: Field, parts: list[Field], ground: Field, gray: bool) -> Field:
    """The product's surface: a colour that differs from the ground's, and its parts' own."""
    main = colour(rng, gray)
    if rng.random() < 0.2:  # much like the ground, a little brighter or darker
        main = np.clip(ground + np.float32(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)), 0.01, 0.99)
    while np.abs(main - ground).max() < 0.045:
        main = colour(rng, gray)
    rough = float(rng.choice([rng.uniform(0, 0.03), rng.uniform(0.02, 0.15)]))
    body = _painted(rng, main, rough) * shading(rng, _FINE, 3)[..., None]
    for part in parts:
        if rng.random() < 0.7:
            other = _painted(rng, colour(rng, gray), float(rng.uniform(0, 0.08)))
            soft = cv2.GaussianBlur(part, (0, 0), float(rng.choice([0.7, 0.7, rng.uniform(1, 8)])))[..., None]
            body = body + soft * (other - body)
        else:
            line = cv2.morphologyEx(part, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
            body = body + rng.uniform(-0.3, 0.3) * cv2.GaussianBlur(line, (0, 0), 1)[..., None]
    return np.asarray(body, np.float32)


def _glass(rng: np.random.Generator, body: Field, ground: Field, mask: Field) -> Field:
    clear = np.float32(rng.uniform(0.3, 0.85))
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / rng.uniform(3, 8)
    rim = np.exp(-((depth - 0.5) ** 2)) * rng.uniform(-0.5, 0.2) + np.exp(-((depth - 2) ** 2)) * rng.uniform(-0.2, 0.4)
    behind = np.roll(ground, rng.integers(-9, 10, 2), (0, 1))
    return np.asarray(clear * behind + (1 - clear) * body + rim[..., None], np.float32)


def _relief(rng: np.random.Generator, mask: Field, light: _Light) -> Field:
    """Light on a body with an edge that is rounded more or less."""
    width, strength = rng.uniform(2, 30), float(rng.choice([0, rng.uniform(0.05, 0.6)]))
    depth = np.minimum(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / width, 1)
    height = cv2.GaussianBlur(np.sqrt(1 - (1 - depth) ** 2).astype(np.float32), (0, 0), 1.5)
    slope = -(
        cv2.Sobel(height, cv2.CV_32F, 1, 0) * np.cos(light.angle) + cv2.Sobel(height, cv2.CV_32F, 0, 1) * np.sin(light.angle)
    )
    return np.asarray(np.clip(1 + strength * slope / max(float(np.abs(slope).max()), 1e-6), 0.2, 1.8), np.float32)


def _highlights(rng: np.random.Generator, mask: Field) -> Field:
    light = np.zeros_like(mask)
    ys, xs = np.nonzero(mask)
    for _ in range(int(rng.choice([0, rng.integers(1, 5)]))):
        k = int(rng.integers(len(ys)))
        points = _primitive(rng, float(rng.uniform(2, 25))) * (1, rng.uniform(0.2, 1)) + (xs[k], ys[k])
        cv2.fillPoly(light, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    return np.asarray(rng.uniform(0.1, 0.8) * cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.7, 4))) * mask, np.float32)


def _shadows(rng: np.random.Generator, mask: Field, light: _Light) -> Field:
    """What is left of the light on the ground."""
    left = np.ones_like(mask)
    if not light.shadow:
        return left
    for number in range(int(rng.integers(1, 3))):
        angle = light.angle + np.pi * number * rng.uniform(0.3, 1)
        away = rng.uniform(1, 0.12 * _FINE) * np.array([np.cos(angle), np.sin(angle)])
        moved = cv2.warpAffine(mask, np.float32([[1, 0, away[0]], [0, 1, away[1]]]), (_FINE, _FINE))
        left *= 1 - light.shadow / (1 + number) * cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(1.5, 16)))
    return np.asarray(left * (1 - 0.5 * light.shadow * cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1, 6)))), np.float32)


def _mirrored(rng: np.random.Generator, ground: Field, body: Field, mask: Field) -> Field:
    """A glossy ground shows the product upside down below it."""
    lowest = int(np.nonzero(mask.any(1))[0].max())
    away = 2 * lowest - _FINE + 1
    matrix = np.float32([[1, 0, 0], [0, 1, away]])
    turned, where = (cv2.warpAffine(field[::-1].copy(), matrix, (_FINE, _FINE)) for field in (body, mask))
    soft = rng.uniform(0.05, 0.3) * cv2.GaussianBlur(where, (0, 0), 2)[..., None]
    return np.asarray(ground + soft * (turned - ground), np.float32)


# ---- the camera


def _photograph(rng: np.random.Generator, image: Field, gray: bool) -> NDArray[np.uint8]:
    """(128, 128, 3) uint8: exposed, blurred, noisy, through a JPEG file, and made as small as the network wants it."""
    exposed = np.clip(image * rng.uniform(0.75, 1.25), 0, 1) ** np.float32(rng.uniform(0.7, 1.4))
    blurred = cv2.GaussianBlur(exposed.astype(np.float32), (0, 0), float(rng.uniform(0.3, 1.5))) * 255
    grain = rng.normal(size=(_FINE, _FINE, 1 if gray else 3)).astype(np.float32)
    noisy = blurred + np.float32(rng.uniform(0, 9)) * grain
    if gray:
        noisy = np.repeat(noisy.mean(-1, keepdims=True), 3, -1)
    plain = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        encoded = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))])[1]
        plain = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.resize(plain, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
