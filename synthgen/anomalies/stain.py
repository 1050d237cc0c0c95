"""Stains: something on or in the surface that changes its colour and hardly its texture.

- `spill`: a liquid that has dried; pigment is carried to its rim (the coffee-ring effect), which is darker than its middle.
- `smear`: a swipe of marker, grease or paint; streaks along it, thinner towards its end.
- `bloom`: oxidation, moisture or bleeding from below; no edge at all.
- `print`: opaque ink or paint with a sharp edge.

Numbers: looked at, chosen by eye on real images. What the type teaches a detector as a whole is measured in BENCHMARKS.md,
"Worth".
"""

from dataclasses import dataclass

import numpy as np

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import Coat, coated, draw_tint, signed_contrast
from synthgen.painting.blending import clip_box
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field, blotch_noise, coverage, ellipse_distance, streaks
from synthgen.painting.surface import Surface

_VARIANTS = {"spill": 0.35, "smear": 0.25, "bloom": 0.2, "print": 0.2}


class StainSettings(TypeSettings):
    """What may be drawn for a stain.

    Attributes:
        count_range: number of drops that run together.
        size_range: radius over the diameter of the part; log-uniform.
        elongation_range: length over width; log-uniform.
        contrast_range: change of brightness in gray levels; log-uniform. On a restless surface more.
        bright_share: share of the stains that are brighter than the surface.
    """

    count_range: CountRange = (1, 4)
    size_range: RelativeRange = (0.015, 0.25)
    elongation_range: RelativeRange = (1.0, 3.0)
    contrast_range: PositiveRange = (16, 90)
    bright_share: Share = 0.4


STRENGTHS = {
    "subtle": {"size_range": (0.012, 0.08), "contrast_range": (5, 20)},
    "normal": {},
    "strong": {"size_range": (0.06, 0.35), "contrast_range": (30, 100)},
}


@dataclass(frozen=True, slots=True)
class StainParams:
    """All that is random about one stain; lengths in pixels of the sample, angles in radians.

    `drops` are (y, x, radius along, radius across); `turn` is the direction of their length. `contrast` is signed. `tint`
    is a move in RGB in gray levels. `ragged` is the perturbation of the edge over the radius, `rim` the edge's width over it.
    """

    style: str
    variant: str
    drops: tuple[tuple[float, float, float, float], ...]
    turn: float
    contrast: float
    tint: tuple[float, float, float]
    opacity: float
    keep: float
    ragged: float
    rim: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: StainSettings) -> StainParams:
    """Parameters of one stain on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.3)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.size_range) * surface.diameter(y, x), 4 * scale)
    elongation = log_uniform(rng, settings.elongation_range) * (2.5 if variant == "smear" else 1.0)
    turn = rng.uniform(0, np.pi)
    drops = []
    for k in range(int(rng.integers(settings.count_range[0], settings.count_range[1] + 1))):
        size = radius * (1.0 if k == 0 else rng.uniform(0.2, 0.8))
        away, around = (0.0 if k == 0 else radius * rng.uniform(0.5, 1.6)), rng.uniform(0, 2 * np.pi)
        drops.append((y + away * np.sin(around), x + away * np.cos(around),
                      size * np.sqrt(elongation), max(size / np.sqrt(elongation), 1.5)))  # fmt: skip
    contrast = signed_contrast(
        rng, surface, (y, x), settings.contrast_range, settings.bright_share, min(radius, 40 * scale), over_texture=1.8
    )
    return StainParams(
        style=settings.style,
        variant=variant,
        drops=tuple(tuple(round(float(value), 3) for value in drop) for drop in drops),  # type: ignore[misc]
        turn=round(float(turn), 4),
        contrast=contrast,
        tint=draw_tint(rng, surface, (y, x), radius, 0.25),
        opacity=uniform(rng, (0.75, 1.0)),
        keep=uniform(rng, (0.0, 0.4)) if variant == "print" else uniform(rng, (0.6, 1.1)),
        ragged=uniform(rng, (0.03, 0.2)) if variant == "print" else uniform(rng, (0.1, 0.35)),
        rim=uniform(rng, (0.5, 1.1)) if variant == "bloom" else uniform(rng, (0.04, 0.25)),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: StainParams) -> Rendered:
    """The pixels that a stain changes."""
    rng = np.random.default_rng(params.noise_seed)
    reach = max(max(along, across) for _, _, along, across in params.drops) * (1.3 + 2 * params.ragged) + 3
    ys, xs = zip(*((y, x) for y, x, _, _ in params.drops), strict=True)
    box = clip_box(min(ys) - reach, min(xs) - reach, max(ys) + reach, max(xs) + reach, surface.foreground.shape)
    y0, x0, y1, x1 = box
    if not y1:
        return NOTHING
    depth = np.full((y1 - y0, x1 - x0), -4.0, np.float32)
    for y, x, along, across in params.drops:
        np.maximum(depth, 1 - ellipse_distance(box, (y, x), (along, across), params.turn), out=depth)
    _, _, along, across = params.drops[0]
    noise = blotch_noise(rng, depth.shape, max(0.8 * float(np.sqrt(along * across)), 3), 4)
    depth += np.float32(params.ragged) * noise
    edge = max(params.rim, 1.2 * surface.softness / min(across, along))
    cover = coverage(depth, edge) * np.float32(params.opacity)
    change = np.float32(params.contrast) * _thickness(rng, params, box, depth, noise)
    coat = Coat(cover, change, params.tint, params.keep, 9 * surface.scale)
    return coated(surface, box, coat, params.noise_seed, body=cover >= 0.5 * params.opacity)


def _thickness(
    rng: np.random.Generator, params: StainParams, box: tuple[int, int, int, int], depth: Field, noise: Field
) -> Field:
    """(h, w) float32 of about 1: how much pigment lies where."""
    if params.variant == "spill":
        return np.asarray(0.75 + 0.1 * noise + 0.6 * np.exp(-np.square((depth - 0.08) / 0.1)), np.float32)
    if params.variant == "smear":
        lines = streaks(rng, box, params.turn, max(0.12 * params.drops[0][3], 1.2))
        return np.asarray(np.clip(1 + 0.4 * lines, 0.1, 2), np.float32)
    return np.asarray(np.clip(1 + 0.15 * noise, 0.4, 1.6), np.float32)


STAIN = AnomalyType(
    name="stain",
    version=3,
    settings=StainSettings,
    strengths=STRENGTHS,
    params=StainParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.25,
    smallest_contrast=5.0,
)
