"""Deformation: a thin-plate-spline warp of the object or of one place on it (MaPhC2F, Algorithm 5).

`paper` follows Algorithm 5 on objects: control points inside the object move, the object is warped as a whole and laid over
a background painted in behind it. As printed it remaps the picture from which the object has been erased; here the original
is remapped, the spline has its affine part and fixed points around the object, and fold-overs are ruled out. Where the
foreground fills the frame there is no background, and its partial variant (named in the paper, not given) is used: the
warp of one place.

`realistic` always warps one place, chosen where the picture has structure to bend, pushes across the dominant edge, fades
to nothing on the rim, and shades the new relief under a light from one side.

The mask is what visibly changed, not the whole object (the paper's mask marks half of the image).

Numbers: the control points of whole objects follow the paper; the realistic style is looked at, chosen by eye on real images.
The smallest warps are as large as most draws must be to be seen (tests/synthgen/anomalies). What the type teaches a detector
as a whole is measured in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.anomalies.contract import AnomalyType, PositiveRange, RelativeRange, TypeSettings
from synthgen.painting import tps
from synthgen.painting.appearance import above_texture, draw_light
from synthgen.painting.blending import clip_box, visible
from synthgen.painting.draws import log_uniform, uniform
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Image, Mask

Field = NDArray[np.float32]

_KINDS = ("dent", "bulge", "bend", "crumple")
_SMALLEST_JACOBIAN = 0.15
_ANCHORS = 16
_RESTLESS = 12.0  # gray levels of local standard deviation


class DeformationSettings(TypeSettings):
    """What may be drawn for a deformation.

    Attributes:
        size_range: radius of the warped place over the diameter of the part; log-uniform, and from 9 to 110 of 512 pixels.
        offset_range: largest displacement over that radius (over the object's diameter when a whole object is warped,
            divided by 4).
        shading_range: brightness of the relief's lit side in gray levels; realistic style. On a restless surface, where it
            would not be seen, more.
    """

    size_range: RelativeRange = (0.025, 0.14)
    offset_range: RelativeRange = (0.15, 0.42)
    shading_range: PositiveRange = (12, 80)


STRENGTHS = {
    "subtle": {"size_range": (0.02, 0.08), "offset_range": (0.1, 0.25), "shading_range": (7, 18)},
    "normal": {},
    "strong": {"size_range": (0.08, 0.28), "offset_range": (0.3, 0.5), "shading_range": (20, 70)},
}


@dataclass(frozen=True, slots=True)
class DeformationParams:
    """All that is random about one deformation; lengths in pixels of the sample, angles in radians.

    `points` are control points (x, y) where the picture is taken from, relative to the centre; `offsets` move them.
    `radius` is 0 when the whole part at the centre is warped. `taper` is the width of the fading rim over the radius.
    `shading` is the brightness of the lit side in gray levels, signed: negative for a hollow.
    """

    kind: str
    centre: tuple[int, int]
    radius: float
    points: tuple[tuple[float, float], ...]
    offsets: tuple[tuple[float, float], ...]
    taper: float
    shading: float
    light: float


def draw(rng: np.random.Generator, surface: Surface, settings: DeformationSettings) -> DeformationParams:
    """Parameters of one deformation on this surface."""
    if settings.style == "paper" and _shows_background(surface):
        return _draw_object(rng, surface, settings)
    realistic = settings.style == "realistic"
    y, x = surface.structured_place(rng, 0.75) if realistic else surface.place(rng)
    scale = surface.scale
    radius = log_uniform(rng, settings.size_range) * surface.diameter(y, x)
    radius = round(float(np.clip(radius, 9 * scale, 110 * scale)), 3)
    kind = str(rng.choice(_KINDS)) if realistic else "crumple"
    reach = uniform(rng, settings.offset_range) * radius
    angle = surface.edge_direction(y, x)[0] + rng.normal(0, 0.35) + (np.pi if rng.random() < 0.5 else 0)
    points, offsets = _control_points(rng, kind, radius, reach, angle)
    shading = 0.0
    texture = surface.texture_around(y, x, radius)
    # a warped random texture looks like itself: there the relief alone can be seen
    if realistic and (kind != "bend" or texture > _RESTLESS):
        shading = max(log_uniform(rng, settings.shading_range), above_texture(surface, (y, x), radius, 2.5))
    if kind == "dent" or (kind == "crumple" and rng.random() < 0.5):
        shading = -shading
    return DeformationParams(
        kind=kind,
        centre=(y, x),
        radius=radius,
        points=_pairs(points),
        offsets=_pairs(offsets),
        taper=uniform(rng, (0.25, 0.5)),
        shading=shading,
        light=draw_light(rng, surface),
    )


def _shows_background(surface: Surface) -> bool:
    """Whether an object can be lifted off the picture: it covers little of it."""
    return float(surface.foreground.mean()) < 0.35


def _draw_object(rng: np.random.Generator, surface: Surface, settings: DeformationSettings) -> DeformationParams:
    y, x = surface.place(rng)
    part = surface.part(y, x)
    reach = uniform(rng, settings.offset_range) / 4 * surface.diameter(y, x)
    rows, columns = np.divmod(rng.choice(np.flatnonzero(part), size=80), part.shape[1])
    candidates = np.stack([columns - x, rows - y], 1).astype(np.float64)
    points = spread_out(candidates, 0.1 * surface.diameter(y, x))[: int(rng.integers(6, 17))]
    angles = rng.uniform(0, 2 * np.pi, len(points))
    offsets = reach * np.sqrt(rng.random(len(points)))[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return DeformationParams(
        kind="object",
        centre=(y, x),
        radius=0.0,
        points=_pairs(points),
        offsets=_pairs(offsets),
        taper=0.0,
        shading=0.0,
        light=0.0,
    )


def _control_points(
    rng: np.random.Generator, kind: str, radius: float, reach: float, angle: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) points (x, y) relative to the centre and their (n, 2) offsets."""
    if kind == "crumple":
        count = int(rng.integers(4, 10))
        away, around = 0.7 * radius * np.sqrt(rng.random(60)), rng.uniform(0, 2 * np.pi, 60)
        chosen = spread_out(np.stack([away * np.cos(around), away * np.sin(around)], 1), 0.3 * radius)[:count]
        return chosen, reach * 0.8 * np.array([_direction(a) for a in rng.uniform(0, 2 * np.pi, len(chosen))])
    if kind == "bend":
        along = _direction(angle + np.pi / 2)
        chosen = np.array([s * radius * along for s in (-0.35, 0.0, 0.35)])
        return chosen, reach * np.array([[0.7], [1.0], [0.7]]) * _direction(angle)
    ring = rng.uniform(0, 2 * np.pi) + np.arange(5) * 2 * np.pi / 5
    outwards = np.array([_direction(a) for a in ring])
    inwards = -1 if kind == "dent" else 1
    size = rng.uniform(0.6, 1.0, (5, 1))
    return 0.45 * radius * outwards, inwards * 0.7 * reach * size * outwards + 0.5 * reach * _direction(angle)


def spread_out(points: NDArray[np.float64], apart: float) -> NDArray[np.float64]:
    """Those of the (n, 2) points that are farther than `apart` from every one chosen before them."""
    near = ((points[:, None] - points[None]) ** 2 @ np.ones(2)) <= apart**2
    free, chosen = np.ones(len(points), bool), []
    for k in range(len(points)):
        if free[k]:
            chosen.append(k)
            free &= ~near[k]
    return points[chosen]


def _direction(angle: float) -> NDArray[np.float64]:
    return np.array([np.cos(angle), np.sin(angle)])


def _pairs(values: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in values)


def render_one(surface: Surface, params: DeformationParams) -> Rendered:
    """The pixels a deformation changes."""
    try:
        return _render_place(surface, params) if params.radius else _render_object(surface, params)
    except np.linalg.LinAlgError:  # on a part of a few pixels, rounded control points coincide: no warp leads through them
        return NOTHING


def _render_place(surface: Surface, params: DeformationParams) -> Rendered:
    (cy, cx), radius = params.centre, params.radius
    y0, x0, y1, x1 = box = clip_box(cy - radius, cx - radius, cy + radius + 1, cx + radius + 1, surface.luma.shape[:2])
    rows, columns = np.arange(y0, y1, dtype=np.float32) - cy, np.arange(x0, x1, dtype=np.float32) - cx
    distance = np.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2) / np.float32(radius)
    fade = _smoothstep((1 - distance) / np.float32(params.taper))[..., None]
    rim = radius * np.array([_direction(a) for a in np.arange(_ANCHORS) * 2 * np.pi / _ANCHORS])
    shift = _displacement(params, rim, (cx - x0, cy - y0), box) * fade
    shift = _unfold(shift)
    warped = _remap(surface.pixels, shift, box)
    if params.shading:
        # light falls on the object, wherever the warp has moved it, not on the background
        relief = _relief(params, distance, shift)
        alpha = surface.alpha((0, 0, *surface.luma.shape))
        if alpha is not None:
            relief *= _remap(np.rint(alpha * 255).astype(np.uint8), shift, box) / np.float32(255)
        lit = np.clip(warped + (params.shading * relief)[..., None], 0, 255)
        warped = np.where(relief[..., None] != 0, np.rint(lit).astype(np.uint8), warped)
    return visible(surface, box, warped, np.ones(distance.shape, np.uint8))


def _render_object(surface: Surface, params: DeformationParams) -> Rendered:
    """Algorithm 5: the warped part over a background painted in behind it."""
    cy, cx = params.centre
    part = surface.part(cy, cx)
    x, y, width, height = cv2.boundingRect(part)
    margin = max(int(0.08 * max(width, height)), 8)
    y0, x0, y1, x1 = box = clip_box(y - margin, x - margin, y + height + margin, x + width + margin, part.shape)
    corners = np.array([(x0 + u * (x1 - 1 - x0), y0 + v * (y1 - 1 - y0)) for u, v in _rim_positions()]) - (cx, cy)
    shift = _unfold(_displacement(params, corners, (cx - x0, cy - y0), box))
    image = _remap(surface.pixels, shift, box)
    moved = (_remap(part * np.uint8(255), shift, box) >= 128).astype(np.uint8)
    plate = surface.plate[y0:y1, x0:x1]
    before = surface.pixels[y0:y1, x0:x1]
    vacated = surface.with_rim(part[y0:y1, x0:x1]) & (1 - moved)
    out = cv2.copyTo(image, moved, cv2.copyTo(plate, vacated, before.copy()))
    far = (cv2.max(*cv2.split(np.abs(shift))) > 1).astype(np.uint8)
    return visible(surface, box, np.asarray(out, np.uint8), (far & moved) | vacated | (moved & (1 - part[y0:y1, x0:x1])))


def _rim_positions() -> list[tuple[float, float]]:
    """(u, v) in 0..1 of 16 places around a unit square."""
    side = (0.0, 0.25, 0.5, 0.75)
    return [(t, 0.0) for t in side] + [(1.0, t) for t in side] + [(1 - t, 1.0) for t in side] + [(0.0, 1 - t) for t in side]


def _displacement(params: DeformationParams, fixed: NDArray[np.float64], centre: tuple[int, int], box: Box) -> Field:
    """(h, w, 2) float32 (x, y): how far each pixel of the window has come; 0 at the `fixed` points."""
    offsets = np.array(params.offsets)
    arrived = np.array(params.points) + offsets
    points = np.concatenate([arrived, fixed]) + np.array(centre, np.float64)
    values = np.concatenate([offsets, np.zeros_like(fixed)])
    return tps.field(tps.solve(points, values), points, box[2] - box[0], box[3] - box[1])


def _unfold(shift: Field) -> Field:
    """The displacement, made smaller until the warp folds nowhere."""
    for _ in range(12):
        if tps.smallest_jacobian(shift) >= _SMALLEST_JACOBIAN:
            return shift
        shift = shift * np.float32(0.7)
    return shift


def _remap(image: Image | Mask, shift: Field, box: Box) -> NDArray[np.uint8]:
    """The window of `box` with each pixel taken from where it has come from."""
    y0, x0, y1, x1 = box
    map_x = np.arange(x0, x1, dtype=np.float32)[None, :] - shift[..., 0]
    map_y = np.arange(y0, y1, dtype=np.float32)[:, None] - shift[..., 1]
    return np.asarray(cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _relief(params: DeformationParams, distance: Field, shift: Field) -> Field:
    """(h, w) float32 in -1..1: slope towards the light of a dome, or of the folds of a crumple."""
    if params.kind == "crumple":
        height = np.asarray(cv2.GaussianBlur(shift[..., 0] + shift[..., 1], (0, 0), 1.5), np.float32)
    else:
        height = np.clip(1 - distance**2, 0, None) ** 2
    dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    slope = -(dx * np.float32(np.cos(params.light)) + dy * np.float32(np.sin(params.light)))
    return np.asarray(slope / max(float(np.abs(slope).max()), 1e-6), np.float32)


def _smoothstep(t: Field) -> Field:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


DEFORMATION = AnomalyType(
    name="deformation",
    version=4,
    settings=DeformationSettings,
    strengths=STRENGTHS,
    params=DeformationParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.35,  # a whole object may be warped
    smallest_contrast=9.0,  # spread over its place, a warp is harder to see than a line
)
