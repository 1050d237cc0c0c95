"""What new material looks like on a surface: contrast, colour, light and grain, all taken from the surface itself.

Colour is what gives synthetic anomalies away: brown rust on gray parts teaches a detector that colour is the defect. So a
gray image stays gray, and on others a tint goes no farther than the surface's own colours do.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.painting.blending import finish, gaussian, odd_size
from synthgen.painting.draws import log_uniform
from synthgen.painting.rendered import Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Image

Field = NDArray[np.float32]
Place = tuple[int, int]
Colour = tuple[float, float, float]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LIT = 48.0  # of 512 pixels: what varies over more is light, not texture
_MOST_OVER_TEXTURE = 70.0  # gray levels: what looks restless may be an edge, not a texture
_FARTHEST = 1.5  # times the surface's own chroma, of a foreign tint


def signed_contrast(
    rng: np.random.Generator,
    surface: Surface,
    place: Place,
    bounds: tuple[float, float],
    bright_share: float,
    reach: float,
    *,
    over_texture: float = 2.0,
    darkest: float = 1.0,
) -> float:
    """Gray levels by which the brightness changes, log-uniform, with a sign that the surface has room for.

    Args:
        rng: where the numbers come from.
        surface: the normal image.
        place: (y, x) of the anomaly.
        bounds: smallest and largest change in gray levels, > 0.
        bright_share: probability of a change to brighter, where both have room.
        reach: half the side of the window around `place` that is the surface, in pixels.
        over_texture: on a restless surface the change is at least this many times its local standard deviation, for less
            would not be seen.
        darkest: share of the surface's brightness that may go.
    """
    brightness = surface.brightness_around(*place, max(reach, 2))
    contrast = max(log_uniform(rng, bounds), above_texture(surface, place, reach, over_texture))
    bright = rng.random() < bright_share
    down, up = brightness - 4, 250 - brightness
    if contrast > (up if bright else down):  # to the side with more room, and no farther than there is
        bright = up > down
        contrast = min(contrast, max(up if bright else down, 1.0))
    if not bright and darkest < 1:
        contrast = min(contrast, darkest * brightness)
    return round(contrast if bright else -contrast, 4)


def above_texture(surface: Surface, place: Place, reach: float, times: float) -> float:
    """Gray levels that can be told from the surface's own texture around a place."""
    return round(min(times * surface.texture_around(*place, reach), _MOST_OVER_TEXTURE), 4)


def draw_tint(rng: np.random.Generator, surface: Surface, place: Place, reach: float, foreign_share: float = 0.0) -> Colour:
    """A move in RGB without a change of brightness: towards another colour of the surface, or (for what comes from
    elsewhere) with a hue of its own in `foreign_share` of the draws.

    Exactly (0, 0, 0) on a gray image. The same number of random numbers is drawn whatever the image.
    """
    pick, hue, amount, foreign = rng.random(4)
    if surface.is_gray:
        return (0.0, 0.0, 0.0)
    if foreign < foreign_share:
        direction = np.cos(2 * np.pi * (hue - np.array([0, 1 / 3, 2 / 3])))
        move = direction / np.ptp(direction) * _FARTHEST * surface.chroma * amount
    else:
        chosen = surface.palette[int(pick * len(surface.palette))].astype(np.float64)
        here = surface.colour_around(*place, max(reach, 2))
        move = (chosen - chosen @ LUMA - (here - here @ LUMA)) * amount
    move = move - move @ LUMA
    r, g, b = (round(float(v), 3) for v in move)
    return r, g, b


def draw_light(rng: np.random.Generator, surface: Surface) -> float:
    """Angle in radians of the side that light comes from: near the picture's own where it can be told, else any."""
    direction, certainty = surface.light
    return round(float(direction + rng.vonmises(0.0, 8 * certainty)), 4)


@dataclass(frozen=True, slots=True, eq=False)
class Coat:
    """New material on a window of the picture.

    Attributes:
        cover: (h, w) float32 0..1, how much of each pixel it covers.
        change: (h, w) float32 or one number, change of the surface's brightness in gray levels.
        tint: move in RGB in gray levels, on top of it; less on what gets darker, as all colours are there.
        keep: how much of the surface's own fine texture shows on it; 0 none, 1 all, above 1 it is rougher.
        fine: pixels of the sample (at least 3) over which a surface is averaged to tell its texture from its colour.
        light: (h, w) float32 gray levels added by light and shadow, also around the material; None for none.
        lines: None for a coat that covers the surface. A number for one that changes its finish: `keep` of the part of the
            texture that runs in lines along the surface's lay. What is no texture (`Surface.most_texture`) then stays sharp.
        hides: whether the tint is all the colour there is, and that of the surface does not show.
    """

    cover: Field
    change: Field | float
    tint: Colour = (0.0, 0.0, 0.0)
    keep: float = 0.5
    fine: float = 7.0
    light: Field | None = None
    lines: float | None = None
    hides: bool = False


def coated(
    surface: Surface, box: Box, coat: Coat, grain_seed: int, *, body: NDArray[np.bool_] | None = None, overhangs: bool = False
) -> Rendered:
    """The pixels that a coat changes on the window `box`, and their mask: the usual end of a type's rendering.

    Args:
        surface: the normal image.
        box: the window.
        coat: what lies there.
        grain_seed: of the new material's grain.
        body: (h, w) bool, the anomaly's own pixels; where the coat covers at least half of a pixel if None.
        overhangs: whether it may hang over the edge of the object, as what lies on top does; else it is on the object alone.
    """
    y0, x0, y1, x1 = box
    core = (coat.cover >= 0.5 if body is None else body).astype(np.uint8)
    changed = paint(surface, box, coat, grain_seed, overhangs)
    return finish(surface.pixels, box, changed, core, None if overhangs else surface.foreground[y0:y1, x0:x1])


def paint(surface: Surface, box: Box, coat: Coat, grain_seed: int, overhangs: bool = False) -> Image:
    """(h, w, 3) uint8 RGB: the window `box` with the coat on it; worked out on the pixels that it touches alone.

    The coat is on the object and ends with it, unless it `overhangs`.
    """
    y0, x0, y1, x1 = box
    before = surface.pixels[y0:y1, x0:x1]
    cover, light, alpha = coat.cover, coat.light, None
    if not overhangs:
        alpha, cover = surface.alpha(box), surface.faded_by_alpha(box, cover)
        light = light if light is None else surface.faded_by_alpha(box, light)
    touched = cover > 1 / 512
    if light is not None:
        touched |= np.abs(light) > 0.5
    at = np.flatnonzero(touched.ravel())
    plain = coat.tint == (0.0, 0.0, 0.0)
    channels = 1 if plain and surface.is_gray else 3  # of equal channels one will do
    side = max(odd_size(coat.fine), 3)
    smooth = cv2.blur(before, (side, side)) if overhangs else surface.smooth(box, side)
    before, smooth = before[..., :channels], smooth[..., :channels]
    # (channels, n): numpy is several times as fast along n, and at taking rows with `take`
    taken = (np.take(image.reshape(-1, channels), at, 0) for image in (before, smooth))
    pixels, base = (np.ascontiguousarray(rows.T).astype(np.float32) for rows in taken)
    most = 0.0 if coat.lines is None else surface.most_texture(box)
    if coat.lines is not None:  # an edge belongs to the surface, or it would get a halo or be blurred
        base -= pixels
        np.clip(base, -most, most, out=base)
        base += pixels
    if coat.hides and channels == 3:
        base = np.repeat((base.T @ LUMA)[None], channels, 0)
    change = np.take(coat.change, at) if isinstance(coat.change, np.ndarray) else np.full(len(at), coat.change, np.float32)
    gain, more = _recolouring(base.T, change)
    keep = _texture_kept(coat.keep, alpha, side, at)
    # recolour(base) + tint + keep * (pixels - base), with few arrays in between
    new = base * (gain - keep)
    new += keep * pixels
    new += more
    if not plain:
        tint = np.asarray(coat.tint, np.float32)[:, None]
        new += tint if coat.hides else gain * tint
    if coat.lines is not None and (lines := surface.lines(box, side, most)) is not None:
        new += (np.float32(coat.lines) - keep) * np.take(lines, at)
    fresh = max(1 - coat.keep, 0.0) * max(surface.grain, 0.3)  # texture that stays brings its own grain
    if fresh > 0.1:
        new += np.random.default_rng(grain_seed).standard_normal(len(at), np.float32) * np.float32(fresh)
    new -= pixels
    new *= np.take(cover, at)
    new += pixels
    if light is not None:
        new += np.take(light, at)
    changed = before.copy()
    rows = np.ascontiguousarray(np.clip(np.rint(new, out=new), 0, 255, out=new).astype(np.uint8).T)
    pixel = f"V{channels}"  # as one item, which numpy puts faster than a row
    changed.view(pixel).reshape(-1)[at] = rows.view(pixel).reshape(-1)
    return changed if channels == 3 else np.repeat(changed, 3, 2)


def _texture_kept(keep: float, alpha: Field | None, side: int, at: NDArray[np.int64]) -> Field:
    """() or (n,) float32: `keep`, but not above 1 near the outline of the object, which is no texture to make rougher."""
    if alpha is None or keep <= 1:
        return np.asarray(keep, np.float32)
    room = np.asarray(cv2.blur(alpha, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32).ravel()[at]
    return np.asarray(1 + np.float32(keep - 1) * np.clip(2 * room - 1, 0, 1), np.float32)


def recolour(base: Field, change: Field) -> Field:
    """(n, 3) surface colours made darker by scaling (the hue stays) or brighter by adding (bare material is paler)."""
    gain, more = _recolouring(base, change)
    return base * gain[:, None] + more[:, None]


def _recolouring(base: Field, change: Field) -> tuple[Field, Field]:
    """(n,) factors of (n, 3) colours or (n, 1) grays, and what to add to them, so that they become `recolour`."""
    luma = (base if base.shape[1] == 3 else np.repeat(base, 3, 1)) @ LUMA
    gain = 1 + np.minimum(change, 0) / np.maximum(luma, 1.0)
    return np.maximum(gain, 0), np.maximum(change, 0)


def under_its_light(surface: Surface, box: Box, place: Place, change: Field | np.float32, darkest: float) -> Field:
    """(h, w) float32 gray levels: a change of finish, given as it is around a place, as it is in all the window.

    It is in proportion to the light that falls there, at most twice, so that no shadow turns gray; and it takes no more than
    `darkest` (0 to 1) of the brightness, for what is left is the same material.
    """
    here = np.float32(max(surface.brightness_around(*place, 40 * surface.scale), 1))
    bright = surface.brightness(box, odd_size(_LIT * surface.scale))
    share = bright / here
    share = np.minimum(share, 2, out=share) * change
    bright *= np.float32(-darkest)
    return np.asarray(np.maximum(share, bright, out=share), np.float32)


def lit(height: Field, light: float) -> Field:
    """(h, w) float32: how much a height field (in pixels) leans towards the light, its slope; positive is brighter.

    A matt surface of slope s under grazing light changes its brightness in proportion to s (the linear term of Lambert's
    law), which is all that a shallow relief shows.
    """
    dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    return np.asarray(-(dx * np.float32(np.cos(light)) + dy * np.float32(np.sin(light))), np.float32)


def soften(surface: Surface, cover: Field) -> Field:
    """A coverage with edges no sharper than those of the picture."""
    return gaussian(cover, surface.softness) if surface.softness > 0.5 else cover
