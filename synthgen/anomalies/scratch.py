"""Scratches: a hard tip dragged over a surface leaves thin, nearly straight grooves, often several side by side.

The groove shows bare material (brighter on most), or a shadow (darker); its wall towards the light is dark, the other one
bright. Where the tip presses less the groove fades or skips. Lines that were drawn at once run nearly parallel.

Numbers: looked at, chosen by eye on real images. What the type teaches a detector as a whole is measured in BENCHMARKS.md,
"Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, Range, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import Coat, coated, draw_light, draw_tint, lit, signed_contrast, soften
from synthgen.painting.draws import log_uniform, seed, uniform
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Points, box_around, filled, ribbon
from synthgen.painting.surface import Surface


class ScratchSettings(TypeSettings):
    """What may be drawn for scratches.

    Attributes:
        count_range: number of lines side by side; few are more likely than many.
        length_range: length over the diameter of the part; log-uniform.
        width_px_range: full width, in pixels of a 512-pixel image; log-uniform.
        contrast_range: change of brightness in gray levels; log-uniform. On a restless surface more.
        bright_share: share of the scratches that are brighter than the surface.
        skip_range: share of the length where the tip hardly presses.
    """

    count_range: CountRange = (1, 7)
    length_range: RelativeRange = (0.06, 0.7)
    width_px_range: PositiveRange = (1.6, 7.0)
    contrast_range: PositiveRange = (18, 110)
    bright_share: Share = 0.55
    skip_range: Range = (0.0, 0.5)


STRENGTHS = {
    "subtle": {"width_px_range": (1.5, 3.0), "contrast_range": (8, 28), "count_range": (1, 4)},
    "normal": {},
    "strong": {"width_px_range": (3.0, 10.0), "contrast_range": (40, 120), "length_range": (0.2, 0.9)},
}


@dataclass(frozen=True, slots=True)
class ScratchParams:
    """All that is random about a group of scratches; lengths in pixels of the sample, angles in radians.

    `lines` are (y, x, angle, length, width, bend): the middle, the direction, and how far the middle of the line lies off
    the chord over its length. `contrast` is signed: negative is darker. `lip` is the brightness of the walls in gray levels.
    """

    style: str
    lines: tuple[tuple[float, float, float, float, float, float], ...]
    contrast: float
    tint: tuple[float, float, float]
    keep: float
    skip: float
    taper: float
    lip: float
    light: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: ScratchSettings) -> ScratchParams:
    """Parameters of one group of scratches on this surface."""
    y, x = surface.structured_place(rng, 0.4)
    scale = surface.scale
    length = max(log_uniform(rng, settings.length_range) * surface.diameter(y, x), 14 * scale)
    width = max(log_uniform(rng, settings.width_px_range) * scale, 1.3)
    direction = rng.uniform(0, np.pi)
    bend = rng.normal(0, 0.06)
    low, high = settings.count_range
    count = min(low + int(rng.geometric(0.45)) - 1, high)
    apart = rng.uniform(2.0, 7.0) * max(width, 2 * scale)
    lines = []
    for k in range(count):
        off = 0.0 if k == 0 else rng.normal(0, apart * np.sqrt(k))
        along = 0.0 if k == 0 else rng.normal(0, 0.2 * length)
        turn = direction + (0.0 if k == 0 else rng.normal(0, 0.05))
        lines.append((
            y + along * np.sin(direction) + off * np.cos(direction),
            x + along * np.cos(direction) - off * np.sin(direction),
            turn,
            length * (1.0 if k == 0 else rng.uniform(0.3, 1.0)),
            width * (1.0 if k == 0 else rng.uniform(0.5, 1.0)),
            bend + (0.0 if k == 0 else rng.normal(0, 0.01)),
        ))  # fmt: skip
    contrast = signed_contrast(
        rng, surface, (y, x), settings.contrast_range, settings.bright_share, max(12 * scale, 3), over_texture=2.2
    )
    return ScratchParams(
        style=settings.style,
        lines=tuple(tuple(round(float(value), 3) for value in line) for line in lines),  # type: ignore[misc]
        contrast=contrast,
        tint=draw_tint(rng, surface, (y, x), 3 * width),
        keep=uniform(rng, (0.2, 0.9)),
        skip=uniform(rng, settings.skip_range),
        taper=uniform(rng, (0.05, 0.6)),
        lip=round(abs(contrast) * uniform(rng, (0.0, 0.5)), 3),
        light=draw_light(rng, surface),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: ScratchParams) -> Rendered:
    """The pixels that the scratches change."""
    rng = np.random.default_rng(params.noise_seed)
    outlines = [outline for line in params.lines for outline in _strokes(rng, line, params)]
    if not outlines:
        return NOTHING
    box = box_around(np.concatenate(outlines), 5, surface.foreground.shape)
    if not box[2]:
        return NOTHING
    cover = soften(surface, filled(outlines, box))
    light = None
    if params.lip:
        wide = np.asarray(cv2.GaussianBlur(cover, (0, 0), 1.2), np.float32)
        light = np.float32(params.lip) * np.clip(3 * lit(-wide, params.light), -1, 1)
    coat = Coat(cover, params.contrast, params.tint, params.keep, 9 * surface.scale, light)
    return coated(surface, box, coat, params.noise_seed)


def _strokes(
    rng: np.random.Generator, line: tuple[float, float, float, float, float, float], params: ScratchParams
) -> list[Points]:
    """Outlines of the pieces of one line: it is as wide as the tip presses, and ends where it hardly does."""
    y, x, turn, length, width, bend = line
    count = max(int(length / 2.5), 6)
    t = np.linspace(-1, 1, count)
    knots = np.linspace(-1, 1, max(count // 16, 3) + 1)
    off = bend * length * (1 - t * t) + np.interp(t, knots, rng.normal(0, 0.012, len(knots))) * length
    middle = np.stack([
        y + 0.5 * length * t * np.sin(turn) + off * np.cos(turn),
        x + 0.5 * length * t * np.cos(turn) - off * np.sin(turn),
    ], 1)  # fmt: skip
    pressure = np.interp(t, knots, rng.random(len(knots)))
    press = np.clip((pressure - params.skip * 0.8) * 4 + 0.3, 0, 1) * np.minimum(1, (1 - np.abs(t)) / max(params.taper, 0.02))
    half = 0.5 * width * (0.35 + 0.65 * press) * np.exp(rng.normal(0, 0.08, count))
    half[[0, -1]] = 0.1
    on = press > 0.02
    starts = np.flatnonzero(on & ~np.r_[False, on[:-1]])
    ends = np.flatnonzero(on & ~np.r_[on[1:], False])
    pieces = [slice(max(a - 1, 0), b + 2) for a, b in zip(starts, ends, strict=True)]
    return [ribbon(middle[piece], half[piece]) for piece in pieces if len(middle[piece]) > 2]


SCRATCH = AnomalyType(
    name="scratch",
    version=3,
    settings=ScratchSettings,
    strengths=STRENGTHS,
    params=ScratchParams,
    draw=draw,
    render_one=render_one,
    smallest_contrast=5.0,
)
