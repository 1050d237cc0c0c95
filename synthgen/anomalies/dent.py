"""Dents: the surface keeps its material and its colour but leans elsewhere, and shows it by its shading.

A height field h under light from the side l: a matt surface changes its brightness by about -grad h . l (the linear term of
Lambert's law), and a glossy one more steeply, for it mirrors the lamp.

- `dent`, `bump`: a hollow or a swelling, with a flat floor or a round one.
- `crease`: a fold or a kink along a line.
- `poke`: a small deep hole that has drawn in the surface around it.
- `warp`: waves, as of a sheet that does not lie flat.

Numbers: looked at, chosen by eye on real images; the shading alone is physics (see above). What the type teaches a detector as
a whole is measured in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np

from synthgen.anomalies.contract import AnomalyType, PositiveRange, RelativeRange, TypeSettings
from synthgen.painting.appearance import above_texture, draw_light, lit
from synthgen.painting.blending import clip_box, visible
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field, blotch_noise, ellipse_distance
from synthgen.painting.surface import Surface

_VARIANTS = {"dent": 0.35, "bump": 0.15, "crease": 0.2, "poke": 0.15, "warp": 0.15}


class DentSettings(TypeSettings):
    """What may be drawn for a dent.

    Attributes:
        size_range: radius over the diameter of the part; log-uniform.
        elongation_range: length over width; log-uniform.
        shading_range: brightness of the steepest slope in gray levels; log-uniform. On a restless surface more.
    """

    size_range: RelativeRange = (0.015, 0.12)
    elongation_range: RelativeRange = (1.0, 2.5)
    shading_range: PositiveRange = (25, 110)


STRENGTHS = {
    "subtle": {"size_range": (0.012, 0.06), "shading_range": (9, 30)},
    "normal": {},
    "strong": {"size_range": (0.05, 0.25), "shading_range": (40, 130)},
}


@dataclass(frozen=True, slots=True)
class DentParams:
    """All that is random about one dent; lengths in pixels of the sample, angles in radians.

    `radii` are along and across the direction `turn`. `shading` is the brightness of the steepest slope in gray levels,
    signed: negative for a hollow. `gloss` is how much brighter the slopes that mirror the lamp are; `flat` the share of the
    radius that is a level floor; `ragged` how uneven it is; `shift` how far the surface's pattern moves with it.
    """

    style: str
    variant: str
    centre: tuple[int, int]
    radii: tuple[float, float]
    turn: float
    shading: float
    gloss: float
    flat: float
    ragged: float
    shift: float
    light: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: DentSettings) -> DentParams:
    """Parameters of one dent on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.4)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.size_range) * surface.diameter(y, x), 7 * scale)
    if variant == "poke":
        radius = min(radius, 40 * scale)
    elongation = log_uniform(rng, settings.elongation_range) * (3.0 if variant == "crease" else 1.0)
    shading = max(log_uniform(rng, settings.shading_range), above_texture(surface, (y, x), radius, 2.2))
    hollow = variant in ("dent", "poke") or (variant == "crease" and rng.random() < 0.5)
    return DentParams(
        style=settings.style,
        variant=variant,
        centre=(y, x),
        radii=(round(radius * np.sqrt(elongation), 3), round(max(radius / np.sqrt(elongation), 3.5 * scale), 3)),
        turn=uniform(rng, (0, np.pi)),
        shading=round(-shading if hollow else shading, 3),
        gloss=round(uniform(rng, (0.0, 1.5)) * min(1.0, 0.2 + 8 * surface.reflectance), 4),
        flat=uniform(rng, (0.0, 0.5)),
        ragged=uniform(rng, (0.0, 0.3)),
        shift=uniform(rng, (0.0, 0.2)),
        light=draw_light(rng, surface),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: DentParams) -> Rendered:
    """The pixels that a dent changes."""
    cy, cx = params.centre
    reach = 1.3 * max(params.radii) + 3
    box = clip_box(cy - reach, cx - reach, cy + reach + 1, cx + reach + 1, surface.foreground.shape)
    y0, x0, y1, x1 = box
    if not y1:
        return NOTHING
    height = _height(np.random.default_rng(params.noise_seed), params, box)
    slope = lit(height, params.light)
    slope /= np.float32(max(float(np.abs(slope).max()), 1e-6))
    bright = np.float32(params.shading) * slope
    bright += np.float32(params.gloss * abs(params.shading)) * np.clip(np.sign(params.shading) * slope - 0.55, 0, None) / 0.45
    before = surface.pixels[y0:y1, x0:x1]
    after = before
    if params.shift:
        after = _moved(surface, params, height, box)
    # light falls on the object alone, and as much less as the surface there is dark
    luma = np.asarray(cv2.blur(surface.luma[y0:y1, x0:x1], (5, 5)), np.float32)
    bright = surface.faded_by_alpha(box, bright * np.clip(0.4 + luma / 130, 0, 1.4))
    after = np.clip(np.rint(after + bright[..., None]), 0, 255).astype(np.uint8)
    after = np.where(surface.foreground[y0:y1, x0:x1, None] > 0, after, before)
    return visible(surface, box, after, surface.foreground[y0:y1, x0:x1])


def _height(rng: np.random.Generator, params: DentParams, box: tuple[int, int, int, int]) -> Field:
    """(h, w) float32, the height of the relief, up to about the smaller radius; 0 outside."""
    away = ellipse_distance(box, params.centre, params.radii, params.turn)
    across = params.radii[1]
    noise = blotch_noise(rng, away.shape, max(0.9 * across, 4), 2)
    away = away * (1 + np.float32(params.ragged) * 0.6 * noise)
    inside = np.clip((1 - away) / np.float32(1 - params.flat), 0, 1)
    round_ = inside * inside * (3 - 2 * inside)
    if params.variant == "crease":
        y0, x0, y1, x1 = box
        rows = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(params.centre[0])
        columns = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(params.centre[1])
        off = rows * np.float32(np.cos(params.turn)) - columns * np.float32(np.sin(params.turn))
        off += np.float32(0.12 * across) * noise
        sharp = np.exp(-np.abs(off) / np.float32(max(0.3 * across, 1.0)))
        return np.asarray(sharp * round_ * np.float32(across), np.float32)
    if params.variant == "poke":
        deep = np.exp(-np.square(away / np.float32(0.16)))
        return np.asarray((deep + 0.35 * np.clip(1 - away, 0, 1) ** 2) * np.float32(across), np.float32)
    if params.variant == "warp":
        return np.asarray(0.5 * noise * round_ * np.float32(across), np.float32)
    return np.asarray(round_ * np.float32(across), np.float32)


def _moved(surface: Surface, params: DentParams, height: Field, box: tuple[int, int, int, int]) -> np.ndarray:
    """The window with the surface's pattern drawn towards a hollow, or pushed away from the top of a bump."""
    y0, x0, y1, x1 = box
    dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    amount = np.float32(params.shift * params.radii[1] * (1 if params.shading > 0 else -1))
    columns = np.arange(x0, x1, dtype=np.float32)[None, :] + amount * dx
    rows = np.arange(y0, y1, dtype=np.float32)[:, None] + amount * dy
    return np.asarray(cv2.remap(surface.pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


DENT = AnomalyType(
    name="dent",
    version=2,
    settings=DentSettings,
    strengths=STRENGTHS,
    params=DentParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.25,
    smallest_contrast=6.0,
)
