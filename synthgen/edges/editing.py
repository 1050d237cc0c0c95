"""Edits of an edge map: parts removed, replaced or drawn over, in regions of the picture (LogicAL, Eq. 1 and section 3.1).

Edge maps have 1 where there is no edge and 0 on an edge: removing writes 1, and merging adds two maps and takes 1 away, so
that only what is background in both stays background. An edit holds everything random about it; `edited` is pure.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputDataError
from synthgen.painting.draws import log_uniform, uniform, weighted_choice
from synthgen.painting.noise import fractal_noise, noise_std, permutation
from synthgen.samples import Mask

if TYPE_CHECKING:
    from synthgen.edges.regions import Regions

EdgeMap = NDArray[np.float32]
"""(h, w) float32 in [0, 1]; 1 is background, 0 an edge."""

SIDE = 256
"""Lengths in pixels are meant for pictures whose shorter side has this many, and scale with it."""

_MARGIN = 4  # pixels around a region: its outline runs along the middle of a line of 5 to 8 pixels
_FEATHER = 1.5
_TRIES = 10
_LEAST_CHANGE = 40.0  # pixels of edge drawn or wiped out
_LEAST_CHANGED_SHARE = 0.03  # of the edited area
_MOST_CHANGED_EDGES = 0.35  # of all edges of the picture: beyond it the generator loses the scene
_MOST_ON_PARTS = 0.3  # of an added part, that may lie on other parts
_REGION_AREA = (0.003, 0.30)
_MOST_SHAPE_AREA = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class EdgeScene:
    """What an edit sees of a normal image.

    Attributes:
        edges: (h, w) float32, its edge map.
        regions: its parts.
        foreground: (h, w) uint8 {0, 1}, where the object is; all ones if nothing is known.
    """

    edges: EdgeMap
    regions: "Regions"
    foreground: Mask

    @property
    def scale(self) -> float:
        """Shorter side over `SIDE`."""
        return float(min(self.edges.shape)) / SIDE


@dataclass(frozen=True, slots=True, eq=False)
class Donors:
    """The other normal images of the category, whose edges may be borrowed.

    Attributes:
        names: their names; may be empty.
        scene: gives one of them by name. Raises InputDataError if it cannot be read.
    """

    names: tuple[str, ...]
    scene: Callable[[str], EdgeScene]


@dataclass(frozen=True, slots=True)
class EdgeShape:
    """One primitive of an arbitrary region.

    Attributes:
        kind: `rectangle`, `ellipse`, `polygon`, `stroke` or `blob`.
        y, x: centre, as shares of height and width.
        area: share of the picture.
        aspect: length over width.
        turn: radians.
        seed: of a polygon's corners or a blob's noise.
    """

    kind: str
    y: float
    x: float
    area: float
    aspect: float
    turn: float
    seed: int


@dataclass(frozen=True, slots=True)
class Placement:
    """How a donor's edges are laid on the picture: mirrored, resized about the centre, then shifted (shares of the sides)."""

    flip_x: bool = False
    flip_y: bool = False
    zoom: float = 1.0
    shift_y: float = 0.0
    shift_x: float = 0.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of an edge map, with everything random about it.

    Attributes:
        operation: `remove`, `replace` or `merge`.
        where: `semantic` regions of the picture, a region of the donor that is `added`, or `arbitrary` shapes.
        labels: numbers of the regions, of the picture or (added) of the donor.
        shapes: of an arbitrary region.
        donor: whose edges are borrowed; empty if nobody's.
        placement: of the donor's edges.
    """

    operation: str
    where: str
    labels: tuple[int, ...] = ()
    shapes: tuple[EdgeShape, ...] = ()
    donor: str = ""
    placement: Placement = Placement()


@dataclass(frozen=True, slots=True)
class EditWeights:
    """How edits are drawn.

    Attributes:
        operations: weight of each operation.
        counts: weight of editing one, two, three ... regions.
        added: share of the replacing and merging edits of regions that add a part of the donor instead.
        shapes: number of primitives of an arbitrary region.
        shape_area: smallest and largest share of the picture of one primitive; log-uniform.
    """

    operations: dict[str, float]
    counts: tuple[float, ...] = (0.6, 0.3, 0.1)
    added: float = 0.3
    shapes: int = 3
    shape_area: tuple[float, float] = (0.005, 0.06)


def draw_edit(rng: np.random.Generator, scene: EdgeScene, donors: Donors, weights: EditWeights, semantic: bool) -> Edit:
    """An edit that changes enough edges to be seen, and not so many that the picture falls apart.

    Args:
        rng: where the numbers come from.
        scene: the picture to edit.
        donors: may be empty: then nothing can be borrowed, and edges are only removed.
        weights: how often what is drawn.
        semantic: whether regions of the picture are edited, or else arbitrary shapes. Without regions, always shapes.
    """
    semantic = semantic and scene.regions.available
    for _ in range(_TRIES):
        edit = _semantic(rng, scene, donors, weights) if semantic else _arbitrary(rng, scene, donors, weights)
        if edit is not None and _is_useful(scene, *edited(scene, donors, edit)):
            return edit
    return _surest(scene, semantic)


def edited(scene: EdgeScene, donors: Donors, edit: Edit) -> tuple[EdgeMap, Mask]:
    """The edited edge map and the (h, w) uint8 {0, 1} area that was edited."""
    donor = donors.scene(edit.donor) if edit.donor else None
    area = edited_area(scene, donor, edit)
    if donor is None:
        return np.where(area > 0, np.float32(1), scene.edges), area
    borrowed = place(donor.edges, edit.placement, outside=1.0)
    new = borrowed if edit.operation == "replace" else np.clip(borrowed + scene.edges - 1, 0, 1)
    # a hard seam through the lines of two pictures would itself be drawn
    share = cv2.GaussianBlur(area.astype(np.float32), (0, 0), _FEATHER * scene.scale)
    return np.asarray(share * new + (1 - share) * scene.edges, np.float32), area


def edited_area(scene: EdgeScene, donor: EdgeScene | None, edit: Edit) -> Mask:
    """(h, w) uint8 {0, 1}: the shapes; or the regions and a margin, without which their outline would be drawn again."""
    if edit.where == "arbitrary":
        return shapes_area(edit.shapes, scene.edges.shape)
    return grown(regions_area(scene, donor, edit), _MARGIN * scene.scale)


def regions_area(scene: EdgeScene, donor: EdgeScene | None, edit: Edit) -> Mask:
    """(h, w) uint8 {0, 1}: the picture's regions of an edit, or the donor's where they are laid."""
    owner = donor if edit.where == "added" and donor is not None else scene
    chosen = np.isin(owner.regions.labels, edit.labels).astype(np.float32)
    if owner is scene:
        return chosen.astype(np.uint8)
    return (place(chosen, edit.placement, outside=0.0) > 0.5).astype(np.uint8)


def place(values: NDArray[np.float32], placement: Placement, outside: float) -> NDArray[np.float32]:
    """(h, w) float32 mirrored, resized about the centre and shifted; what comes from outside is `outside`."""
    height, width = values.shape
    zoom_x = placement.zoom * (-1 if placement.flip_x else 1)
    zoom_y = placement.zoom * (-1 if placement.flip_y else 1)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    matrix = np.array(
        [
            [zoom_x, 0, middle_x * (1 - zoom_x) + placement.shift_x * width],
            [0, zoom_y, middle_y * (1 - zoom_y) + placement.shift_y * height],
        ]
    )
    moved = cv2.warpAffine(values, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=outside)
    return np.asarray(moved, np.float32)


def shapes_area(shapes: Sequence[EdgeShape], size: tuple[int, ...]) -> Mask:
    """(h, w) uint8 {0, 1}: the union of some primitives."""
    area = np.zeros(size[:2], np.uint8)
    for shape in shapes:
        area |= _drawn(shape, size)
    return area


def grown(mask: Mask, radius: float) -> Mask:
    """`mask` dilated by a disc of some pixels."""
    side = 2 * round(radius) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.uint8)


def _semantic(rng: np.random.Generator, scene: EdgeScene, donors: Donors, weights: EditWeights) -> Edit | None:
    operation = weighted_choice(rng, weights.operations) if donors.names else "remove"
    adds = bool(rng.random() < weights.added) and operation != "remove"
    if adds:
        return _added(rng, scene, donors, operation)
    labels = _some_regions(rng, scene.regions, weights.counts)
    donor = _donor(rng, donors) if operation != "remove" else None
    if donor is None:
        return Edit("remove", "semantic", labels)
    return Edit(operation, "semantic", labels, donor=donor, placement=_placement(rng))


def _added(rng: np.random.Generator, scene: EdgeScene, donors: Donors, operation: str) -> Edit | None:
    """A part of the donor, laid where the picture shows none: an extra component."""
    name = _donor(rng, donors)
    if name is None or not (donor := donors.scene(name)).regions.available:
        return None
    label = int(rng.integers(1, len(donor.regions) + 1))
    plain = _placement(rng)
    ys, xs = np.nonzero(donor.regions.labels == label)
    free = _free_places(scene)
    if not len(free):
        return None
    y, x = free[int(rng.integers(len(free)))]
    # the part's centre comes to lie on the place
    height, width = scene.edges.shape
    from_y, from_x = (ys.mean() - (height - 1) / 2) * plain.zoom, (xs.mean() - (width - 1) / 2) * plain.zoom
    from_y, from_x = (-from_y if plain.flip_y else from_y), (-from_x if plain.flip_x else from_x)
    shift_y = round(float((y - (height - 1) / 2 - from_y) / height), 4)
    shift_x = round(float((x - (width - 1) / 2 - from_x) / width), 4)
    placement = Placement(plain.flip_x, plain.flip_y, plain.zoom, shift_y, shift_x)
    edit = Edit(operation, "added", (label,), donor=name, placement=placement)
    inside = regions_area(scene, donor, edit) > 0
    # most of it must still be in the picture, and not on other parts
    whole = len(ys) * plain.zoom**2
    if inside.sum() < 0.7 * whole or (scene.regions.labels[inside] > 0).mean() > _MOST_ON_PARTS:
        return None
    return edit


def _free_places(scene: EdgeScene) -> NDArray[np.intp]:
    """(n, 2) rows and columns between the parts: in their bounding box, on none of them."""
    labels = scene.regions.labels
    x, y, width, height = cv2.boundingRect((labels > 0).astype(np.uint8))
    free: NDArray[np.intp] = np.argwhere(labels[y : y + height, x : x + width] == 0) + np.array([y, x])
    return free


def _arbitrary(rng: np.random.Generator, scene: EdgeScene, donors: Donors, weights: EditWeights) -> Edit | None:
    operation = weighted_choice(rng, weights.operations) if donors.names else "remove"
    inside = np.argwhere(scene.foreground > 0)
    if not len(inside):  # too thin to be seen at this size
        inside = np.argwhere(scene.foreground == 0)
    shapes = tuple(_shape(rng, inside, scene.foreground.shape, weights.shape_area) for _ in range(weights.shapes))
    if shapes_area(shapes, scene.edges.shape).mean() > _MOST_SHAPE_AREA:
        return None
    donor = _donor(rng, donors) if operation != "remove" else None
    if donor is None:
        return Edit("remove", "arbitrary", shapes=shapes)
    return Edit(operation, "arbitrary", shapes=shapes, donor=donor, placement=_placement(rng))


def _surest(scene: EdgeScene, semantic: bool) -> Edit:
    """The edit of last resort: what has the most edges is removed."""
    ink = 1 - scene.edges
    if semantic:
        sums = np.bincount(scene.regions.labels.ravel(), ink.ravel(), len(scene.regions) + 1)
        return Edit("remove", "semantic", (1 + int(sums[1:].argmax()),))
    side = int(0.2 * min(ink.shape)) | 1
    richest = cv2.blur(ink * scene.foreground, (side, side), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(richest.argmax()), ink.shape)
    centre = {"y": round(y / ink.shape[0], 4), "x": round(x / ink.shape[1], 4)}
    shape = EdgeShape(kind="ellipse", **centre, area=0.03, aspect=1.0, turn=0.0, seed=0)
    return Edit("remove", "arbitrary", shapes=(shape,))


def _is_useful(scene: EdgeScene, new: EdgeMap, area: Mask) -> bool:
    change = float(np.abs(new - scene.edges)[area > 0].sum())
    least = max(_LEAST_CHANGE * scene.scale**2, _LEAST_CHANGED_SHARE * int(area.sum()))
    return least <= change <= _MOST_CHANGED_EDGES * float((1 - scene.edges).sum())


def _some_regions(rng: np.random.Generator, regions: "Regions", counts: Sequence[float]) -> tuple[int, ...]:
    """One or more regions, of a total area within limits if a few draws find that."""
    share = regions.areas / regions.labels.size
    chosen: tuple[int, ...] = ()
    for _ in range(_TRIES):
        count = min(int(weighted_choice(rng, {str(k): weight for k, weight in enumerate(counts, start=1)})), len(regions))
        chosen = tuple(sorted(1 + int(k) for k in rng.choice(len(regions), count, replace=False)))
        if _REGION_AREA[0] <= sum(share[label - 1] for label in chosen) <= _REGION_AREA[1]:
            break
    return chosen


def _shape(rng: np.random.Generator, inside: NDArray[np.intp], size: tuple[int, ...], areas: tuple[float, float]) -> EdgeShape:
    y, x = inside[int(rng.integers(len(inside)))]
    return EdgeShape(
        kind=("rectangle", "ellipse", "polygon", "stroke", "blob")[int(rng.integers(5))],
        y=round(float(y) / size[0], 4),
        x=round(float(x) / size[1], 4),
        area=log_uniform(rng, areas),
        aspect=log_uniform(rng, (0.2, 5.0)),
        turn=uniform(rng, (0, float(np.pi))),
        seed=int(rng.integers(2**32)),
    )


def _drawn(shape: EdgeShape, size: tuple[int, ...]) -> Mask:
    height, width = size[:2]
    pixels = shape.area * height * width
    long, short = np.sqrt(pixels * shape.aspect), np.sqrt(pixels / shape.aspect)
    centre = np.array([shape.x * width, shape.y * height])
    area = np.zeros((height, width), np.uint8)
    rng = np.random.default_rng(shape.seed)
    if shape.kind == "blob":
        return _blob(rng, centre, pixels, (height, width))
    if shape.kind == "stroke":
        long, short = np.sqrt(pixels * 20), np.sqrt(pixels / 20)
    if shape.kind == "ellipse":
        around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        corners = np.stack([np.cos(around) * long, np.sin(around) * short], 1) / np.sqrt(np.pi)
    elif shape.kind == "polygon":
        around = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 9))))
        corners = np.stack([np.cos(around) * long, np.sin(around) * short], 1) / np.sqrt(2.4)
    else:
        corners = np.array([[-long, -short], [long, -short], [long, short], [-long, short]]) / 2
    turn = np.array([[np.cos(shape.turn), -np.sin(shape.turn)], [np.sin(shape.turn), np.cos(shape.turn)]])
    cv2.fillPoly(area, [np.rint(corners @ turn.T + centre).astype(np.int32)], 1)
    return area


def _blob(rng: np.random.Generator, centre: NDArray[np.float64], pixels: float, size: tuple[int, int]) -> Mask:
    """Where noise that fades with the distance from the centre is highest: as many pixels as the shape has."""
    radius = np.sqrt(pixels / np.pi)
    y, x = np.ogrid[: size[0], : size[1]]
    field = fractal_noise(size, 1.5 * radius, permutation(rng), 2) / noise_std(2)
    field -= (((y - centre[1]) ** 2 + (x - centre[0]) ** 2) / radius**2).astype(np.float32)
    count = max(round(pixels), 1)
    level = np.partition(field.ravel(), -count)[-count]
    return np.asarray(field >= level, np.uint8)


def _placement(rng: np.random.Generator) -> Placement:
    return Placement(
        flip_x=bool(rng.random() < 0.5),
        flip_y=bool(rng.random() < 0.25),
        zoom=uniform(rng, (0.6, 1.5)),
        shift_y=uniform(rng, (-0.1, 0.1)),
        shift_x=uniform(rng, (-0.1, 0.1)),
    )


def _donor(rng: np.random.Generator, donors: Donors) -> str | None:
    """One of the donors that can be read; with others beside it, it is still the same one unless one of those comes first."""
    key = int(rng.integers(2**63))
    for name in sorted(donors.names, key=lambda name: hashlib.sha256(f"{key}\n{name}".encode()).digest()):
        with suppress(InputDataError):  # the build reports it where its own samples are missing
            donors.scene(name)
            return name
    return None
