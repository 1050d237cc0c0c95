"""Cracks: a branching random walk that gets a width and a colour (MaPhC2F, Algorithms 1 to 3).

`paper` follows the pseudocode: straight arms, the width rule of equation 5 with gradient noise, one colour formula. It
departs from the print where the print is void: segments are drawn (end points alone leave gaps), the morphological opening
is left out (a 3 x 3 opening deletes every line below 3 pixels), the mask stays on the foreground, and the strength falls
towards the edge by the distance *inside* the mask (the printed distance is 0 on every pixel that is written).

`realistic` lets the arms meander and taper to a point, closes them in places, roughens both walls on their own, takes the
colour of the core from the surface around it, darker or, for exposed material, brighter, keeps some of its texture and
grain, and gives the walls a thin lip under a light from one side. A wide crack is deep and so dark; one may look at one of
its walls, which is raw material.

Numbers: one to three starting points, turns of a branch and half of the steps for it, and the width rule are the paper's. Tips,
hairlines, walls and how wide a faint crack may be: looked at, on cracks of nuts and roads. How much arms close was measured to
make no difference; what the type teaches a detector as a whole is in BENCHMARKS.md, "Worth".
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, Range, RelativeRange, Share, TypeSettings
from synthgen.anomalies.crack_path import Branch, WalkRules, grow
from synthgen.painting.appearance import above_texture, draw_light, recolour
from synthgen.painting.blending import clip_box, finish, odd_size
from synthgen.painting.draws import log_uniform, seed, uniform
from synthgen.painting.noise import fractal_noise, noise_std, permutation
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Mask

_SUPERSAMPLING = 3
_HAIRLINE = 3.0  # pixels of 512: no crack is too faint for it
_WIDTH_PER_LEVEL = 0.25  # pixels of 512 that a crack may be wider for every gray level that it is darker
_TIP = 0.15  # of an arm's length, over which it comes to a point
_FACE_FROM = 7.0  # pixels of 512: a crack as wide as this may show a wall,
_FACE_PIXELS = 5.0  # if the image has as many pixels for it


class CrackSettings(TypeSettings):
    """What may be drawn for a crack.

    Attributes:
        count_range: number of starting points (the paper: 1 to 3).
        length_range: length of the main path over the diameter of the part.
        width_px_range: full width at the widest place, in pixels of a 512-pixel image; log-uniform.
        contrast_range: change of brightness in the core, in gray levels; log-uniform. On a restless surface, where it would
            not be seen, more.
        bright_share: share of cracks that are brighter than the surface; dark surfaces get them always.
        branching_range: branches per 100 pixels of path (at 512).
    """

    count_range: CountRange = (1, 3)
    length_range: RelativeRange = (0.15, 0.9)
    width_px_range: PositiveRange = (2.5, 26.0)
    contrast_range: PositiveRange = (18, 110)
    bright_share: Share = 0.3
    branching_range: Range = (0.05, 0.8)


STRENGTHS = {
    "subtle": {"width_px_range": (1.5, 6.0), "contrast_range": (7, 25), "length_range": (0.1, 0.5)},
    "normal": {},
    "strong": {"width_px_range": (5.0, 24.0), "contrast_range": (40, 120), "length_range": (0.3, 1.2)},
}


@dataclass(frozen=True, slots=True)
class CrackParams:
    """All that is random about one crack; lengths in pixels of the sample, angles in radians.

    `contrast` is signed: negative is darker. `keep` is the share of the surface's texture left in the core, `taper` the
    width at the tip relative to the root, `roughness` the relative standard deviation of the wall, `opacity` the share of
    the new colour. `lip` is the height of the walls' lip in gray levels, lit from `light`. `fading` is how far the crack closes
    along its way. `face` is the share of the width in which a wall is seen (the one away from the light if negative),
    `face_shade` its brightness against the surface in gray levels.
    """

    style: str
    starts: tuple[tuple[int, int, float], ...]
    steps: int
    step: float
    branching: float
    stopping: float
    jitter: float
    wander: float
    kink: float
    width: float
    taper: float
    roughness: float
    contrast: float
    opacity: float
    keep: float
    lip: float
    fading: float
    face: float
    face_shade: float
    light: float
    path_seed: int
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: CrackSettings) -> CrackParams:
    """Parameters of one crack on this surface."""
    low, high = settings.count_range
    weights = np.array([0.6, 0.3, 0.1] + [0.05] * max(high - 3, 0))[low - 1 : high]
    count = int(rng.choice(np.arange(low, low + len(weights)), p=weights / weights.sum()))
    places = [surface.place(rng) for _ in range(count)]
    diameter = surface.diameter(*places[0])
    scale = surface.scale
    step = uniform(rng, (3 * scale, 5 * scale))
    length = max(log_uniform(rng, settings.length_range) * diameter, 28 * scale)
    realistic = settings.style == "realistic"
    branching = uniform(rng, settings.branching_range) * step / scale / 100
    width = log_uniform(rng, (settings.width_px_range[0] * scale, settings.width_px_range[1] * scale))
    contrast = _signed_contrast(rng, surface, places[0], settings)
    # a crack is thin against its length, whatever the part; a bright one is a line of bare material, never a band; and what
    # is wide is deep, so that little light comes back from it
    widest = 0.09 * length
    if realistic:
        widest = min(widest, 8 * scale if contrast > 0 else (_HAIRLINE - _WIDTH_PER_LEVEL * contrast) * scale)
    width = round(max(min(width, widest), 1.6), 4)
    return CrackParams(
        style=settings.style,
        starts=tuple((y, x, uniform(rng, (0, 2 * np.pi))) for y, x in places),
        steps=max(round(length / step / (2 if realistic else 1)), 3),
        step=step,
        branching=round(branching, 5),
        stopping=uniform(rng, (0.002, 0.02), 5),
        jitter=uniform(rng, (0.04, 0.45)) if realistic else 0.0,
        wander=log_uniform(rng, (0.01, 0.16)) if realistic else 0.0,
        kink=uniform(rng, (0.0, 0.1)) if realistic else 0.0,
        width=width,
        taper=log_uniform(rng, (0.05, 0.7)) if realistic else uniform(rng, (0.05, 0.8)),
        roughness=uniform(rng, (0.05, 0.3)),
        contrast=contrast,
        opacity=uniform(rng, (0.85, 1.0) if realistic else (0.7, 1.0)),
        keep=uniform(rng, (0.05, 0.5)),
        lip=uniform(rng, (0.15, 0.4)) if contrast > 0 else uniform(rng, (0.0, 0.35)) if rng.random() < 0.6 else 0.0,
        fading=uniform(rng, (0.0, 1.0)) if realistic and rng.random() < 0.7 else 0.0,
        face=_wall(rng) if realistic and width > max(_FACE_FROM * scale, _FACE_PIXELS) else 0.0,
        face_shade=round(uniform(rng, (-0.65, -0.2) if rng.random() < 0.7 else (0.1, 0.35)) * abs(contrast), 3),
        light=draw_light(rng, surface),
        path_seed=seed(rng),
        noise_seed=seed(rng),
    )


def _wall(rng: np.random.Generator) -> float:
    """The share of a wide crack in which a wall is seen, with a sign for which."""
    return round(uniform(rng, (0.15, 0.45)) * float(rng.choice((-1, 0, 1), p=(0.35, 0.3, 0.35))), 4)


def _signed_contrast(rng: np.random.Generator, surface: Surface, place: tuple[int, int], settings: CrackSettings) -> float:
    """Gray levels to add in the core. There must be room for them: below a dark surface there is none."""
    y, x = place
    reach = max(int(12 * surface.scale), 2)
    brightness = float(surface.luma[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].mean())
    # on a restless surface less would not be seen
    contrast = max(log_uniform(rng, settings.contrast_range), above_texture(surface, place, reach, 2.2))
    bright = rng.random() < settings.bright_share
    if brightness - contrast < 8:
        bright = bright or brightness < 60
    if bright and brightness + contrast > 250:
        bright = False
    return contrast if bright else -round(min(contrast, max(brightness - 4, 1)), 4)


def render_one(surface: Surface, params: CrackParams) -> Rendered:
    """The pixels a crack changes."""
    branches = _branches(surface, params)
    if not branches:
        return NOTHING
    longest = max(float(np.hypot(*np.diff(branch.points, axis=0).T).sum()) for branch in branches)
    if params.width > 0.25 * longest:  # cut short by the edge of the part: not a crack but a dot
        params = replace(params, width=0.25 * longest)
    points = np.concatenate([branch.points for branch in branches])
    margin = params.width + 6
    (top, left), (bottom, right) = points.min(0) - margin, points.max(0) + margin + 1
    box = clip_box(top, left, bottom, right, surface.foreground.shape)
    if params.style == "paper":
        return _render_paper(surface, params, branches, box)
    return _render_realistic(surface, params, branches, box)


def _branches(surface: Surface, params: CrackParams) -> list[Branch]:
    """The arms; in the realistic style two from each start, in nearly opposite directions."""
    rng = np.random.default_rng(params.path_seed)
    realistic = params.style == "realistic"
    starts = [(float(y), float(x), angle) for y, x, angle in params.starts]
    if realistic:
        starts += [(y, x, angle + np.pi + rng.normal(0, 0.35)) for y, x, angle in starts]
    smallest = np.pi / 9 if realistic else 0.0
    rules = WalkRules(
        steps=params.steps,
        step=params.step,
        branching=params.branching,
        stopping=params.stopping,
        jitter=params.jitter,
        wander=params.wander,
        kink=params.kink,
        branch_angle=(smallest, np.pi / 4 if not realistic else np.pi / 2.6),
    )
    return grow(rng, starts, rules, surface.foreground)


def _render_realistic(surface: Surface, params: CrackParams, branches: list[Branch], box: Box) -> Rendered:
    y0, x0, y1, x1 = box
    fg = surface.foreground[y0:y1, x0:x1]
    coverage, face = _coverage(branches, params, surface.softness, box)
    before = surface.pixels[y0:y1, x0:x1]
    reach = odd_size(2 + params.width * 0.5)
    depth = np.asarray(cv2.blur(coverage, (reach, reach)), np.uint8)  # deepest in the middle of wide places
    lit = _lit_walls(depth, params.light) if params.lip else None
    near = cv2.dilate(coverage, np.ones((5, 5), np.uint8)) if params.lip else coverage
    at = np.flatnonzero(near.ravel())
    base = surface.smooth(box, odd_size(params.width * 2 + 3)).reshape(-1, 3)[at].astype(np.float32)
    pixels = before.reshape(-1, 3)[at].astype(np.float32)
    alpha = coverage.ravel()[at].astype(np.float32) * (params.opacity / 255)
    inner = np.float32(0.75) + depth.ravel()[at].astype(np.float32) * np.float32(0.25 / 255)
    deep = np.float32(params.contrast) * inner
    if face is not None:
        shown = face.ravel()[at].astype(np.float32) / np.maximum(coverage.ravel()[at], 1)
        deep += np.minimum(shown, 1) * (np.float32(params.face_shade) - deep)
    core = recolour(base, deep) + params.keep * (pixels - base)
    grain = np.random.default_rng(params.noise_seed).normal(0, max(surface.grain, 0.3), len(at)).astype(np.float32)
    change = alpha[:, None] * (core + grain[:, None] - pixels)
    if lit is not None:
        change += (params.lip * abs(params.contrast) * lit.ravel()[at] * (1 - alpha))[:, None]
    object_alpha = surface.alpha(box)
    if object_alpha is not None:
        change *= object_alpha.ravel()[at][:, None]
    out = pixels + change
    changed = before.copy().reshape(-1, 3)
    changed[at] = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    body = (coverage >= 128).astype(np.uint8) & fg
    return finish(surface.pixels, box, changed.reshape(before.shape), body, fg)


def _lit_walls(depth: NDArray[np.uint8], light: float) -> NDArray[np.float32]:
    """(h, w) float32 in about -1..1: where the ground rises towards the light it is bright, where it falls away dark."""
    dx = cv2.Sobel(depth, cv2.CV_32F, 1, 0, scale=1 / 512)
    dy = cv2.Sobel(depth, cv2.CV_32F, 0, 1, scale=1 / 512)
    return np.asarray(dx * np.cos(light) + dy * np.sin(light), np.float32)


def _coverage(
    branches: list[Branch], params: CrackParams, softness: float, box: Box
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """(h, w) uint8: how much of each pixel the crack covers, 0..255, and of that the wall that is seen, if any.

    Drawn as ribbons at three times the resolution.
    """
    y0, x0, y1, x1 = box
    s = _SUPERSAMPLING
    canvas = np.zeros(((y1 - y0) * s, (x1 - x0) * s), np.uint8)
    faces = canvas.copy() if params.face else None
    rng = np.random.default_rng(params.noise_seed)
    # arms that leave a place in opposite directions show the same wall: the one on this side of the picture
    side = np.sign(params.face) * np.array([np.sin(params.light), np.cos(params.light)])
    gaps: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def draw(
        target: NDArray[np.uint8], first: NDArray[np.float64], second: NDArray[np.float64], levels: NDArray[np.int64]
    ) -> None:
        left, right = (np.rint((wall - (y0, x0))[:, ::-1] * (s * 16)).astype(np.int32) for wall in (first, second))
        # piece by piece: where a wall crosses itself in a bend, one polygon would have holes
        for piece, level in zip(np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1), levels.tolist(), strict=False):
            cv2.fillConvexPoly(target, piece, level, cv2.LINE_8, shift=4)

    for branch in branches:
        left, right = _walls(rng, branch, params)
        closing = params.fading * np.clip(_smooth_noise(rng, len(left), 16) - 0.7, 0, 1)
        levels = np.rint(255 * (1 - closing)).astype(np.int64)
        draw(canvas, left, right, levels)
        if faces is not None:
            if (left - right).mean(0) @ side < 0:
                left, right = right, left
            inner = left + abs(params.face) * (right - left)
            draw(faces, left, inner, levels)
            gaps.append((inner, right))
    if faces is not None:
        for inner, right in gaps:  # where arms meet, the wall of one ends at the gap of the other
            draw(faces, inner, right, np.zeros(len(inner), np.int64))

    def seen(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        coverage = cv2.resize(drawn, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        # new edges no sharper than those of the picture; averaging over a pixel is itself a blur of about 0.3
        return np.asarray(cv2.GaussianBlur(coverage, (5, 5), softness) if softness > 0.5 else coverage, np.uint8)

    return seen(canvas), None if faces is None else seen(faces)


def _walls(rng: np.random.Generator, branch: Branch, params: CrackParams) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) points (y, x) of the left and of the right wall of an arm, each at its own distance from the middle line."""
    lengths = np.hypot(*np.diff(branch.points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(int(along[-1] / 2), 3)
    t = np.linspace(0, along[-1], count)
    middle = np.stack([np.interp(t, along, branch.points[:, k]) for k in range(2)], axis=1)
    tangent = np.gradient(middle, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-6)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    u = t / max(along[-1], 1e-6)
    taper = (params.taper + (1 - params.taper) * (1 - u**1.5)) * np.sqrt(np.minimum((1 - u) / _TIP, 1))
    half = 0.5 * params.width * branch.share * taper * np.exp(1.3 * params.roughness * _smooth_noise(rng, count, 12))
    fine = np.minimum(params.roughness * half, 0.9)  # splinters do not grow with the width
    walls = [
        np.maximum(half * (1 + params.roughness * _smooth_noise(rng, count, 4)) + fine * rng.normal(0, 1, count), 0.25)
        for _ in range(2)
    ]
    walls[0][-1] = walls[1][-1] = 0.1
    return middle + normal * walls[0][:, None], middle - normal * walls[1][:, None]


def _smooth_noise(rng: np.random.Generator, count: int, every: int) -> NDArray[np.float64]:
    """(count,) noise of about unit variance that changes over `every` points."""
    knots = np.arange(0, count + every, every)
    return np.interp(np.arange(count), knots, rng.normal(0, 1, len(knots)))


def _render_paper(surface: Surface, params: CrackParams, branches: list[Branch], box: Box) -> Rendered:
    """Algorithms 2 and 3, inside the box that the skeleton can reach."""
    y0, x0, y1, x1 = box
    fg = surface.foreground[y0:y1, x0:x1]
    mask = paper_mask(branches, params, box, surface.scale) & fg
    before = surface.pixels[y0:y1, x0:x1]
    at = np.flatnonzero(mask.ravel())
    if not len(at):
        return NOTHING
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).ravel()[at]
    strength = np.maximum(np.clip(inside / max(0.5 * params.width, 1), 0, 1) ** 0.7, 0.35)[:, None]
    pixels = before.reshape(-1, 3)[at].astype(np.float32)
    luma = max(float(surface.luma[y0:y1, x0:x1].ravel()[at].mean()), 1.0)
    residual_brightness = 1 + params.contrast / luma  # Algorithm 3 calls it max_darken: 0 is black
    dark = pixels * (1 - (1 - residual_brightness) * strength)
    out = (1 - params.opacity) * pixels + params.opacity * dark
    changed = before.copy().reshape(-1, 3)
    changed[at] = np.clip(out, 0, 255).astype(np.uint8)
    return finish(surface.pixels, box, changed.reshape(before.shape), mask, mask)


def paper_mask(branches: list[Branch], params: CrackParams, box: Box, scale: float) -> Mask:
    """(h, w) uint8 {0, 1}: all pixels whose distance to the skeleton plus noise is below w0 exp(-alpha t) + eps (equation 5).

    The half width r* of the rule without noise is drawn, and w0 = (r* - eps) exp(alpha r*) follows from it.
    """
    y0, x0, y1, x1 = box
    skeleton = np.ones((y1 - y0, x1 - x0), np.uint8)
    lines = [np.rint((branch.points - (y0, x0))[:, ::-1]).astype(np.int32) for branch in branches]
    cv2.polylines(skeleton, lines, isClosed=False, color=0)
    t = cv2.distanceTransform(skeleton, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha, eps = 0.25 / scale, 0.5 * scale
    radius = max(0.5 * params.width, eps + 0.1)
    w0 = (radius - eps) * np.exp(alpha * radius)
    rng = np.random.default_rng(params.noise_seed)
    cell = 512 * scale / rng.uniform(8, 32)
    nu = fractal_noise(skeleton.shape, cell, permutation(rng), origin=(y0, x0))
    nu *= np.float32(params.roughness * 2 * radius * 0.2 / noise_std())
    mask = (t + nu < w0 * np.exp(-alpha * t) + eps).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((odd_size(3 * scale),) * 2, np.uint8)), np.uint8)
    return (cv2.GaussianBlur(mask * np.uint8(255), (7, 7), 1.0) > 0.3 * 255).astype(np.uint8)


CRACK = AnomalyType(
    name="crack",
    version=3,
    settings=CrackSettings,
    strengths=STRENGTHS,
    params=CrackParams,
    draw=draw,
    render_one=render_one,
)
