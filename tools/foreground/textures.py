"""Random colours and patterns of surfaces, for the scenes that the foreground network learns from."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def colour(rng: np.random.Generator, gray: bool) -> Field:
    """(3,) RGB from 0 to 1: any brightness, gray or tinted a little or a lot."""
    level = float(rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.15, 0.75), rng.uniform(0.6, 0.98)]))
    tint = rng.normal(0, 0.0 if gray else float(rng.choice([0.015, 0.06, 0.2])), 3)
    return np.clip(level + tint - tint.mean(), 0.01, 0.99).astype(np.float32)


def pattern(rng: np.random.Generator, side: int) -> Field:
    """(side, side) of mean 0 and deviation 1: one pattern, or some of them laid over each other."""
    count = int(rng.choice([1, 2, 3], p=[0.55, 0.35, 0.1]))
    total = np.zeros((side, side), np.float32)
    for _ in range(count):
        made = _PATTERNS[int(rng.integers(len(_PATTERNS)))](rng, side)
        total += np.float32(rng.uniform(0.3, 1)) * _standard(made)
    return _standard(total)


def shading(rng: np.random.Generator, side: int, kinds: int = 2) -> Field:
    """(side, side) around 1: light that falls off across or around; with a third kind, as on a cylinder or on folds."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = rng.integers(kinds)
    strength = rng.uniform(0, 0.6)
    if kind == 0:
        return np.asarray(1 + strength * along, np.float32)
    if kind == 1:
        middle = rng.uniform(-0.3, 0.3, 2)
        return np.asarray(1 - strength * ((x - middle[0]) ** 2 + (y - middle[1]) ** 2), np.float32)
    return np.asarray(1 + strength * np.cos((along - rng.uniform(-0.3, 0.3)) * rng.uniform(3, 14)), np.float32)


def _standard(field: Field) -> Field:
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def _larger(small: Field, side: int) -> Field:
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _turned(field: Field, angle: float, side: int) -> Field:
    """The middle of a larger field, turned."""
    size = field.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.0)
    matrix[:, 2] -= (size - side) / 2
    return np.asarray(cv2.warpAffine(field, matrix, (side, side), flags=cv2.INTER_LINEAR), np.float32)


def _grain(rng: np.random.Generator, side: int) -> Field:
    return _larger(rng.normal(size=(side // int(rng.integers(1, 4)),) * 2).astype(np.float32), side)


def _octaves(rng: np.random.Generator, side: int) -> Field:
    keep, total = rng.uniform(0.4, 1.0), np.zeros((side, side), np.float32)
    first = int(rng.integers(1, 5))
    for octave in range(first, 8):
        cells = min(2**octave, side)
        total += np.float32(keep ** (octave - first)) * _larger(rng.normal(size=(cells, cells)).astype(np.float32), side)
    return total


def _streaks(rng: np.random.Generator, side: int) -> Field:
    size = int(1.5 * side)
    small = rng.normal(size=(size // int(rng.integers(1, 5)), max(2, size // int(rng.integers(20, 120))))).astype(np.float32)
    return _turned(_larger(small, size), float(rng.choice([0, 90, rng.uniform(0, 180)])), side)


def _stripes(rng: np.random.Generator, side: int) -> Field:
    angle, period = rng.uniform(0, np.pi), rng.uniform(side / 60, side / 5)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / period) + rng.uniform(0, 6))
    return np.asarray(np.tanh(wave * rng.uniform(1, 6)), np.float32)


def _grid(rng: np.random.Generator, side: int) -> Field:
    angle, period = float(rng.choice([0, rng.uniform(0, np.pi)])), rng.uniform(side / 50, side / 6)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    turn = np.float32(2 * np.pi / period)
    product = np.sin(u * turn) * np.sin(v * turn) if rng.random() < 0.5 else np.maximum(np.cos(u * turn), np.cos(v * turn))
    return np.asarray(np.tanh(product * rng.uniform(1, 5)), np.float32)


def _blotches(rng: np.random.Generator, side: int) -> Field:
    field = _octaves(rng, side)
    return np.asarray(np.tanh(4 * (field - np.quantile(field, rng.uniform(0.2, 0.9)))), np.float32)


def _cells(rng: np.random.Generator, side: int) -> Field:
    """Facets of random brightness, or the lines between them."""
    seeds = np.ones((side, side), np.uint8)
    count = int(rng.integers(20, 400))
    seeds[rng.integers(0, side, count), rng.integers(0, side, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    if rng.random() < 0.5:
        return np.asarray(distance, np.float32)
    return np.asarray(rng.normal(size=int(labels.max()) + 1)[labels], np.float32)


def _turning_marks(rng: np.random.Generator, side: int) -> Field:
    """Rings or rays around a point: machined ends, sprayed or rolled goods."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    middle = side * rng.uniform(0.2, 0.8, 2)
    around = (
        np.hypot(x - middle[0], y - middle[1]) if rng.random() < 0.6 else np.arctan2(y - middle[1], x - middle[0]) * side / 6
    )
    profile = rng.normal(size=int(rng.integers(20, side))).astype(np.float32)
    place = np.abs(around) / side * len(profile)
    return np.asarray(np.interp(place, np.arange(len(profile)), profile, period=len(profile)), np.float32)


_PATTERNS: tuple[Callable[[np.random.Generator, int], Field], ...] = (
    _grain, _grain, _octaves, _octaves, _streaks, _streaks, _stripes, _grid, _blotches, _cells, _turning_marks,
)  # fmt: skip
