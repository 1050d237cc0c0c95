"""What `logical` and `structural` share: edges are removed, replaced or drawn over, and a network draws the picture anew.

The network was trained on the normal images of the same dataset (`synthgen train edge-generator`), so what it draws looks
like them.

Numbers: LogicAL leaves the threshold and the composition open. Looked at: chosen by eye on what a generator draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from synthgen.anomalies.contract import TypeSettings
from synthgen.edges.editing import (
    Donors,
    EdgeMap,
    EdgeScene,
    EdgeShape,
    Edit,
    EditWeights,
    Placement,
    draw_edit,
    edited,
    grown,
    regions_area,
)
from synthgen.edges.pipeline import EdgeAssets, EditContext, draw_pictures, edge_pipeline, fit, fit_mask
from synthgen.edges.truth import Truth, find_truth, structural_difference, visible_change
from synthgen.painting.blending import SEEN, finish, largest_change, tighten
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.surface import Surface
from synthgen.samples import Image, Mask, NormalImage

_SEAM, _SEAM_BLUR = 2, 1.0  # pixels at the generator's size around a mask, where generated turns into real
_LEAST_ON_OBJECT = 0.5  # share of a mask
_RING = 12  # pixels around it whose colours the generated part is matched to


def at_least_one(value: tuple[float, ...]) -> tuple[float, ...]:
    """The weights, of which at least one must be greater than 0."""
    if sum(value) <= 0:
        raise ValueError("expected at least one weight greater than 0")
    return value


Weight = Annotated[float, Field(ge=0, le=1000)]
Weights = Annotated[tuple[Weight, Weight, Weight], AfterValidator(at_least_one)]


class EdgeSettings(TypeSettings):
    """What may be drawn for an edge edit.

    Attributes:
        mode: `composite` puts what has changed into the real picture; `paper` keeps the whole generated one.
        operations: weights of removing, replacing and merging.
        threshold: difference (1 - SSIM) from which on a pixel counts as changed.
        keep_difference: whether the shard keeps the difference, to draw masks with another threshold later.
    """

    @property
    def weights(self) -> dict[str, float]:
        """The operations by name."""
        return dict(zip(("remove", "replace", "merge"), self.operations, strict=True))

    mode: Literal["composite", "paper"] = "composite"
    operations: Weights = (1, 1, 1)
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    keep_difference: bool = False


@dataclass(frozen=True, slots=True)
class EdgeParams:
    """All that is random about an edge edit, and how its picture is used; see `Edit`, `EdgeShape` and `Placement`.

    `shapes` are (kind, y, x, area, aspect, turn, seed). `donor` is the path of the normal image that lends its edges.
    """

    style: str
    operation: str
    where: str
    labels: tuple[int, ...]
    shapes: tuple[tuple[str, float, float, float, float, float, int], ...]
    donor: str
    flip_x: bool
    flip_y: bool
    zoom: float
    shift_y: float
    shift_x: float
    mode: str
    threshold: float
    keep_difference: bool

    @property
    def edit(self) -> Edit:
        """The edit of the edge map."""
        placement = Placement(self.flip_x, self.flip_y, self.zoom, self.shift_y, self.shift_x)
        return Edit(
            self.operation, self.where, self.labels, tuple(EdgeShape(*shape) for shape in self.shapes), self.donor, placement
        )


def draw_with(
    rng: np.random.Generator, surface: Surface, settings: EdgeSettings, weights: EditWeights, semantic: bool
) -> EdgeParams:
    """Parameters of one edit on this surface, of its regions or of arbitrary shapes."""
    context = edit_context_of(surface)
    return params_of(draw_edit(rng, context.scene, context.donors, weights, semantic), settings)


def params_of(edit: Edit, settings: EdgeSettings) -> EdgeParams:
    """The parameters of an edit."""
    place = edit.placement
    return EdgeParams(
        style=settings.style,
        operation=edit.operation,
        where=edit.where,
        labels=edit.labels,
        shapes=tuple((s.kind, s.y, s.x, s.area, s.aspect, s.turn, s.seed) for s in edit.shapes),
        donor=edit.donor,
        flip_x=place.flip_x,
        flip_y=place.flip_y,
        zoom=place.zoom,
        shift_y=place.shift_y,
        shift_x=place.shift_x,
        mode=settings.mode,
        threshold=settings.threshold,
        keep_difference=settings.keep_difference,
    )


def render(surfaces: Sequence[Surface], params: Sequence[EdgeParams]) -> list[Rendered]:
    """What some edits change; the pictures are drawn in batches."""
    contexts = [edit_context_of(surface) for surface in surfaces]
    edits = [edited(context.scene, context.donors, drawn.edit) for context, drawn in zip(contexts, params, strict=True)]
    pictures = draw_pictures(contexts, [edges for edges, _ in edits])
    return [
        _rendered(surface, context, drawn, area, picture)
        for surface, context, drawn, (_, area), picture in zip(surfaces, contexts, params, edits, pictures, strict=True)
    ]


def render_one(surface: Surface, params: EdgeParams) -> Rendered:
    """What one edit changes."""
    return render([surface], [params])[0]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What lies between a normal image and its edit, at the generator's size.

    Attributes:
        scene: edges and regions of the normal image.
        edges: the edited edges.
        area: (h, w) uint8 {0, 1}, where they were edited.
        normal, picture: what the generator draws from both.
        truth: the difference, and the mask.
    """

    scene: EdgeScene
    edges: EdgeMap
    area: Mask
    normal: Image
    picture: Image
    truth: Truth


def steps(surface: Surface, params: EdgeParams) -> Steps:
    """One edit, step by step."""
    context = edit_context_of(surface)
    edges, area = edited(context.scene, context.donors, params.edit)
    (picture,) = draw_pictures([context], [edges])
    return Steps(context.scene, edges, area, _normal(context), picture, _truth(context, params, area, picture))


def _rendered(surface: Surface, context: EditContext, params: EdgeParams, area: Mask, picture: Image) -> Rendered:
    truth = _truth(context, params, area, picture)
    refused = truth.refused
    if not refused and params.where != "added" and context.scene.foreground[truth.mask > 0].mean() < _LEAST_ON_OBJECT:
        refused = "the edit changed the background"
    if refused:
        return replace(NOTHING, refused=refused)
    size = (surface.pixels.shape[0], surface.pixels.shape[1])
    difference = _levels(truth.difference, size) if params.keep_difference else None
    if params.mode == "paper":
        return _whole(surface, fit(picture, size), fit_mask(truth.mask, size), fit(_normal(context), size), difference)
    changed = _composite(surface.pixels, context, truth.mask, picture)
    core = fit_mask(truth.mask, size)
    part = finish(surface.pixels, (0, 0, *size), changed, core, _joined(core, surface.pixels, changed))
    return Rendered(part.box, part.patch, part.mask, difference=difference)


def _truth(context: EditContext, params: EdgeParams, area: Mask, picture: Image) -> Truth:
    removed = None
    if params.operation == "remove" and params.where == "semantic":
        removed = regions_area(context.scene, None, params.edit)
    normal = _normal(context)
    difference, change = structural_difference(normal, picture), visible_change(normal, picture)
    return find_truth(difference, change, area, removed, params.threshold)


def _whole(surface: Surface, picture: Image, mask: Mask, generated: Image, difference: NDArray[np.uint8] | None) -> Rendered:
    """The generated picture as it is; where it happens to equal the real one under the mask, it moves by one level."""
    picture = picture.copy()
    same = (mask > 0) & (largest_change(surface.pixels, picture) == 0)
    picture[same] += np.where(picture[same] < 128, 1, 255).astype(np.uint8)
    part = tighten(surface.pixels, (0, 0, *mask.shape), picture, mask)
    return Rendered(part.box, part.patch, part.mask, generated=generated, difference=difference)


def redrawn(normal: NormalImage, masks: Sequence[Mask], assets: EdgeAssets) -> list[Image]:
    """A normal image with what lies in each mask drawn by the generator, from unedited edges.

    What an edit leaves behind when nothing was edited: the generator's texture, and the seam. Who learns to find edits needs
    such images as normal ones, or learns to find these.

    Args:
        normal: the image.
        masks: (H, W) uint8 {0, 1} each, of the image's size.
        assets: the generator, and what finds edges.

    Returns:
        (H, W, 3) uint8 RGB for each mask.
    """
    pipeline = edge_pipeline(assets)
    context = EditContext(pipeline.scene(normal), Donors((), _nobody), pipeline)
    return [_composite(normal.pixels, context, fit_mask(mask, pipeline.size), _normal(context)) for mask in masks]


def _nobody(name: str) -> EdgeScene:
    raise LookupError(f"{name} lends no edges: nothing is edited here")


def _composite(pixels: Image, context: EditContext, mask: Mask, picture: Image) -> Image:
    """What has changed, put into the real picture: its colours matched around it, its seam blurred."""
    size, scale = (pixels.shape[0], pixels.shape[1]), context.scene.scale
    share = cv2.GaussianBlur(grown(mask, _SEAM * scale).astype(np.float32), (0, 0), max(_SEAM_BLUR * scale, 0.5))
    ring = grown(mask, _RING * scale) & (1 - grown(mask, _SEAM * scale))
    matched = _matched(picture, _normal(context), fit(pixels, mask.shape), ring)
    share = np.clip(cv2.resize(share, size[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)[..., None]
    new = share * fit(matched, size) + (1 - share) * pixels
    return np.where(share > 1 / 512, np.rint(new), pixels).astype(np.uint8)


def _joined(core: Mask, before: Image, after: Image) -> Mask:
    """Where pixels may change: what cannot be seen, and visible changes that hang together with the core."""
    seen = core | (largest_change(before, after) >= SEEN).astype(np.uint8)
    count, pieces = cv2.connectedComponents(seen, connectivity=8)
    joined = np.bincount(pieces.ravel(), core.ravel(), count) > 0
    joined[0] = True
    return np.asarray(joined[pieces], np.uint8)


def _matched(picture: Image, generated: Image, real: Image, ring: Mask) -> Image:
    """The picture, its colours moved by what the generated normal image lacks on average around the change (CIELAB)."""
    if not ring.any():
        return picture
    pictures = (picture, generated, real)
    lab, of_generated, of_real = (cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in pictures)
    lab += (of_real[ring > 0] - of_generated[ring > 0]).mean(0)
    return np.asarray(np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255), np.uint8)


def _levels(difference: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.rint(cv2.resize(difference, size[::-1], interpolation=cv2.INTER_NEAREST) * 255).astype(np.uint8)


def _normal(context: EditContext) -> Image:
    if context.generated is None:
        (context.generated,) = draw_pictures([context], [context.scene.edges])
    return context.generated


def edit_context_of(surface: Surface) -> EditContext:
    """What the surface's edits work with. Raises LookupError if it was prepared without."""
    if not isinstance(surface.edit_context, EditContext):
        raise LookupError("edge edits need a normal image's edges: it was prepared without")
    return surface.edit_context
