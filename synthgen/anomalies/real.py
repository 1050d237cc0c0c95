"""Real defects, copied: what a user's few photographs of defects show, at other places, in other sizes and shapes.

A copy is turned as far as the surface allows (along its lay, with the rim, or freely), warped so that no outline comes twice,
and given the light and the colour of the place where it lies. It lies where its kind occurs: at the picture's border or on the
object's rim where the exemplar does, near the exemplar's own place where the product lies still, else where the surface looks
like that around the exemplar.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.anomalies.contract import AnomalyType, CountRange, PositiveRange, Range, TypeSettings
from synthgen.exemplars.exemplar import Exemplar, ExemplarSet
from synthgen.painting.blending import clip_box, finish, gaussian
from synthgen.painting.draws import log_uniform, seed, uniform
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import Field
from synthgen.painting.surface import Surface
from synthgen.samples import Box, Image, Mask

_PLACES, _PLACES_ON_RIM = 8, 16  # that are compared for each copy
_POINTS = 12  # of a side of the grid that stands for an exemplar when places are compared
_UNLIKE = 16.0  # gray levels of difference, that count one when places are compared
_OFF, _UNSEEN = 8.0, 0.5  # what counts a defect off the object, and surroundings off the picture
_LESS_AT_BORDERS = 0.2  # of the first, where the exemplar reaches the border
_SMALL = 0.004  # of the image: of smaller defects there may be several
_JITTER = 0.04  # of the object, standard deviation: how far from its exemplar's place a copy lies where the product lies still
_STAYS = 0.7  # of the copies on a product that lies still lie near their exemplar's place
_BLACK = 8.0  # gray levels added before brightnesses are compared: a sensor's black is not quite none
_MOST_GAIN = 1.7
_MOST_BENT = 5.0  # pixels of 512, standard deviation
_LINES_BENT = 1.2  # likewise, on a surface whose lines would show it
_SOFT = 1.2  # pixels of 512, standard deviation: a copy's edge


class RealSettings(TypeSettings):
    """What may be drawn for copies of real defects.

    Attributes:
        count_range: how many copies of a small defect lie in one image.
        scale_range: size over that of the exemplar; log-uniform.
        contrast_range: difference to the surface over that of the exemplar; log-uniform.
        warp_range: how far the shape is bent, over its extent.
    """

    count_range: CountRange = (1, 4)
    scale_range: PositiveRange = (0.75, 1.33)
    contrast_range: PositiveRange = (0.8, 1.25)
    warp_range: Range = (0.0, 0.04)


STRENGTHS = {
    "subtle": {"contrast_range": (0.4, 0.8)},
    "normal": {},
    "strong": {"contrast_range": (1.0, 1.6)},
}

Copy = tuple[str, str, float, float, float, float, int, float]


@dataclass(frozen=True, slots=True)
class RealParams:
    """All that is random about some copies of one kind of defect.

    `copies` are (exemplar, digest of its file, y, x, scale, turn, mirrored, gain): the middle of the copy in pixels of the
    sample, the angle in radians; `mirrored` is 1 for left and right, 2 for top and bottom, 3 for both. `bend` is how far shapes
    are bent, over their extent.
    """

    style: str
    kind: str
    copies: tuple[Copy, ...]
    bend: float
    noise_seed: int


def draw(rng: np.random.Generator, surface: Surface, settings: RealSettings) -> RealParams:
    """Parameters of some copies of one kind of defect on this surface."""
    known = _known(surface)
    kinds = list(known.by_kind)
    kind = kinds[int(rng.integers(len(kinds)))]
    first = known.exemplars[int(rng.choice(known.by_kind[kind]))]
    small = [k for k in known.by_kind[kind] if known.exemplars[k].share < _SMALL]
    low, high = settings.count_range
    count = min(low + int(rng.geometric(0.5)) - 1, high) if first.share < _SMALL else 1
    chosen = [first, *(known.exemplars[int(rng.choice(small))] for _ in range(count - 1))]
    return RealParams(
        style=settings.style,
        kind=kind,
        copies=tuple(_placed(rng, surface, exemplar, settings, known.still) for exemplar in chosen),
        bend=uniform(rng, settings.warp_range),
        noise_seed=seed(rng),
    )


def _known(surface: Surface) -> ExemplarSet:
    assert isinstance(surface.exemplars, ExemplarSet), "`real` needs exemplars"
    return surface.exemplars


def _placed(rng: np.random.Generator, surface: Surface, exemplar: Exemplar, settings: RealSettings, still: bool) -> Copy:
    """One copy: of some places and turns, the one where the surface looks most like that around the exemplar."""
    best, least, points = None, np.inf, _points(exemplar)
    for _ in range(_PLACES if exemplar.outwards is None else _PLACES_ON_RIM):
        copy = _drawn(rng, surface, exemplar, settings, still)
        cost = _unlike(surface, exemplar, points, copy)
        if cost < least:
            best, least = copy, cost
    assert best is not None
    return best


def _drawn(rng: np.random.Generator, surface: Surface, exemplar: Exemplar, settings: RealSettings, still: bool) -> Copy:
    """One copy at any place where its kind may lie."""
    height, width = surface.luma.shape
    scale, gain = log_uniform(rng, settings.scale_range), log_uniform(rng, settings.contrast_range)
    mirrored = 0 if still else int(rng.integers(4))
    stays, spread = rng.random() < _STAYS, rng.normal(0, _JITTER, 2)
    free, slack, half = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.08), rng.random() < 0.5
    if {"top", "bottom"} <= set(exemplar.sides) or {"left", "right"} <= set(exemplar.sides):
        scale = 1.0
    turn = 0.0
    y, x = surface.edge_place(rng) if exemplar.outwards is not None else surface.place(rng)
    if still and stays:
        ox, oy, object_width, object_height = cv2.boundingRect(surface.foreground)
        y = round(oy + (exemplar.place[0] + spread[0]) * object_height)
        x = round(ox + (exemplar.place[1] + spread[1]) * object_width)
    if exemplar.sides:
        y, x = _at_border(exemplar, (y, x), scale, mirrored, (height, width))
    elif still and stays:
        turn = slack
    elif exemplar.outwards is not None:
        away = _way_out(surface, y, x)
        if away is not None:
            turn = away - _mirror_angle(exemplar.outwards, mirrored) + slack
            y = round(y - exemplar.depth * scale * np.sin(away))
            x = round(x - exemplar.depth * scale * np.cos(away))
    elif surface.lay is not None and exemplar.lay is not None:
        turn = surface.lay - _mirror_angle(exemplar.lay, mirrored) + slack + (np.pi if half else 0)
    elif still:
        turn = 2 * slack
    elif surface.lay is None and exemplar.lay is None:
        turn = free
    return (exemplar.name, exemplar.sha256[:16], float(y), float(x), scale, round(float(turn), 4), mirrored, gain)


def _mirror_angle(angle: float, mirrored: int) -> float:
    """An angle (y down) in the mirrored picture."""
    if mirrored & 1:
        angle = np.pi - angle
    return -angle if mirrored & 2 else angle


def _at_border(
    exemplar: Exemplar, place: tuple[int, int], scale: float, mirrored: int, size: tuple[int, int]
) -> tuple[int, int]:
    """The middle of a copy that reaches the same borders of the picture as its exemplar, or the opposite ones if mirrored."""
    y0, x0, _, _ = exemplar.box
    cy, cx = _middle(exemplar.mask)
    along = []
    for axis, (low, high) in enumerate((("top", "bottom"), ("left", "right"))):
        middle = ((y0 + cy) if axis == 0 else (x0 + cx)) + 0.5
        whole, flipped = exemplar.size[axis], bool(mirrored & (2 if axis == 0 else 1))
        from_low, from_high = middle * scale, (whole - middle) * scale
        if low in exemplar.sides:
            along.append(size[axis] - from_low if flipped else from_low)
        elif high in exemplar.sides:
            along.append(from_high if flipped else size[axis] - from_high)
        else:
            along.append(place[axis] + 0.5)
    return round(along[0] - 0.5), round(along[1] - 0.5)


def _way_out(surface: Surface, y: int, x: int) -> float | None:
    """Angle of the way out of the object at a place on its outline; None where there is no outside."""
    reach = max(round(12 * surface.scale), 3)
    height, width = surface.luma.shape
    top, left = max(y - reach, 0), max(x - reach, 0)
    window = surface.foreground[top : min(y + reach + 1, height), left : min(x + reach + 1, width)]
    if window.all() or not window.any():
        return None
    outside, inside = np.argwhere(window == 0).mean(0), np.argwhere(window).mean(0)
    dy, dx = outside - inside
    return float(np.arctan2(dy, dx))


def _middle(mask: Mask) -> tuple[float, float]:
    """(y, x) of the middle of the box around a mask's pixels."""
    x, y, width, height = cv2.boundingRect(mask)
    return y + (height - 1) / 2, x + (width - 1) / 2


def _matrix(copy: Copy) -> NDArray[np.float64]:
    """(2, 2) from (y, x) around the exemplar's middle to (y, x) around the copy's."""
    _, _, _, _, scale, turn, mirrored, _ = copy
    c, s = np.cos(turn), np.sin(turn)
    mirror = np.diag([-1.0 if mirrored & 2 else 1.0, -1.0 if mirrored & 1 else 1.0])
    return np.asarray(scale * np.array([[c, s], [-s, c]]) @ mirror, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """A grid of places that stands for an exemplar.

    Attributes:
        away: (n, 2) float64 (y, x) from the middle of the defect.
        colours: (n, 3) float32, the photograph there, without its texture.
        defect, around, on_object: (n,) bool, whether each shows the defect, anything else, the object.
    """

    away: NDArray[np.float64]
    colours: NDArray[np.float32]
    defect: NDArray[np.bool_]
    around: NDArray[np.bool_]
    on_object: NDArray[np.bool_]


def _points(exemplar: Exemplar) -> _Points:
    h, w = exemplar.mask.shape
    step = max(h, w) / _POINTS
    ys, xs = (np.arange(step / 2, side, step).astype(int) for side in (h, w))
    at = np.ix_(ys, xs)
    grid = np.stack(np.meshgrid(ys, xs, indexing="ij"), -1).reshape(-1, 2)
    colours = cv2.blur(exemplar.pixels, (9, 9))[at].reshape(-1, 3).astype(np.float32)
    defect, around, on_object = (
        np.asarray(field[at] > 0).ravel() for field in (exemplar.mask, exemplar.unmarked, exemplar.foreground)
    )
    return _Points(grid - np.array(_middle(exemplar.mask)), colours, defect, around, on_object)


def _unlike(surface: Surface, exemplar: Exemplar, points: _Points, copy: Copy) -> float:
    """How little a place is like that of the exemplar: differences of brightness and colour, and what lies off the object."""
    rows, columns = np.rint(points.away @ _matrix(copy).T + copy[2:4]).astype(int).T
    height, width = surface.luma.shape
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    here_on_object = within & (surface.foreground[rows, columns] > 0)
    off = float((points.on_object & ~here_on_object)[points.defect].mean()) if points.defect.any() else 0.0
    if exemplar.sides:
        off *= _LESS_AT_BORDERS
    usable = points.around & within
    if not usable.any():
        return 1e6 + off
    coarse = surface.coarse
    there = coarse[rows[usable] * coarse.shape[0] // height, columns[usable] * coarse.shape[1] // width]
    unlike = float(np.abs(there - points.colours[usable]).mean()) / _UNLIKE
    unseen = 1 - int(usable.sum()) / max(int(points.around.sum()), 1)
    return unlike + _OFF * off + _UNSEEN * unseen


def render_one(surface: Surface, params: RealParams) -> Rendered:
    """The pixels that copies of real defects change."""
    by_name = {exemplar.name: exemplar for exemplar in _known(surface).exemplars}
    rng = np.random.default_rng(params.noise_seed)
    patches = []
    for copy in params.copies:
        exemplar = by_name[copy[0]]
        box = _reached(surface, exemplar, copy)
        bent = _bends(rng, surface, exemplar, params.bend)
        if box[2]:
            patches.append((box, *_copied(surface, exemplar, copy, box, bent)))
    if not patches:
        return NOTHING
    tops, lefts, bottoms, rights = zip(*(box for box, _, _ in patches), strict=True)
    whole = min(tops), min(lefts), max(bottoms), max(rights)
    y0, x0, y1, x1 = whole
    changed = surface.pixels[y0:y1, x0:x1].astype(np.float32)
    core = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for (top, left, bottom, right), cover, new in patches:
        window = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        changed[window] += cover[..., None] * (new - changed[window])
        core[window] |= (cover >= 0.9).astype(np.uint8)
    return finish(surface.pixels, whole, np.clip(np.rint(changed), 0, 255).astype(np.uint8), core)


def _reached(surface: Surface, exemplar: Exemplar, copy: Copy) -> Box:
    """The window of the picture on which a copy's window lies."""
    h, w = exemplar.mask.shape
    corners = np.array([(0, 0), (0, w), (h, 0), (h, w)]) - _middle(exemplar.mask)
    ys, xs = (corners @ _matrix(copy).T + copy[2:4]).T
    return clip_box(ys.min(), xs.min(), ys.max() + 1, xs.max() + 1, surface.luma.shape)


def _bends(rng: np.random.Generator, surface: Surface, exemplar: Exemplar, bend: float) -> NDArray[np.float32]:
    """(4, 4, 2) float32: by how many pixels of the exemplar a coarse grid of places is moved, (y, x)."""
    most = (_MOST_BENT if exemplar.lay is None else _LINES_BENT) * surface.scale
    return np.asarray(min(bend * exemplar.extent * min(exemplar.size), most) * rng.standard_normal((4, 4, 2)), np.float32)


def _copied(
    surface: Surface, exemplar: Exemplar, copy: Copy, box: Box, bent: NDArray[np.float32]
) -> tuple[Field, NDArray[np.float32]]:
    """How much of each pixel of the window the copy covers, and (h, w, 3) float32 what it looks like there."""
    rows, columns = _sources(exemplar, copy, box, bent)
    # all of the defect, however thin, and a soft edge outside it
    edge = cv2.GaussianBlur(
        exemplar.mask.astype(np.float32), (0, 0), max(_SOFT * surface.scale, 0.6), borderType=cv2.BORDER_REPLICATE
    )
    soft = np.asarray(np.maximum(np.minimum(2 * edge, 1), exemplar.mask), np.float32)

    def fetched(field: Image | Mask | Field, mode: int, border: int) -> NDArray[np.float32]:
        return np.asarray(cv2.remap(field, columns, rows, mode, borderMode=border), np.float32)

    cover = fetched(soft, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE if exemplar.sides else cv2.BORDER_CONSTANT)
    around = fetched((exemplar.unmarked & exemplar.foreground).astype(np.float32), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    pixels = np.clip(fetched(exemplar.pixels, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE), 0, 255)
    if surface.is_gray:
        pixels = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    y0, x0, y1, x1 = box
    if exemplar.outwards is None:
        cover = surface.faded_by_alpha(box, cover)
    around *= (cover < 0.01) * surface.foreground[y0:y1, x0:x1]
    here, gain = _light(surface.pixels[y0:y1, x0:x1], pixels, around)
    pixels *= gain
    return cover, here + np.float32(copy[7]) * (pixels - here)


def _sources(
    exemplar: Exemplar, copy: Copy, box: Box, bent: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(h, w) float32 rows and columns of the exemplar's window that each pixel of the box shows."""
    y0, x0, y1, x1 = box
    inverse = np.linalg.inv(_matrix(copy)).astype(np.float32)
    cy, cx = _middle(exemplar.mask)
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(copy[2]))[:, None]
    dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(copy[3]))[None, :]
    moves = cv2.resize(bent, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
    rows = inverse[0, 0] * dy + inverse[0, 1] * dx + np.float32(cy) + moves[..., 0]
    columns = inverse[1, 0] * dy + inverse[1, 1] * dx + np.float32(cx) + moves[..., 1]
    return rows, columns


def _light(there: Image, pixels: NDArray[np.float32], around: Field) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The surface's smooth colour (h, w, 3), and by what the copy's colours are multiplied to fit in.

    Both come from where both show undamaged surface, and are carried on smoothly into the defect.
    """
    h, w = around.shape
    step = max(h, w) / 32
    small = max(round(w / step), 2), max(round(h / step), 2)

    def shrunk(field: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(field, small, interpolation=cv2.INTER_AREA), np.float32)

    weight = shrunk(around)
    ours, theirs = (gaussian(shrunk(image * around[..., None]), 5.0) for image in (there.astype(np.float32), pixels))
    total = gaussian(weight, 5.0)[..., None]
    if float(total.max()) < 1e-3:  # no surface around it that both show
        mean = there.reshape(-1, 3).mean(0, dtype=np.float32)
        return np.broadcast_to(mean, there.shape), np.ones(3, np.float32)
    # far from any surroundings their mean counts
    known = total + 0.02
    means = [image.sum((0, 1)) / total.sum() for image in (ours, theirs)]
    ours, theirs = ((image + 0.02 * mean) / known for image, mean in zip((ours, theirs), means, strict=True))
    gain = np.clip((ours + _BLACK) / (theirs + _BLACK), 1 / _MOST_GAIN, _MOST_GAIN)
    here, gain = (cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR) for image in (ours, gain))
    return np.asarray(here, np.float32), np.asarray(gain, np.float32)


REAL = AnomalyType(
    name="real",
    version=1,
    settings=RealSettings,
    strengths=STRENGTHS,
    params=RealParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.7,
    smallest_contrast=3.0,
    contrast_over_texture=0.3,
    copies_real=True,
)
