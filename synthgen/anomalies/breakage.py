"""Breaks: material is missing, or a fresh fracture face shows.

- `chip`: a piece has gone from the edge of the object. What lies behind it shows, and along the cut a strip of the fracture
  face. Where the picture shows no background, the edge is the picture's own, and what shows is shadow.
- `hole`: a piece has gone from within; the hollow is dark or shows another material, its wall on the far side is lit. One that
  reaches the edge of the object is open there, as a chip is.
- `fracture`: brittle material has broken in facets, each with its own tilt and so its own brightness; sharp ridges between
  them, and some that mirror the lamp. Fabric does not break like this.
- `peel`: a layer has come off with a jagged edge; the surface below is smoother, and the edge throws a shadow.

All but the last are as rough as what they broke out of: the grain of a material goes through it.

Numbers: looked at, chosen by eye on pictures of real and of made ones. Faces got their room to black and white since fractures
were burnt out, and their roughness since they were as smooth as glass; that chips leave no rim and no splinters is from looking
as well. What the type teaches a detector as a whole is measured in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.anomalies.contract import AnomalyType, PositiveRange, RelativeRange, TypeSettings
from synthgen.painting.appearance import LUMA, Coat, coated, draw_light, draw_tint, lit, signed_contrast, soften
from synthgen.painting.blending import clip_box, finish
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field, Points, blotch_noise, box_around, filled, jagged_outline
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Mask

_VARIANTS = {"chip": 0.3, "hole": 0.2, "fracture": 0.3, "peel": 0.2}
_OF_FABRIC = {"chip": 0.3, "hole": 0.35, "peel": 0.35}
_ROOM = 60.0  # gray levels next to black and to white in which faces differ less and less
_OUTSIDE = 0.05  # of an outline, at which a hole is open at the object's edge
_ROUGH_CELL = 5.0  # pixels of 512
_ROUGHEST = 25.0  # gray levels: what looks rougher has edges in it


class BreakSettings(TypeSettings):
    """What may be drawn for a break.

    Attributes:
        size_range: radius over the diameter of the part; log-uniform.
        elongation_range: length over width; log-uniform.
        contrast_range: difference of what shows to the surface in gray levels; log-uniform. On a restless surface more.
    """

    size_range: RelativeRange = (0.02, 0.25)
    elongation_range: RelativeRange = (1.0, 2.5)
    contrast_range: PositiveRange = (22, 120)


STRENGTHS = {
    "subtle": {"size_range": (0.012, 0.06), "contrast_range": (8, 35)},
    "normal": {},
    "strong": {"size_range": (0.08, 0.35), "contrast_range": (40, 140)},
}


@dataclass(frozen=True, slots=True)
class BreakParams:
    """All that is random about one break; lengths in pixels of the sample, angles in radians.

    `elongation` is length over width, `turn` the direction of the length. `contrast` is signed. `wall` is the width of the
    fracture face along the edge and `relief` its brightness in gray levels; `facets` how many faces a fracture has, and
    `spread` how much their brightness varies; `keep` how much of the surface's texture the new face has, and `rough` its own
    roughness in gray levels.
    """

    style: str
    variant: str
    centre: tuple[int, int]
    radius: float
    elongation: float
    turn: float
    contrast: float
    tint: tuple[float, float, float]
    keep: float
    rough: float
    wall: float
    relief: float
    facets: int
    spread: float
    light: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: BreakSettings) -> BreakParams:
    """Parameters of one break on this surface."""
    variant = weighted_choice(rng, _VARIANTS if surface.material != "fabric" else _OF_FABRIC)
    y, x = surface.edge_place(rng) if variant == "chip" else surface.structured_place(rng, 0.6)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.size_range) * surface.diameter(y, x), 6 * scale)
    if variant == "hole":
        radius = min(radius, 50 * scale)
    bright = {"chip": 0.25, "hole": 0.1, "fracture": 0.6, "peel": 0.5}[variant]
    contrast = signed_contrast(rng, surface, (y, x), settings.contrast_range, bright, min(radius, 30 * scale))
    return BreakParams(
        style=settings.style,
        variant=variant,
        centre=(y, x),
        radius=round(float(radius), 3),
        elongation=log_uniform(rng, settings.elongation_range),
        turn=uniform(rng, (0, np.pi)),
        contrast=contrast,
        tint=draw_tint(rng, surface, (y, x), radius),
        keep=uniform(rng, (0.0, 0.8) if variant != "fracture" else (0.3, 1.2)),
        rough=0.0 if variant == "peel" else _roughness(rng, surface, (y, x), contrast),
        wall=round(uniform(rng, (1.5, 7.0)) * scale, 3),
        relief=round(max(abs(contrast), 15) * uniform(rng, (0.3, 1.0)), 3),
        facets=int(rng.integers(3, 12)),
        spread=round(max(abs(contrast), 20) * uniform(rng, (0.4, 1.2)), 3),
        light=draw_light(rng, surface),
        noise_seed=seed(rng),
    )


def _roughness(rng: np.random.Generator, surface: Surface, place: tuple[int, int], contrast: float) -> float:
    """Gray levels of a fracture face's grain: about as strong as the surface's own, and some even on a smooth one."""
    beside = min(surface.texture_around(*place, 30 * surface.scale), _ROUGHEST)
    return round(max(beside, 0.12 * abs(contrast)) * uniform(rng, (0.2, 1.0)), 3)


def render_one(surface: Surface, params: BreakParams) -> Rendered:
    """The pixels that a break changes."""
    rng = np.random.default_rng(params.noise_seed)
    outlines = [jagged_outline(rng, params.centre, params.radius, params.elongation, params.turn)]
    off_the_edge = _comes_off_the_edge(surface, params, outlines[0])
    if off_the_edge:
        outlines = _outwards(surface, params, outlines[0])
    box = box_around(np.concatenate(outlines), 5 + params.wall, surface.foreground.shape)
    y0, x0, y1, x1 = box
    if not y1:
        return NOTHING
    cover = soften(surface, filled(outlines, box))
    fg = surface.foreground[y0:y1, x0:x1]
    if off_the_edge:
        return _chip(rng, surface, params, box, cover, fg)
    light = _walls(cover, params)
    change: Field | float = params.contrast
    if params.variant == "fracture":
        change = _facets(rng, surface, params, box)
        light = light * np.float32(0.5)
    elif params.variant in ("hole", "chip"):
        change = np.float32(params.contrast) * (
            1 + np.float32(0.2) * blotch_noise(rng, cover.shape, max(0.6 * params.radius, 3))
        )
    if params.rough:
        change = change + np.float32(params.rough) * blotch_noise(rng, cover.shape, max(_ROUGH_CELL * surface.scale, 2), 2)
    coat = Coat(cover, change, params.tint, params.keep, 9 * surface.scale, light)
    return coated(surface, box, coat, params.noise_seed)


def _comes_off_the_edge(surface: Surface, params: BreakParams, outline: Points) -> bool:
    """Whether a piece comes off the edge of the object: a chip, or a hole that reaches there, where something lies behind."""
    if params.variant not in ("chip", "hole") or surface.foreground.all():
        return False
    rows, columns = np.clip(np.rint(outline), 0, np.array(surface.foreground.shape) - 1).astype(int).T
    return params.variant == "chip" or bool((surface.foreground[rows, columns] == 0).mean() > _OUTSIDE)


def _outwards(surface: Surface, params: BreakParams, outline: Points) -> list[Points]:
    """The outline (y, x) and copies of it farther out of the object: no rim stays without what held it."""
    reach = max(params.radius, 3)
    y, x = params.centre
    y0, x0, y1, x1 = clip_box(y - reach, x - reach, y + reach + 1, x + reach + 1, surface.foreground.shape)
    inside = np.argwhere(surface.foreground[y0:y1, x0:x1])
    if not len(inside):
        return [outline]
    out = np.asarray(params.centre) - (y0, x0) - inside.mean(0)
    farthest = 1.3 * reach * np.sqrt(params.elongation)  # from the deepest corner that it may have
    steps = np.arange(0, farthest, max(0.2 * reach / np.sqrt(params.elongation), 1))
    return [outline + step * out / max(float(np.hypot(*out)), 1e-6) for step in steps]


def _chip(rng: np.random.Generator, surface: Surface, params: BreakParams, box: Box, cover: Field, fg: Mask) -> Rendered:
    """The background where the object's edge was, and a strip of fracture face along the cut."""
    y0, x0, y1, x1 = box
    before = surface.pixels[y0:y1, x0:x1].astype(np.float32)
    around = surface.around[y0:y1, x0:x1]
    cover = np.where(_splinters(surface, fg, cover), np.float32(1), cover)
    gone = cover * fg
    out = before + (cover * around)[..., None] * (surface.plate[y0:y1, x0:x1].astype(np.float32) - before)
    side = 2 * round(params.wall) + 1
    inner = np.asarray(cv2.blur(gone, (side, side)), np.float32)
    face = np.clip(2 * inner, 0, 1) * (1 - cover) * fg
    slope = np.clip(params.wall * lit(inner, params.light) * 1.5, -1, 1)
    shade = np.float32(0.5 * params.contrast) + np.float32(params.relief) * slope
    shade += np.float32(0.3 * params.relief) * blotch_noise(rng, cover.shape, max(2 * params.wall, 3))
    out += (face * shade)[..., None]
    changed = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    body = (gone >= 0.5).astype(np.uint8)
    if not body.any():
        return NOTHING
    return finish(surface.pixels, box, changed, body, around)


def _splinters(surface: Surface, fg: Mask, cover: Field) -> NDArray[np.bool_]:
    """(h, w): what the cut has parted from all of the object that goes on beyond the window, and its soft rim."""
    rest = fg & (cover < 0.95).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=4)
    left, top, width, height, area = stats.T
    loose = (left > 0) & (top > 0) & (left + width < cover.shape[1]) & (top + height < cover.shape[0])
    loose[0] = False
    if len(loose) > 1:
        loose[1 + int(area[1:].argmax())] = False
    splinters = loose[labels].astype(np.uint8)
    return np.asarray((surface.with_rim(splinters) > 0) & ((rest & (1 - splinters)) == 0))


def _walls(cover: Field, params: BreakParams) -> Field:
    """(h, w) float32 gray levels: light and shadow along the edge of a hollow."""
    sigma = max(0.35 * params.wall, 0.6)
    wide = np.asarray(cv2.GaussianBlur(cover, (0, 0), sigma), np.float32)
    slope = np.clip(2.2 * sigma * lit(-wide, params.light), -1, 1)
    return np.asarray(np.float32(params.relief) * slope, np.float32)


def _facets(rng: np.random.Generator, surface: Surface, params: BreakParams, box: Box) -> Field:
    """(h, w) float32 gray levels: the faces of a brittle fracture, cells around random points, each with a slope of its own.

    They are lighter or darker than the surface, but for their ridges never black or white: there is room for their grain.
    """
    y0, x0, y1, x1 = box
    rows = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(params.centre[0])
    columns = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(params.centre[1])
    reach = params.radius * np.sqrt(params.elongation)
    nearest = np.full((y1 - y0, x1 - x0), np.inf, np.float32)
    second, out = nearest.copy(), np.zeros_like(nearest)
    stretch, turn = rng.uniform(1.0, 2.5), rng.uniform(0, np.pi)  # faces are long in the direction the crack ran
    along, across = columns * np.cos(turn) + rows * np.sin(turn), (rows * np.cos(turn) - columns * np.sin(turn)) * stretch
    palette = surface.palette.astype(np.float32) @ LUMA
    mean = float(palette.mean())
    for _ in range(params.facets):
        py, px = rng.normal(0, 0.5 * reach, 2)
        ky, kx = rng.normal(0, 0.5 * params.spread / reach, 2)
        # how bright a face is: as some place of the object, or (some faces mirror the lamp) far brighter
        level = 0.5 * (float(palette[int(rng.integers(len(palette)))]) - mean) + rng.normal(0, 0.5) * params.spread
        if rng.random() < 0.2:
            level = abs(level) + 1.2 * params.spread
        distance = np.square(along - np.float32(px)) + np.square(across - np.float32(py))
        closer = distance < nearest
        np.minimum(second, np.maximum(distance, nearest), out=second)
        np.copyto(nearest, distance, where=closer)
        np.copyto(out, np.float32(level) + np.float32(ky) * rows + np.float32(kx) * columns, where=closer)
    brightness = surface.brightness_around(*params.centre, reach)
    room = np.float32(min(_ROOM, brightness, 255 - brightness) + 1)
    low, high = np.float32(room - brightness), np.float32(255 - room - brightness)
    out = np.asarray(out + np.float32(params.contrast), np.float32)
    # beyond these ends the rest is squeezed into half the room
    out = np.clip(out, low, high) + room / 2 * np.tanh((out - np.clip(out, low, high)) / room)
    ridge = np.exp(-np.square((np.sqrt(second) - np.sqrt(nearest)) / np.float32(1.5 + surface.softness)))
    return np.asarray(out + np.float32(0.5 * params.spread) * ridge, np.float32)


BREAK = AnomalyType(
    name="break",
    version=3,
    settings=BreakSettings,
    strengths=STRENGTHS,
    params=BreakParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.25,
    smallest_contrast=6.0,
)
