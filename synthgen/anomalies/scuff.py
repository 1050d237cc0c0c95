"""Scuffs: places whose finish differs, because they were rubbed, ground unevenly, worn, or left out by the last step. Where
much of the part differs, it is a zone.

What changes is how the surface scatters light: its fine texture is stronger or weaker than around it, it is a little
brighter or darker, and fine lines run in the direction of the rubbing. `patch` has straight sides (a tool, a mask, a second
pass), `band` is a strip; along the rubbing each of their strokes ends at a place of its own. `rub` fades to nothing on its rim.

Numbers: measured is that lines and grain change apart (on ground metal), and that scuffs are local, since large ones drown the
small anomalies of a mixture (BENCHMARKS.md, "Worth"). The others are looked at: chosen by eye on real images; that dark ones
stay far from black, and the strokes at their ends, are from looking at pictures that were wrong.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from synthgen.anomalies.contract import AnomalyType, PositiveRange, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import Coat, coated, draw_tint, signed_contrast, soften, under_its_light
from synthgen.painting.blending import clip_box
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import (
    Field,
    Points,
    blotch_noise,
    box_around,
    coverage,
    ellipse_distance,
    filled,
    jagged_outline,
    streaks,
    turned,
)
from synthgen.painting.surface import Surface
from synthgen.samples import Box

_VARIANTS = {"patch": 0.4, "band": 0.25, "rub": 0.35}
_DARKEST = 0.6  # of the surface's brightness, that a scuff may take away: it is the same material
_LARGEST_RADIUS = 0.28  # of the square root of the image's area: about a quarter of it


class ScuffSettings(TypeSettings):
    """What may be drawn for a scuff.

    Attributes:
        size_range: radius over the diameter of the part; log-uniform.
        elongation_range: length over width; log-uniform.
        contrast_range: change of the mean brightness in gray levels; log-uniform.
        bright_share: share of the scuffs that are brighter than the surface.
        streaks_range: brightness of the fine lines over that change.
        lay_range: factor by which rubbing along the surface's own lines deepens them, and rubbing across takes them away.
        grain_range: strength of the rest of the surface's texture, relative to around it; log-uniform. Half of the scuffs on a
            surface without a lay have one over this.
    """

    size_range: RelativeRange = (0.02, 0.2)
    elongation_range: RelativeRange = (1.0, 3.5)
    contrast_range: PositiveRange = (18, 80)
    bright_share: Share = 0.55
    streaks_range: RelativeRange = (0.1, 0.6)
    lay_range: PositiveRange = (1.0, 2.5)
    grain_range: PositiveRange = (0.35, 1.4)


STRENGTHS = {
    "subtle": {"size_range": (0.015, 0.08), "contrast_range": (5, 18)},
    "normal": {},
    "strong": {"size_range": (0.07, 0.3), "contrast_range": (25, 90)},
}


@dataclass(frozen=True, slots=True)
class ScuffParams:
    """All that is random about one scuff; lengths in pixels of the sample, angles in radians.

    `radii` are along and across the direction `turn`; `rubbing` is the direction of the lines, `line` their width, and
    `streaks` their brightness in gray levels. `contrast` is signed. `keep` is the strength of the surface's own grain
    relative to around it, `lay` that of its lines. `rim` is the width of a rub's edge over the smaller radius, `fray` how far
    the strokes of the others end from one another.
    """

    style: str
    variant: str
    centre: tuple[int, int]
    radii: tuple[float, float]
    turn: float
    rubbing: float
    line: float
    contrast: float
    streaks: float
    tint: tuple[float, float, float]
    keep: float
    lay: float
    rim: float
    fray: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: ScuffSettings) -> ScuffParams:
    """Parameters of one scuff on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.3)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.size_range) * surface.diameter(y, x), 7 * scale)
    radius = min(radius, _LARGEST_RADIUS * float(np.sqrt(surface.foreground.size)))
    elongation = log_uniform(rng, settings.elongation_range) * (2.0 if variant == "band" else 1.0)
    # rubbed mostly along the lines that the surface has
    follows = rng.random() < 0.75
    rubbing = surface.lay_around(y, x) + rng.normal(0, 0.08) if follows else rng.uniform(0, np.pi)
    stronger, grain = log_uniform(rng, settings.lay_range), log_uniform(rng, settings.grain_range)
    roughened = rng.random() < 0.5 and surface.lay is None
    contrast = signed_contrast(
        rng,
        surface,
        (y, x),
        settings.contrast_range,
        settings.bright_share,
        min(radius, 40 * scale),
        over_texture=1.6,
        darkest=_DARKEST,
    )
    tint = draw_tint(rng, surface, (y, x), radius)
    r, g, b = (round(0.3 * value, 3) for value in tint)  # wear hardly dyes
    return ScuffParams(
        style=settings.style,
        variant=variant,
        centre=(y, x),
        radii=(round(radius * np.sqrt(elongation), 3), round(max(radius / np.sqrt(elongation), 4 * scale), 3)),
        turn=round(float(rubbing if rng.random() < 0.5 else rng.uniform(0, np.pi)), 4),
        rubbing=round(float(rubbing), 4),
        line=log_uniform(rng, (max(1.2 * scale, 1.0), max(6 * scale, 2.0))),
        contrast=contrast,
        streaks=round(abs(contrast) * uniform(rng, settings.streaks_range), 3),
        tint=(r, g, b),
        keep=round(1 / grain if roughened else grain, 4),
        lay=round(stronger if follows else 1 / stronger, 4),
        rim=uniform(rng, (0.4, 1.0)),
        fray=round(log_uniform(rng, (0.03, 0.5)) * radius, 3),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: ScuffParams) -> Rendered:
    """The pixels that a scuff changes."""
    rng = np.random.default_rng(params.noise_seed)
    size, (cy, cx) = surface.foreground.shape, params.centre
    along, across = params.radii
    if params.variant == "rub":
        reach = 1.5 * along + 3
        box = clip_box(cy - reach, cx - reach, cy + reach, cx + reach, size)
        if not box[2]:
            return NOTHING
        depth = 1 - ellipse_distance(box, params.centre, params.radii, params.turn)
        depth += np.float32(0.15) * blotch_noise(rng, depth.shape, max(0.7 * across, 3))
        depth += np.float32(0.2) * streaks(rng, box, params.rubbing, params.line)
        cover = coverage(depth, params.rim)
    else:
        outline = _outline(rng, params)
        box = box_around(outline, 4 + 2.5 * params.fray, size)
        if not box[2]:
            return NOTHING
        cover = soften(surface, _frayed(rng, params, filled([outline], box, fine=False), box))
    lines = streaks(rng, box, params.rubbing, params.line)
    change = np.float32(params.contrast) + np.float32(params.streaks) * np.clip(lines, -2, 2)
    change = under_its_light(surface, box, params.centre, change, _DARKEST)
    coat = Coat(cover, change, params.tint, params.keep, 11 * surface.scale, lines=params.lay)
    return coated(surface, box, coat, params.noise_seed)


def _frayed(rng: np.random.Generator, params: ScuffParams, cover: Field, box: Box) -> Field:
    """A coverage whose fine strokes begin and end each at a place of its own along the rubbing."""
    off = np.float32(params.fray) * np.clip(streaks(rng, box, params.rubbing, max(0.4 * params.line, 1)), -2.5, 2.5)
    rows, columns = (np.arange(side, dtype=np.float32) for side in cover.shape)
    x = columns[None, :] + off * np.float32(np.cos(params.rubbing))
    y = rows[:, None] + off * np.float32(np.sin(params.rubbing))
    return np.asarray(cv2.remap(cover, x, y, cv2.INTER_LINEAR), np.float32)


def _outline(rng: np.random.Generator, params: ScuffParams) -> Points:
    along, across = params.radii
    if params.variant == "patch":
        return jagged_outline(rng, params.centre, float(np.sqrt(along * across)), max(along / across, 1.0), params.turn)
    u = np.linspace(-1, 1, 24)
    waves = across * 0.1 * rng.normal(0, 1, (2, 7))
    sides = [np.interp(u, np.linspace(-1, 1, 7), wave) for wave in waves]
    points = np.concatenate([
        np.stack([across + sides[0], along * u], 1), np.stack([-across + sides[1], along * u], 1)[::-1],
    ])  # fmt: skip
    return np.asarray(turned(points, params.turn) + np.asarray(params.centre), np.float64)


SCUFF = AnomalyType(
    name="scuff",
    version=5,
    settings=ScuffSettings,
    strengths=STRENGTHS,
    params=ScuffParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.35,
    smallest_contrast=5.0,
)
