"""Outlines and coverages that several kinds of anomalies share. Lengths in pixels of the sample, angles in radians."""

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.blending import clip_box
from synthgen.painting.noise import fractal_noise, noise_std, permutation
from synthgen.samples import Box, Size

Field = NDArray[np.float32]
Points = NDArray[np.float64]

_SUPERSAMPLING = 3


def box_around(points: Points, margin: float, size: Size) -> Box:
    """The whole-pixel box around (n, 2) points (y, x), clipped to an image of (height, width) `size`; maybe empty."""
    (top, left), (bottom, right) = points.min(0) - margin, points.max(0) + margin + 1
    return clip_box(float(top), float(left), float(bottom), float(right), size)


def jagged_outline(rng: np.random.Generator, centre: tuple[float, float], radius: float, aspect: float, turn: float) -> Points:
    """(n, 2) points (y, x) of a broken-off piece: a few straight or slightly splintered sides between random corners.

    Args:
        rng: where the numbers come from.
        centre: (y, x).
        radius: of the disc that the corners scatter about.
        aspect: length over width, >= 1.
        turn: direction of the length.
    """
    corners = int(rng.integers(5, 10))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + 0.35 * np.sin(np.arange(corners))
    angles = 0.5 * angles + 0.5 * np.arange(corners) * 2 * np.pi / corners
    radii = radius * rng.uniform(0.6, 1.25, corners)
    points = np.stack([radii * np.sin(angles) / np.sqrt(aspect), radii * np.cos(angles) * np.sqrt(aspect)], 1)
    for level in range(4):  # midpoint displacement: each side splinters into smaller ones
        following = np.roll(points, -1, axis=0)
        side = following - points
        middle = (points + following) / 2 + rng.normal(0, 0.14 / (level + 1), len(points))[:, None] * side[:, ::-1] * (1, -1)
        points = np.stack([points, middle], 1).reshape(-1, 2)
    return np.asarray(turned(points, turn) + np.asarray(centre), np.float64)


def turned(points: Points, turn: float) -> Points:
    """(n, 2) points (y, x) turned about (0, 0)."""
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(points @ np.array([[c, -s], [s, c]]), np.float64)


def filled(outlines: list[Points], box: Box, fine: bool = True) -> Field:
    """(h, w) float32 0..1: how much of each pixel the outlines (y, x) cover.

    `fine` draws at three times the resolution, as thin lines need it; otherwise outlines reach half a pixel farther.
    """
    y0, x0, y1, x1 = box
    s = _SUPERSAMPLING if fine else 1
    canvas = np.zeros(((y1 - y0) * s, (x1 - x0) * s), np.uint8)
    for outline in outlines:
        cv2.fillPoly(
            canvas,
            [np.rint((outline - (y0, x0))[:, ::-1] * (s * 16)).astype(np.int32)],
            255,
            cv2.LINE_8 if s > 1 else cv2.LINE_AA,
            shift=4,
        )
    covered = canvas if s == 1 else cv2.resize(canvas, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return np.asarray(covered * np.float32(1 / 255), np.float32)


def ribbon(middle: Points, half: NDArray[np.float64]) -> Points:
    """(2 n, 2) outline of a line of (n, 2) points (y, x) and (n,) half widths."""
    tangent = np.gradient(middle, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-6)[:, None]
    across = np.stack([-tangent[:, 1], tangent[:, 0]], 1) * half[:, None]
    return np.concatenate([middle + across, (middle - across)[::-1]])


def ellipse_distance(box: Box, centre: tuple[float, float], radii: tuple[float, float], turn: float) -> Field:
    """(h, w) float32: distance from the centre in radii; 1 on an ellipse with half axes (along, across) `radii`."""
    y0, x0, y1, x1 = box
    rows = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre[0]))[:, None]
    columns = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre[1]))[None, :]
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along, across = (columns * c + rows * s) / np.float32(radii[0]), (rows * c - columns * s) / np.float32(radii[1])
    return np.asarray(np.sqrt(along * along + across * across), np.float32)


def coverage(depth: Field, edge: float) -> Field:
    """(h, w) float32 0..1 from a depth that is 0 on an outline, over an edge of width `edge` (in the depth's units)."""
    return np.asarray(np.clip(depth / np.float32(max(edge, 1e-3)) + np.float32(0.5), 0, 1), np.float32)


def blotch_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> Field:
    """(h, w) float32 gradient noise of unit variance; octaves finer than pixels can show are left out."""
    octaves = int(np.clip(1 + np.floor(np.log2(max(cell / 1.5, 1))), 1, octaves))
    table = permutation(rng)
    return fractal_noise(shape, max(cell, 1.5), table, octaves, 0.55) / np.float32(noise_std(octaves, 0.55))


def streaks(rng: np.random.Generator, box: Box, turn: float, width: float) -> Field:
    """(h, w) float32 of about unit variance that varies across the direction `turn` and hardly along it, as brushing does.

    Args:
        rng: where the numbers come from.
        box: the window.
        turn: direction of the streaks.
        width: of the finest ones.
    """
    y0, x0, y1, x1 = box
    rows = np.arange(y1 - y0, dtype=np.float32)[:, None] - np.float32((y1 - y0) / 2)
    columns = np.arange(x1 - x0, dtype=np.float32)[None, :] - np.float32((x1 - x0) / 2)
    across = rows * np.float32(np.cos(turn)) - columns * np.float32(np.sin(turn))
    reach = int(np.hypot(y1 - y0, x1 - x0) / max(width, 1)) + 4
    lines = rng.standard_normal(reach).astype(np.float32)
    lines = 0.75 * lines + 0.65 * np.repeat(rng.standard_normal(reach // 4 + 1), 4)[:reach].astype(np.float32)
    position = across / np.float32(max(width, 1)) + np.float32(reach / 2)
    before = np.clip(position.astype(np.int32), 0, reach - 2)
    weight = position - before
    return np.asarray(np.take(lines, before) * (1 - weight) + np.take(lines, before + 1) * weight, np.float32)
