"""Spots: compact defects, of a speck of dirt or colour to a pit, a blowhole or a bump.

- `pit`: material is missing; the hollow gets less light, its wall on the far side of the light faces it and is brighter.
- `blowhole`: a gas bubble cut open; too deep for light, with a sharp, nearly round rim.
- `bump`: material stands out; its side towards the light is bright, the other dark, and the surface's colour stays.
- `speck`: flat, of another brightness or colour: an inclusion, a splash, a missing bit of coating.

Numbers: looked at, chosen by eye on real images. What the type teaches a detector as a whole is measured in BENCHMARKS.md,
"Worth".
"""

from dataclasses import dataclass

import numpy as np

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, RelativeRange, Share, TypeSettings
from synthgen.painting.appearance import Coat, coated, draw_light, draw_tint, lit, signed_contrast
from synthgen.painting.blending import clip_box
from synthgen.painting.draws import angle, log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import blotch_noise, coverage, ellipse_distance
from synthgen.painting.surface import Surface

_VARIANTS = {"pit": 0.3, "blowhole": 0.25, "bump": 0.15, "speck": 0.3}


class SpotSettings(TypeSettings):
    """What may be drawn for spots.

    Attributes:
        count_range: number of spots; few are more likely than many.
        radius_px_range: of the largest spot, in pixels of a 512-pixel image; log-uniform.
        elongation_range: length over width.
        contrast_range: change of brightness in gray levels; log-uniform. On a restless surface more.
        bright_share: share of the specks that are brighter than the surface.
    """

    count_range: CountRange = (1, 6)
    radius_px_range: PositiveRange = (3.5, 32.0)
    elongation_range: RelativeRange = (1.0, 3.0)
    contrast_range: PositiveRange = (18, 110)
    bright_share: Share = 0.4


STRENGTHS = {
    "subtle": {"radius_px_range": (3.5, 12.0), "contrast_range": (6, 25)},
    "normal": {},
    "strong": {"radius_px_range": (8.0, 48.0), "contrast_range": (40, 120)},
}


@dataclass(frozen=True, slots=True)
class SpotParams:
    """All that is random about a group of spots; lengths in pixels of the sample, angles in radians.

    `spots` are (y, x, radius, elongation, turn). `contrast` is signed: negative is darker. `edge` is the width of the rim
    over the radius, `ragged` how far the outline wavers over it; `mottled` by how much of the contrast the inside varies.
    `relief` is the brightness of the lit side in gray levels, signed: negative for a hollow.
    """

    style: str
    variant: str
    spots: tuple[tuple[float, float, float, float, float], ...]
    lobes: tuple[tuple[float, float], ...]
    contrast: float
    tint: tuple[float, float, float]
    keep: float
    edge: float
    ragged: float
    mottled: float
    relief: float
    light: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: SpotSettings) -> SpotParams:
    """Parameters of one group of spots on this surface."""
    variant = weighted_choice(rng, _VARIANTS)
    y, x = surface.structured_place(rng, 0.4)
    scale = surface.scale
    radius = max(log_uniform(rng, settings.radius_px_range) * scale, 1.5)
    low, high = settings.count_range
    count = min(low + int(rng.geometric(0.55)) - 1, high)
    spots = []
    for k in range(count):
        size = radius if k == 0 else max(radius * rng.uniform(0.25, 0.9), 1.0)
        away = 0.0 if k == 0 else radius * rng.uniform(1.5, 6.0)
        around = rng.uniform(0, 2 * np.pi)
        spots.append((y + away * np.sin(around), x + away * np.cos(around), size,
                      log_uniform(rng, settings.elongation_range), rng.uniform(0, np.pi)))  # fmt: skip
    bright = settings.bright_share if variant in ("speck", "bump") else 0.1 if variant == "pit" else 0.0
    contrast = signed_contrast(rng, surface, (y, x), settings.contrast_range, bright, max(2 * radius, 6 * scale))
    deep = variant == "blowhole"
    tint = draw_tint(rng, surface, (y, x), radius, 0.2)
    relief = abs(contrast) * uniform(rng, (0.3, 1.0))
    return SpotParams(
        style=settings.style,
        variant=variant,
        spots=tuple(tuple(round(float(value), 3) for value in spot) for spot in spots),  # type: ignore[misc]
        lobes=tuple((uniform(rng, (0, 0.22 if variant == "speck" else 0.12)) / k, angle(rng)) for k in (1, 2, 3)),
        contrast=contrast,
        tint=tint if variant == "speck" else (0.0, 0.0, 0.0),
        keep=uniform(rng, (0.0, 0.3)) if deep else uniform(rng, (0.1, 0.9)),
        edge=log_uniform(rng, (0.08, 0.35)) if deep else log_uniform(rng, (0.08, 0.9)),
        ragged=log_uniform(rng, (0.03, 0.12) if deep else (0.04, 0.22)),
        mottled=uniform(rng, (0.05, 0.35) if deep else (0.1, 0.6)),
        relief=round(relief if variant == "bump" else -relief if variant == "pit" else 0.0, 3),
        light=draw_light(rng, surface),
        noise_seed=seed(rng),
    )


def render_one(surface: Surface, params: SpotParams) -> Rendered:
    """The pixels that the spots change."""
    reach = [radius * np.sqrt(elongation) * 1.7 + 3 for _, _, radius, elongation, _ in params.spots]
    tops, lefts, bottoms, rights = zip(
        *((y - r, x - r, y + r + 1, x + r + 1) for (y, x, *_), r in zip(params.spots, reach, strict=True)), strict=True
    )
    box = clip_box(min(tops), min(lefts), max(bottoms), max(rights), surface.foreground.shape)
    y0, x0, y1, x1 = box
    if not box[2]:
        return NOTHING
    cover, height = np.zeros((2, y1 - y0, x1 - x0), np.float32)
    noise = blotch_noise(np.random.default_rng(params.noise_seed), cover.shape, max(0.9 * params.spots[0][2], 3), 4)
    for (y, x, radius, elongation, turn), r in zip(params.spots, reach, strict=True):
        top, left, bottom, right = clip_box(y - r - y0, x - r - x0, y + r - y0, x + r - x0, cover.shape)
        if not bottom:
            continue
        window = (slice(top, bottom), slice(left, right))
        radii = (radius * np.sqrt(elongation), radius / np.sqrt(elongation))
        away = ellipse_distance((top, left, bottom, right), (y - y0, x - x0), radii, turn)
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y - y0)
        around = np.arctan2(rows, np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x - x0))
        for k, (size, phase) in enumerate(params.lobes, start=2):
            away = away * (1 + np.float32(size) * np.cos(k * around + np.float32(phase + turn)))
        away = away + np.float32(params.ragged) * noise[window]
        edge = max(params.edge, 1.2 * surface.softness / radius)
        np.maximum(cover[window], coverage(1 - away, edge), out=cover[window])
        if params.relief:
            np.maximum(height[window], np.clip(1 - away * away / 1.3, 0, 1) ** 2 * np.float32(radius), out=height[window])
    light = None
    # the same field turned round, so that the inside does not follow the outline
    change = np.float32(params.contrast) * (0.7 + 0.3 * cover + np.float32(0.6 * params.mottled) * noise[::-1, ::-1])
    if params.relief:
        slope = lit(height, params.light)
        light = np.float32(params.relief) * slope / max(float(np.abs(slope).max()), 1e-6)
        if params.variant == "bump":
            change *= np.float32(0.35)  # the surface is the same, only nearer
    coat = Coat(cover, change, params.tint, params.keep, 7 * surface.scale, light)
    return coated(surface, box, coat, params.noise_seed)


SPOT = AnomalyType(
    name="spot",
    version=4,
    settings=SpotSettings,
    strengths=STRENGTHS,
    params=SpotParams,
    draw=draw,
    render_one=render_one,
    smallest_contrast=5.0,
)
