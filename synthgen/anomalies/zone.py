"""Zones: a large part of the surface left as an earlier step made it, or treated twice, up to a clear boundary.

Not ground, not coated, coated again, wetted, burnt: what differs is the finish as a whole (brightness a little, fine texture
a lot), over an area that often runs to the part's rim. `side` lies beyond a line across the part, `strip` between two of
them, `oval` is where a tool did not touch a surface that is not flat, or where liquid stood.

A tool that passes once more, or the coarser one of an earlier step, deepens the lines along the surface's lay and takes the
grain between them away; what covers, etches or wears a surface does the opposite. A finish reflects more or less of the light
that there is: where the part is dark, it differs by fewer gray levels.

Numbers: measured on uneven places of ground metal are the factors of lines and grain (lines 1.2 to 1.6 times, the rest of the
texture 0.65 to 0.8 times as strong) and the share of zones that are worked so; a smaller range of contrasts made no difference
(BENCHMARKS.md, "Worth"). The areas are those of such places. The others are looked at: chosen by eye on real images.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from synthgen.anomalies.contract import AnomalyType, PositiveRange, Range, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import Coat, coated, draw_tint, signed_contrast, soften, under_its_light
from synthgen.painting.blending import clip_box
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field, blotch_noise, coverage, ellipse_distance, streaks
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Mask

_VARIANTS = {"side": 0.45, "strip": 0.25, "oval": 0.3}
_LINED = 0.3  # of the zones show lines of their own
_PLAIN = 10.0  # gray levels by which a surface without any texture differs at least
_FINE = 21.0  # of 512 pixels: what varies over less is texture
_STRONGEST_LINES = 30.0  # gray levels: what looks more restless than that is no texture
_DARKEST = 0.5  # of the surface's brightness, that a zone may take away: it is the same material
_STEP, _FEWEST = 8, 100  # pixels between the places that stand for the part when a boundary is put; and how many are enough


def _at_most_all(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 0.9:
        raise ValueError("expected shares of the part, at most 0.9")
    return value


class ZoneSettings(TypeSettings):
    """What may be drawn for a zone.

    Attributes:
        area_range: share of the part that it covers; log-uniform.
        contrast_range: change of the mean brightness in gray levels; log-uniform.
        bright_share: share of the zones that are brighter than the surface.
        worked_share: share of the zones with stronger lines and weaker grain than the surface; the others have the reverse. On
            a surface without a lay they are always one half.
        lay_range: factor by which the surface's lines become stronger or weaker; log-uniform.
        grain_range: factor by which the rest of its texture becomes weaker or stronger; log-uniform.
        lines_range: brightness of lines of its own, where it has any, over the strength of the surface's texture.
        bend_range: how far a boundary bulges, over the size of the part.
    """

    area_range: Annotated[RelativeRange, AfterValidator(_at_most_all)] = (0.05, 0.5)
    contrast_range: PositiveRange = (2, 60)
    bright_share: Share = 0.5
    worked_share: Share = 0.9
    lay_range: PositiveRange = (1.1, 2.6)
    grain_range: PositiveRange = (1.05, 2.2)
    lines_range: Range = (0.3, 2.5)
    bend_range: Range = (0.0, 0.2)


STRENGTHS = {
    "subtle": {"area_range": (0.02, 0.15), "contrast_range": (5, 18)},
    "normal": {},
    "strong": {"area_range": (0.1, 0.5), "contrast_range": (25, 90)},
}


@dataclass(frozen=True, slots=True)
class ZoneParams:
    """All that is random about one zone; lengths in pixels of the sample, angles in radians.

    `near` and `far` are the distances from the picture's middle, in the direction `turn`, between which it lies; `bend` is
    how far its boundaries bulge at a distance of half the picture. An oval has a `centre` and `radii` instead. `contrast` is
    signed; `slope` is by how much of it the far side differs from the near one; `streaks` is the brightness of fine lines
    along `rubbing`. `keep` is the strength of the surface's grain, and `lay` that of its lines, relative to around it. `rim` is
    the width of the edge in pixels, `ragged` how far it wavers.
    """

    style: str
    variant: str
    turn: float
    near: float
    far: float
    bend: float
    centre: tuple[int, int]
    radii: tuple[float, float]
    contrast: float
    slope: float
    streaks: float
    rubbing: float
    tint: tuple[float, float, float]
    keep: float
    lay: float
    rim: float
    ragged: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: ZoneSettings) -> ZoneParams:
    """Parameters of one zone on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.2)
    scale, share = surface.scale, log_uniform(rng, settings.area_range)
    inside = _places(surface.foreground) - np.array(surface.foreground.shape) / 2
    # boundaries follow the passes of a tool, which the surface's own lines show
    lay = surface.lay_around(y, x)
    along = lay + (np.pi / 2 if rng.random() < 0.5 else 0)
    turn = round(float(along + rng.normal(0, 0.06) if rng.random() < 0.7 else rng.uniform(0, np.pi)), 4)
    if rng.random() < 0.5:
        turn = round(turn + float(np.pi), 4)
    first = 1 - share if variant == "side" else rng.uniform(0, 1 - share)
    near, far = _quantiles(inside, turn, first, 1.0 if variant == "side" else first + share)
    radius = max(float(np.sqrt(share * surface.foreground.sum() / np.pi)), 1.0)
    elongation = log_uniform(rng, (1.0, 3.0))
    # a smooth surface has little texture that could differ, so that its brightness must
    low, high = settings.contrast_range
    low = min(max(low, _PLAIN - surface.texture_around(y, x, 40 * scale)), high)
    contrast = signed_contrast(
        rng, surface, (y, x), (low, high), settings.bright_share, 40 * scale, over_texture=0.0, darkest=_DARKEST
    )
    r, g, b = (round(0.4 * value, 3) for value in draw_tint(rng, surface, (y, x), 40 * scale))
    size = float(np.sqrt(surface.foreground.sum()))
    stronger, weaker = log_uniform(rng, settings.lay_range), log_uniform(rng, settings.grain_range)
    worked = rng.random() < (0.5 if surface.lay is None else settings.worked_share)
    return ZoneParams(
        style=settings.style,
        variant=variant,
        turn=turn,
        near=near,
        far=far,
        bend=round(float(size * uniform(rng, settings.bend_range) * rng.choice((-1, 1)) * (rng.random() < 0.6)), 3),
        centre=(y, x),
        radii=(round(radius * np.sqrt(elongation), 3), round(radius / np.sqrt(elongation), 3)),
        contrast=contrast,
        slope=uniform(rng, (-0.6, 0.6)) if rng.random() < 0.5 else 0.0,
        streaks=_lines(rng, surface, (y, x), contrast, settings),
        rubbing=round(float(lay), 4),
        tint=(r, g, b),
        keep=round(1 / weaker if worked else weaker, 4),
        lay=round(stronger if worked else 1 / stronger, 4),
        rim=log_uniform(rng, (1.0, 14.0)) * scale,
        ragged=log_uniform(rng, (0.3, 4.0)) * scale,
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: ZoneParams) -> Rendered:
    """The pixels that a zone changes."""
    rng = np.random.default_rng(params.noise_seed)
    margin = params.rim + 3 * params.ragged
    box = _reached(surface, params, margin)
    y, x, bottom, _ = box
    if not bottom:
        return NOTHING
    depth = _depth(params, box, surface.foreground.shape)
    left, top, width, height = cv2.boundingRect((depth > -margin).astype(np.uint8))
    if not width:
        return NOTHING
    depth = depth[top : top + height, left : left + width]
    box = (y + top, x + left, y + top + height, x + left + width)
    depth = depth + np.float32(params.ragged) * blotch_noise(rng, depth.shape, max(24 * surface.scale, 3), 2)
    cover = soften(surface, coverage(depth, params.rim))
    change: Field | np.float32 = np.float32(params.contrast)
    if params.slope:
        c, s = np.float32(np.cos(params.turn)), np.float32(np.sin(params.turn))
        rows, columns = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in cover.shape)
        change = change * (1 + np.float32(params.slope) * (columns[None, :] * c + rows[:, None] * s))
    if params.streaks:
        lines = streaks(rng, box, params.rubbing, max(2 * surface.scale, 1))
        change = change + np.float32(params.streaks) * np.clip(lines, -2, 2)
    change = under_its_light(surface, box, params.centre, change, _DARKEST)
    coat = Coat(cover, change, params.tint, params.keep, _FINE * surface.scale, lines=params.lay)
    return coated(surface, box, coat, params.noise_seed)


def _lines(
    rng: np.random.Generator, surface: Surface, place: tuple[int, int], contrast: float, settings: ZoneSettings
) -> float:
    """Gray levels of the fine lines: a tool leaves them as strong as those beside it, whatever it does to the brightness."""
    beside = min(surface.texture_around(*place, 40 * surface.scale), _STRONGEST_LINES) * uniform(rng, settings.lines_range)
    return round(max(beside, 0.5 * abs(contrast) * rng.random()) * (rng.random() < _LINED), 3)


def _places(foreground: Mask) -> NDArray[np.intp]:
    """(n, 2) rows and columns that stand for the part."""
    few: NDArray[np.intp] = np.argwhere(foreground[::_STEP, ::_STEP]) * _STEP
    if len(few) < _FEWEST:
        few = np.argwhere(foreground)
    return few if len(few) else np.zeros((1, 2), np.intp)  # nothing is the part: nothing will change


def _reached(surface: Surface, params: ZoneParams, margin: float) -> Box:
    """The object's window, or of an oval the part of it that is less than `margin` pixels outside."""
    x, y, width, height = cv2.boundingRect(surface.foreground)
    if params.variant != "oval":
        return y, x, y + height, x + width
    reach = max(params.radii) * (1 + margin / min(params.radii)) + 2
    (cy, cx), size = params.centre, surface.foreground.shape
    top, left, bottom, right = clip_box(cy - reach, cx - reach, cy + reach, cx + reach, size)
    return clip_box(max(top, y), max(left, x), min(bottom, y + height), min(right, x + width), size)


def _depth(params: ZoneParams, box: Box, size: tuple[int, ...]) -> Field:
    """(h, w) float32: pixels inside the boundary; negative outside."""
    if params.variant == "oval":
        return (1 - ellipse_distance(box, params.centre, params.radii, params.turn)) * np.float32(min(params.radii))
    y0, x0, y1, x1 = box
    rows = (np.arange(y0, y1, dtype=np.float32) - np.float32(size[0] / 2))[:, None]
    columns = (np.arange(x0, x1, dtype=np.float32) - np.float32(size[1] / 2))[None, :]
    c, s = np.float32(np.cos(params.turn)), np.float32(np.sin(params.turn))
    across = columns * c + rows * s
    if params.bend:
        across += np.float32(params.bend) * ((rows * c - columns * s) / np.float32(max(size) / 2)) ** 2
    depth = across - np.float32(params.near)
    return depth if params.variant == "side" else np.minimum(depth, np.float32(params.far) - across)


def _quantiles(inside: NDArray[np.float64], turn: float, *shares: float) -> tuple[float, float]:
    """Distances along a direction below which these shares of the places lie."""
    across = inside[:, 1] * np.cos(turn) + inside[:, 0] * np.sin(turn)
    near, far = np.quantile(across, np.clip(shares, 0, 1))
    return round(float(near), 3), round(float(far), 3)


ZONE = AnomalyType(
    name="zone",
    version=6,
    settings=ZoneSettings,
    strengths=STRENGTHS,
    params=ZoneParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.5,
    smallest_contrast=5.0,
    contrast_over_texture=0.6,
)
