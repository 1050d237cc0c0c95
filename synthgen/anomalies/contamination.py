"""Contamination: a foreign body that lies on the surface, hides what is under it, and throws a shadow.

- `fibre`: a hair, a thread, a splinter; of even width, curved.
- `flake`: a chip, a scrap of paper or film; flat, with straight edges and a texture of its own.
- `crumb`: a few grains.
- `drop`: glue, water, resin; a dome that darkens towards its rim and has a highlight on the side of the light.

It may hang over the edge of the object, for it lies on top; a drop wets the object and ends with it.

Numbers: looked at, chosen by eye on real images; that a body has one colour and a drop ends with the object is from looking at
pictures that were wrong. What the type teaches a detector as a whole is measured in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import LUMA, Coat, coated, draw_light, draw_tint, lit, signed_contrast, soften
from synthgen.painting.draws import log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field, Points, blotch_noise, box_around, filled, jagged_outline, ribbon
from synthgen.painting.surface import Surface

_VARIANTS = {"fibre": 0.3, "flake": 0.3, "crumb": 0.2, "drop": 0.2}


class ContaminationSettings(TypeSettings):
    """What may be drawn for a foreign body.

    Attributes:
        size_range: radius (half the length of a fibre) over the diameter of the part; log-uniform.
        width_px_range: full width of fibres, in pixels of a 512-pixel image; log-uniform.
        count_range: number of grains of a crumb.
        contrast_range: difference of its brightness to the surface in gray levels; log-uniform. On a restless surface more.
        bright_share: share of the bodies that are brighter than the surface.
    """

    size_range: RelativeRange = (0.015, 0.3)
    width_px_range: PositiveRange = (2.0, 9.0)
    count_range: CountRange = (2, 7)
    contrast_range: PositiveRange = (22, 130)
    bright_share: Share = 0.5


STRENGTHS = {
    "subtle": {"size_range": (0.012, 0.08), "width_px_range": (1.6, 4.0), "contrast_range": (8, 35)},
    "normal": {},
    "strong": {"size_range": (0.05, 0.4), "width_px_range": (4.0, 14.0), "contrast_range": (50, 160)},
}


@dataclass(frozen=True, slots=True)
class ContaminationParams:
    """All that is random about one foreign body; lengths in pixels of the sample, angles in radians.

    `bodies` are (y, x, radius, elongation, turn). `shift` is the difference of its colour to the surface's mean colour around
    `centre`, in gray levels of R, G and B; the body has one colour wherever it lies. `relief` is the brightness of its
    unevenness, `shadow` how far its shadow falls and `dark` how dark that is, in gray levels.
    """

    style: str
    variant: str
    centre: tuple[int, int]
    bodies: tuple[tuple[float, float, float, float, float], ...]
    width: float
    shift: tuple[float, float, float]
    opacity: float
    grain: float
    relief: float
    light: float
    shadow: float
    dark: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: ContaminationSettings) -> ContaminationParams:
    """Parameters of one foreign body on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.3)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.size_range) * surface.diameter(y, x), 4 * scale)
    if variant == "crumb":
        radius = max(0.4 * radius, 3 * scale)
    if variant == "fibre":
        radius = max(2 * radius, 10 * scale)
    count = int(rng.integers(settings.count_range[0], settings.count_range[1] + 1)) if variant == "crumb" else 1
    bodies = []
    for k in range(count):
        away, around = (0.0 if k == 0 else radius * rng.uniform(1.2, 4.0)), rng.uniform(0, 2 * np.pi)
        size = radius * (1.0 if k == 0 else rng.uniform(0.3, 1.0))
        elongation = log_uniform(rng, (1.0, 3.0)) if variant == "flake" else uniform(rng, (1.0, 1.4))
        bodies.append((y + away * np.sin(around), x + away * np.cos(around), size, elongation, rng.uniform(0, np.pi)))
    width = max(log_uniform(rng, settings.width_px_range) * scale, 1.5)
    contrast = signed_contrast(rng, surface, (y, x), settings.contrast_range, settings.bright_share, min(radius, 30 * scale))
    tint = draw_tint(rng, surface, (y, x), min(radius, 30 * scale), 0.25)
    r, g, b = (round(contrast + value, 3) for value in tint)
    return ContaminationParams(
        style=settings.style,
        variant=variant,
        centre=(y, x),
        bodies=tuple(tuple(round(float(value), 3) for value in body) for body in bodies),  # type: ignore[misc]
        width=width,
        shift=(r, g, b),
        opacity=uniform(rng, (0.35, 0.8)) if variant == "drop" else uniform(rng, (0.85, 1.0)),
        grain=round(float(surface.grain) * uniform(rng, (0.8, 3.0)), 3),
        relief=uniform(rng, (10, 60)),
        light=draw_light(rng, surface),
        shadow=round(uniform(rng, (0.5, 5.0)) * scale, 3),
        dark=round(surface.brightness_around(y, x, radius) * uniform(rng, (0.0, 0.35)), 3),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: ContaminationParams) -> Rendered:
    """The pixels that a foreign body changes."""
    rng = np.random.default_rng(params.noise_seed)
    outlines = _outlines(rng, params)
    box = box_around(np.concatenate(outlines), 4 + 2 * params.shadow, surface.foreground.shape)
    y0, x0, y1, x1 = box
    if not y1:
        return NOTHING
    cover = soften(surface, filled(outlines, box))
    light = _shadow(cover, params)
    # one colour wherever it lies: the change makes up for the surface under it
    before = np.asarray(cv2.blur(surface.pixels[y0:y1, x0:x1], (3, 3)), np.float32)
    colour = surface.colour_around(*params.centre, max(min(params.bodies[0][2], 30 * surface.scale), 2)) + params.shift
    light += _surface(rng, cover, params) * cover
    brightness = before @ LUMA
    change = np.float32(colour @ LUMA) - brightness
    tint = np.asarray(colour - colour @ LUMA)
    if params.variant == "drop":
        change *= np.float32(0.4)  # the surface shines through
    r, g, b = (float(value) for value in tint)
    hides = _hides(surface, params)
    coat = Coat(cover * np.float32(params.opacity), change, (r, g, b) if hides else (0.0, 0.0, 0.0), 0.0, 3, light, hides=hides)
    wets = params.variant == "drop"
    return coated(surface, box, coat, params.noise_seed, body=cover >= 0.5, overhangs=not wets)


def _hides(surface: Surface, params: ContaminationParams) -> bool:
    """Whether the body's own colour replaces the surface's; a gray picture has none, and a drop takes on what is under it."""
    return not surface.is_gray and params.variant != "drop"


def _outlines(rng: np.random.Generator, params: ContaminationParams) -> list[Points]:
    if params.variant == "fibre":
        return [_fibre(rng, body, params.width) for body in params.bodies]
    if params.variant == "drop":
        return [_round(rng, body) for body in params.bodies]
    return [jagged_outline(rng, (y, x), radius, elongation, turn) for y, x, radius, elongation, turn in params.bodies]


def _fibre(rng: np.random.Generator, body: tuple[float, ...], width: float) -> Points:
    """A line whose direction changes slowly, so that it curls."""
    y, x, radius, _, turn = body
    count = max(int(radius), 8)
    curl = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 5), rng.normal(0, 1.0, 5))
    heading = turn + np.cumsum(curl) * 2.2 / count
    step = 2 * radius / count
    middle = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1) * step, axis=0)
    half = np.full(count, 0.5 * width) * np.exp(rng.normal(0, 0.05, count))
    half[[0, -1]] *= 0.6
    return ribbon(middle - middle.mean(0) + (y, x), half)


def _round(rng: np.random.Generator, body: tuple[float, ...]) -> Points:
    y, x, radius, elongation, turn = body
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    r = radius * (1 + sum(rng.uniform(0, 0.08) * np.cos(k * around + rng.uniform(0, 6.28)) for k in (2, 3)))
    c, s = np.cos(turn), np.sin(turn)
    along, across = r * np.cos(around) * np.sqrt(elongation), r * np.sin(around) / np.sqrt(elongation)
    return np.stack([y + along * s + across * c, x + along * c - across * s], 1)


def _shadow(cover: Field, params: ContaminationParams) -> Field:
    """(h, w) float32 gray levels: darker on the side away from the light."""
    dx, dy = -params.shadow * np.cos(params.light), -params.shadow * np.sin(params.light)
    moved = cv2.warpAffine(cover, np.array([[1, 0, dx], [0, 1, dy]]), cover.shape[::-1])
    soft = np.asarray(cv2.GaussianBlur(moved, (0, 0), max(0.5 * params.shadow, 0.5)), np.float32)
    return -np.float32(params.dark) * soft * (1 - cover)


def _surface(rng: np.random.Generator, cover: Field, params: ContaminationParams) -> Field:
    """(h, w) float32 gray levels: what the body's own relief and grain add to its colour."""
    _, _, radius, _, _ = params.bodies[0]
    relief = np.float32(params.relief)
    uneven = blotch_noise(rng, cover.shape, max(0.8 * radius, 3))
    if params.variant == "flake":
        out = relief * (_folded(rng, cover.shape) + np.float32(0.1) * uneven)
    else:
        depth = params.width if params.variant == "fibre" else radius
        height = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.35 * depth, 0.6)), np.float32) * np.float32(depth)
        slope = lit(height, params.light)
        out = relief * np.clip(slope, -1.2, 1.2)
        if params.variant == "drop":
            out += 3 * relief * np.clip(slope - 0.55, 0, 1)  # the lamp's image
        elif params.variant == "crumb":
            out += np.float32(0.2) * relief * uneven
    return out + np.float32(params.grain) * rng.standard_normal(cover.shape, np.float32)


def _folded(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """(h, w) float32 of about -0.5..0.5: the light on a scrap that does not lie flat, with a fold from side to side."""
    turn, off = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    across = columns[None, :] * np.float32(np.cos(turn)) + rows[:, None] * np.float32(np.sin(turn)) - np.float32(off)
    first, second = rng.uniform(-0.3, 0.3, 2)
    crease = np.float32(0.25) * np.clip(across * np.float32(max(shape) / 3), -1, 1)
    return np.asarray(np.where(across > 0, np.float32(first), np.float32(second)) * across + crease, np.float32)


CONTAMINATION = AnomalyType(
    name="contamination",
    version=2,
    settings=ContaminationSettings,
    strengths=STRENGTHS,
    params=ContaminationParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.25,
    smallest_contrast=5.0,
)
