"""Corrosion: patches that grow, overlap and crumble at the edge (MaPhC2F, Algorithm 4), coloured by the material.

`paper` follows the pseudocode for the mask: random polygons, growth of the boundary by chance, closing, noise that breaks
the edge. Read so that each step does something: a polygon that overlaps is drawn again with probability 1 - p_overlap
("union or OR" are one operation), growth stays on the foreground, and the noise breaks an inner band of the edge (the
printed boundary pixels are 0 already). The paper says nothing about the look; the colours are those below.

`realistic` is a cluster of patches of very different size whose edge is perturbed by fractal noise. Their look follows
`materials.MODES`: brightness goes up or down by a broadly drawn contrast, the hue moves towards the material's as far as
the surface is colourful itself, the fine texture stays in part, relief is shaded from one side, pixel noise as before.

Numbers: of the paper's style those of Algorithm 4 where it prints any (polygons of 0.6 to 1.3 of their radius), else within
what it leaves open. Of the realistic style: looked at, chosen by eye on real images, as are `materials.MODES`. What the type
teaches a detector as a whole is measured in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, RelativeRange, TypeSettings
from synthgen.anomalies.materials import MODES, Mode, draw_mode
from synthgen.painting.appearance import above_texture, draw_light
from synthgen.painting.blending import clip_box, drop_specks, finish, odd_size
from synthgen.painting.draws import log_uniform, seed, uniform
from synthgen.painting.noise import fractal_noise, noise_std, permutation
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Mask

Field = NDArray[np.float32]


class CorrosionSettings(TypeSettings):
    """What may be drawn for corrosion.

    Attributes:
        count_range: number of patches in a cluster.
        size_range: radius of the largest patch over the diameter of the part; log-uniform.
        contrast_range: mean change of brightness in gray levels; log-uniform. On a restless surface, where it would not be
            seen, more.
    """

    count_range: CountRange = (1, 5)
    size_range: RelativeRange = (0.015, 0.1)
    contrast_range: PositiveRange = (12, 80)


STRENGTHS = {
    "subtle": {"size_range": (0.01, 0.05), "contrast_range": (8, 22)},
    "normal": {},
    "strong": {"size_range": (0.04, 0.16), "contrast_range": (35, 110)},
}


@dataclass(frozen=True, slots=True)
class CorrosionParams:
    """All that is random about one cluster of patches; lengths in pixels of the sample.

    `patches` are (y, x, radius). `contrast` is signed: negative is darker. `tint` is a move in RGB in gray levels, `cell`
    the lattice of the noise in pixels, `ragged` the perturbation of the edge relative to the radius. `grow_steps`,
    `grow_chance`, `break_band` and `break_sigma` belong to Algorithm 4 (0 steps, chance 0, band 0 in the realistic style).
    """

    style: str
    mode: str
    patches: tuple[tuple[float, float, float], ...]
    cell: float
    ragged: float
    contrast: float
    tint: tuple[float, float, float]
    desaturation: float
    detail: float
    opacity: float
    light: float
    grow_steps: int
    grow_chance: float
    break_band: int
    break_sigma: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: CorrosionSettings) -> CorrosionParams:
    """Parameters of one cluster on this surface."""
    paper = settings.style == "paper"
    name = draw_mode(rng, surface.material)
    mode = MODES[name]
    y, x = surface.place(rng)
    diameter = surface.diameter(y, x)
    radius = max(log_uniform(rng, settings.size_range) * diameter, 3 * surface.scale)
    patches = _polygon_centres(rng, surface, settings, (y, x), radius) if paper else _cluster(rng, settings, (y, x), radius)
    contrast = _signed_contrast(rng, surface, (y, x), radius, mode, settings)
    tint = _tint(rng, surface, mode)
    return CorrosionParams(
        style=settings.style,
        mode=name,
        patches=patches,
        cell=round(512 * surface.scale / uniform(rng, (12, 40)) if paper else radius * uniform(rng, (0.35, 0.9)), 4),
        ragged=uniform(rng, (0.15, 0.4)),
        contrast=contrast,
        tint=tint,
        desaturation=uniform(rng, mode.desaturation),
        detail=uniform(rng, mode.detail),
        opacity=uniform(rng, (0.75, 1.0)),
        light=draw_light(rng, surface),
        grow_steps=max(round(rng.integers(4, 16) * surface.scale), 1) if paper else 0,
        grow_chance=uniform(rng, (0.2, 0.6)) if paper else 0.0,
        break_band=max(round(rng.integers(2, 7) * surface.scale), 1) if paper and rng.random() < 0.7 else 0,
        break_sigma=uniform(rng, (0.0, 1.25)),
        noise_seed=seed(rng),
    )


def _cluster(
    rng: np.random.Generator, settings: CorrosionSettings, centre: tuple[int, int], radius: float
) -> tuple[tuple[float, float, float], ...]:
    """(y, x, radius) of a main patch, its neighbours, and smaller satellites farther out."""
    count = int(rng.integers(settings.count_range[0], settings.count_range[1] + 1))
    patches = [(float(centre[0]), float(centre[1]), radius)]
    for k in range(count - 1 + int(rng.integers(0, 2 * count))):
        satellite = k >= count - 1
        size = radius * (rng.uniform(0.12, 0.35) if satellite else rng.uniform(0.35, 0.9))
        away = radius * (rng.uniform(1.2, 2.4) if satellite else rng.uniform(0.4, 1.3))
        angle = rng.uniform(0, 2 * np.pi)
        patches.append((centre[0] + away * np.sin(angle), centre[1] + away * np.cos(angle), size))
    return tuple((round(y, 2), round(x, 2), round(max(r, 1.5), 2)) for y, x, r in patches)


def _polygon_centres(
    rng: np.random.Generator, surface: Surface, settings: CorrosionSettings, first: tuple[int, int], radius: float
) -> tuple[tuple[float, float, float], ...]:
    """(y, x, radius) of Algorithm 4's polygons: anywhere on the foreground; with probability 1 - p_overlap apart."""
    count = int(rng.integers(settings.count_range[0], settings.count_range[1] + 1))
    p_overlap = rng.uniform(0.3, 1.0)
    patches = [(float(first[0]), float(first[1]), round(radius, 2))]
    for _ in range(count - 1):
        size = round(radius * rng.uniform(0.5, 1.0), 2)
        apart = rng.random() > p_overlap
        for _ in range(10):
            y, x = surface.place(rng)
            if not apart or all(np.hypot(y - py, x - px) > size + pr for py, px, pr in patches):
                patches.append((float(y), float(x), size))
                break
    return tuple(patches)


def _signed_contrast(
    rng: np.random.Generator, surface: Surface, centre: tuple[int, int], radius: float, mode: Mode, settings: CorrosionSettings
) -> float:
    """Gray levels by which the mean brightness changes, with the sign that the surface has room for."""
    reach = max(int(radius), 2)
    (y, x), luma = centre, surface.luma
    brightness = float(luma[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].mean())
    # on a restless surface less would not be seen
    contrast = max(log_uniform(rng, settings.contrast_range), above_texture(surface, (y, x), reach, 1.8))
    bright = rng.random() < mode.bright
    if not bright and brightness - contrast < 6:
        bright = brightness < 50
    if bright and brightness + contrast > 250:
        bright = False
    return contrast if bright else -round(min(contrast, max(brightness - 3, 1)), 4)


def _tint(rng: np.random.Generator, surface: Surface, mode: Mode) -> tuple[float, float, float]:
    """A move in RGB towards the material's hue, no farther than the surface's own colours go."""
    direction = np.array(mode.tints[int(rng.integers(len(mode.tints)))])
    amount = min(uniform(rng, mode.tint), surface.chroma)
    r, g, b = (round(float(v), 3) for v in direction * amount)
    return r, g, b


def render_one(surface: Surface, params: CorrosionParams) -> Rendered:
    """The pixels a cluster changes."""
    patches = np.array(params.patches)
    reach = patches[:, 2] * (1.45 + params.ragged) + params.grow_steps + 3
    box = clip_box(
        (patches[:, 0] - reach).min(), (patches[:, 1] - reach).min(),
        (patches[:, 0] + reach).max() + 1, (patches[:, 1] + reach).max() + 1, surface.luma.shape[:2],
    )  # fmt: skip
    y0, x0, y1, x1 = box
    fg = surface.foreground[y0:y1, x0:x1]
    rng = np.random.default_rng(params.noise_seed)
    table = permutation(rng)
    mode = MODES[params.mode]
    if params.style == "paper":
        body = paper_mask(rng, table, params, box, fg, surface.scale)
        depth = np.minimum(cv2.distanceTransform(body, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / patches[0, 2], 1)
        coverage = body.astype(np.float32)
    else:
        depth = _depth(table, params, box)
        coverage = np.clip((depth + 0.5 * mode.softness) / mode.softness, 0, 1)
        body = (coverage >= 0.5).astype(np.uint8) & fg
        coverage = surface.faded_by_alpha(box, coverage)
    if not body.any():
        return NOTHING
    cell = max(params.cell * 0.6, 6 * surface.scale, 2)
    octaves = _octaves(cell, 3)
    texture = fractal_noise(body.shape, cell, table, octaves, 0.6, (y0 + 4096, x0 + 4096))
    texture /= np.float32(noise_std(octaves, 0.6))
    patch = _Patch(box, depth.astype(np.float32), coverage.astype(np.float32), texture)
    changed = _paint(rng, surface, params, patch)
    return finish(surface.pixels, box, changed, body, fg)


def _depth(table: NDArray[np.uint8], params: CorrosionParams, box: Box) -> Field:
    """(h, w) float32: height over the ragged edge of the nearest patch, in radii; 0 on the edge, up to about 1 inside."""
    y0, x0, y1, x1 = box
    depth = np.full((y1 - y0, x1 - x0), -2.0, np.float32)
    for y, x, radius in params.patches:
        reach = radius * 2.2 + 2
        top, left, bottom, right = clip_box(y - y0 - reach, x - x0 - reach, y - y0 + reach, x - x0 + reach, depth.shape)
        if bottom == 0:
            continue
        dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(y - y0)) / np.float32(radius)
        dx = (np.arange(left, right, dtype=np.float32) - np.float32(x - x0)) / np.float32(radius)
        window = depth[top:bottom, left:right]
        np.maximum(window, 1 - np.sqrt(dy[:, None] ** 2 + dx[None, :] ** 2), out=window)
    octaves = _octaves(params.cell, 4)
    edge = fractal_noise(depth.shape, params.cell, table, octaves, 0.55, (y0, x0)) / np.float32(noise_std(octaves, 0.55))
    return depth + np.float32(params.ragged) * edge


def _octaves(cell: float, most: int) -> int:
    """Octaves of noise that pixels can show: the finest lattice has cells of a pixel and a half."""
    return int(np.clip(1 + np.floor(np.log2(max(cell / 1.5, 1))), 1, most))


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A window of corrosion: (h, w) float32 each.

    Attributes:
        box: where it is.
        depth: height over the edge, in radii.
        coverage: 0..1, how much of each pixel is corroded.
        texture: noise of unit variance, its unevenness.
    """

    box: Box
    depth: Field
    coverage: Field
    texture: Field


def _paint(rng: np.random.Generator, surface: Surface, params: CorrosionParams, patch: _Patch) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: the window with the new material on it. Worked out on the covered pixels alone."""
    (y0, x0, y1, x1), mode = patch.box, MODES[params.mode]
    before = surface.pixels[y0:y1, x0:x1]
    at = np.flatnonzero(patch.coverage.ravel() > 0)
    pixels = before.reshape(-1, 3)[at].astype(np.float32)
    smooth = surface.smooth(patch.box, odd_size(7 * surface.scale)).reshape(-1, 3)[at].astype(np.float32)
    n, inside = patch.texture.ravel()[at], patch.depth.ravel()[at]
    weight = np.clip(1.2 * n + 0.3, 0.12, 1.6) if mode.pits else np.clip(1 + mode.variation * n, 0.15, 2)
    weight = weight * (1 + mode.ring * (np.exp(-((inside / 0.18) ** 2)) - 0.4))
    change = np.float32(params.contrast) * weight
    if mode.relief:
        change += np.float32(abs(params.contrast) * mode.relief) * _shade(patch.texture, params.light, at)
    luma = np.maximum(smooth @ np.array([0.299, 0.587, 0.114], np.float32), 4.0)
    new = smooth * np.clip(1 + change / luma, 0.05, 4)[:, None]
    new += (weight[:, None] * np.array(params.tint, np.float32)) * np.float32(params.opacity)
    if params.desaturation:
        new += params.desaturation * (new.mean(1, keepdims=True) - new)
    grain = rng.normal(0, max(surface.grain, 0.3), len(at)).astype(np.float32) * (1 - params.detail)
    new += params.detail * (pixels - smooth) + grain[:, None]
    alpha = (patch.coverage.ravel()[at] * params.opacity)[:, None]
    changed = before.copy().reshape(-1, 3)
    changed[at] = np.clip(np.rint(pixels + alpha * (new - pixels)), 0, 255).astype(np.uint8)
    return changed.reshape(before.shape)


def _shade(height: Field, light: float, at: NDArray[np.int64]) -> Field:
    """(n,) float32 of about unit size: brightness of a relief under light from one side, at the flat indices `at`."""
    dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order, scale=0.25).ravel()[at] for order in ((1, 0), (0, 1)))
    return np.asarray(np.clip(dx * np.float32(np.cos(light)) + dy * np.float32(np.sin(light)), -1.5, 1.5), np.float32)


def paper_mask(
    rng: np.random.Generator, table: NDArray[np.uint8], params: CorrosionParams, box: Box, fg: Mask, scale: float
) -> Mask:
    """(h, w) uint8 {0, 1}: Algorithm 4 inside the window that its polygons can grow to."""
    y0, x0, _, _ = box
    mask = np.zeros(fg.shape, np.uint8)
    for y, x, radius in params.patches:
        corners = int(rng.integers(8, 17))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = radius * rng.uniform(0.6, 1.3, corners)
        points = np.stack([x - x0 + radii * np.cos(angles), y - y0 + radii * np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    mask &= fg
    square = np.ones((3, 3), np.uint8)
    for _ in range(params.grow_steps):
        rim = np.flatnonzero((np.asarray(cv2.dilate(mask, square), np.uint8) & fg) > mask)
        mask.ravel()[rim[rng.random(len(rim)) < params.grow_chance]] = 1
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((odd_size(3 * scale),) * 2, np.uint8)), np.uint8) & fg
    if params.break_band:
        inner = cv2.erode(mask, np.ones((2 * params.break_band + 1,) * 2, np.uint8))
        noise = fractal_noise(fg.shape, params.cell, table, 1, origin=(y0, x0)) / np.float32(noise_std())
        mask[(mask > inner) & (noise > params.break_sigma)] = 0
    return drop_specks(mask, 30 * scale**2)


CORROSION = AnomalyType(
    name="corrosion",
    version=3,
    settings=CorrosionSettings,
    strengths=STRENGTHS,
    params=CorrosionParams,
    draw=draw,
    render_one=render_one,
)
