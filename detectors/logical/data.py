"""What LogicAL's localizer trains on, kept in memory as bytes: normal images with their targets, and what anomalies change."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.contract import TrainingOptions
from detectors.data.held_out import HeldOutImage, held_out_images
from detectors.data.training_data import TrainingData
from detectors.logical.config import LogicalConfig
from detectors.logical.jnd import VERSION, jnd_map, normalised
from detectors.logical.model import LogicAL
from synthgen import cache
from synthgen.anomalies.edge_edit import redrawn
from synthgen.anomalies.registry import TYPES
from synthgen.edges.detector import make_detector
from synthgen.errors import InputDataError
from synthgen.runs.steps import generator, order
from synthgen.samples import Box, Image, Mask, NormalImage

Plane = NDArray[np.uint8]
"""(H, W) uint8, 255ths."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What an anomaly changes in its normal image, as the network sees them.

    Attributes:
        normal: number of the normal image.
        box: where; everything lies in it.
        image: (h, w, 3) uint8 RGB, the anomaly.
        mask: (h, w) uint8 {0, 1}.
        generated: (h, w, 3) uint8 RGB, the same place drawn by the edge generator from unedited edges; None where there is no
            generator or the anomaly is not its.
    """

    normal: int
    box: Box
    image: Image
    mask: Mask
    generated: Image | None


@dataclass(frozen=True, slots=True, eq=False)
class LogicalData:
    """A category's training data.

    Attributes:
        normals: (N, H, W, 3) uint8 RGB.
        jnd: (N, H, W) uint8, their just noticeable differences.
        edges: (N, H, W) uint8, strengths of their edges.
        patches: the anomalies made of them.
        images: the held-out images and the anomalies made of them.
    """

    normals: NDArray[np.uint8]
    jnd: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    patches: tuple[Patch, ...]
    images: tuple[HeldOutImage, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StepImages:
    """A step's images, on the CPU, as bytes.

    Attributes:
        inputs: (B, H, W, 3) uint8 RGB.
        masks: (B, H, W) uint8 {0, 1}.
        rows: (B,) numbers of the normal images that the networks should see in them.
    """

    inputs: Tensor
    masks: Tensor
    rows: Tensor


@contextmanager
def prepare(model: LogicAL, data: TrainingData, options: TrainingOptions, folder: Path) -> Iterator[LogicalData]:
    """Work out targets and anomalies of a category's images; targets come from the cache if they are known.

    Args:
        model: not needed.
        data: the category.
        options: where edges are found, and which, and the edge generator.
        folder: not needed.

    Raises:
        InputDataError: there are no anomalies to learn from.
    """
    originals = list(data.normals)
    normals = [replace(normal, pixels=data.preprocessing.fit(normal.pixels)) for normal in originals]
    patches = _patches(data, originals, normals, options)
    if not patches:
        raise InputDataError(
            f"{data.dataset}/{data.category}: no anomaly could be made of its training images; `synthgen plan` and a small "
            "`synthgen build` say why."
        )
    edges = edge_targets(normals, options.pidinet, str(options.compute.device))
    yield LogicalData(
        np.stack([normal.pixels for normal in normals]), np.stack(jnd_targets(normals)), np.stack(edges), patches,
        held_out_images(data),
    )  # fmt: skip


def jnd_targets(normals: Sequence[NormalImage]) -> list[Plane]:
    """Just noticeable differences, 20 gray levels and more as 255."""

    def work_out(normal: NormalImage) -> Plane:
        return np.rint(255 * normalised(jnd_map(normal.pixels))).astype(np.uint8)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda normal: _known("jnd", str(VERSION), normal, work_out), normals))


def edge_targets(normals: Sequence[NormalImage], pidinet: Path | None, device: str) -> list[Plane]:
    """Strengths of edges: PiDiNet's first side output, or gradients' without its weights."""
    detector = make_detector(pidinet, device)

    def work_out(normal: NormalImage) -> Plane:
        (edges,) = detector.detect([normal.pixels])
        return np.asarray(255 - edges.fine, np.uint8)

    key = f"{detector.name}-{detector.sha256}-{device.partition(':')[0]}"
    return [_known("edge-targets", key, normal, work_out) for normal in normals]


def _known(kind: str, key: str, normal: NormalImage, make: Callable[[NormalImage], Plane]) -> Plane:
    """A plane of an image from the cache, or made and put there."""
    shape = normal.pixels.shape[:2]
    place = cache.entry(kind, key, normal)
    data = cache.load(place)
    if data is None or len(data) != shape[0] * shape[1]:
        data = np.ascontiguousarray(make(normal)).tobytes()
        cache.store(place, data)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _patches(
    data: TrainingData, originals: Sequence[NormalImage], normals: Sequence[NormalImage], options: TrainingOptions
) -> tuple[Patch, ...]:
    """What each accepted anomaly changes, with its place redrawn where the generator has drawn it."""
    patches: list[Patch] = []
    fit, assets = data.preprocessing.fit, options.edge_assets
    for number, group in groupby(zip(data.learned_of, data.learned, strict=True), lambda pair: pair[0]):
        samples = [sample for _, sample in group if sample.label]
        unedited = {id(sample): sample.generated for sample in samples}
        if assets is not None:  # what the generator leaves behind where it edits nothing
            put_in = [sample for sample in samples if sample.generated is None and TYPES[sample.spec.type].edits_edges]
            redraws = redrawn(originals[number], [sample.mask for sample in put_in], assets) if put_in else []
            unedited |= {id(sample): image for sample, image in zip(put_in, redraws, strict=True)}
        for sample in samples:
            generated, mask = unedited[id(sample)], data.preprocessing.fit_mask(sample.mask)
            if mask.any():
                generated = None if generated is None else fit(generated)
                patches.append(_patch(number, normals[number].pixels, fit(sample.image), mask, generated))
    return tuple(patches)


def _patch(number: int, before: Image, after: Image, mask: Mask, generated: Image | None) -> Patch:
    y0, x0, y1, x1 = box = _box((after != before).any(-1) | (mask > 0))
    redraw = None if generated is None else generated[y0:y1, x0:x1].copy()
    return Patch(number, box, after[y0:y1, x0:x1].copy(), mask[y0:y1, x0:x1].copy(), redraw)


def _box(marked: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def batches(data: LogicalData, config: LogicalConfig, seed: int, epoch: int) -> Iterator[StepImages]:
    """The steps of an epoch: each normal image once, as it is, with an anomaly, or with a place redrawn (Zhao, 2024).

    The paper does not say how a batch is mixed. Without images that show the generator's texture and no anomaly, the texture
    is the anomaly; without real ones, test images are unlike all that was learned.

    Args:
        data: what to train on.
        config: batch size and shares.
        seed: of the training.
        epoch: counted from 1.
    """
    choice = _Choice(data, generator(seed, "anomalies", epoch))
    steps = -(-len(data.normals) // config.batch_size)
    for rows in torch.tensor_split(order(len(data.normals), seed, epoch), steps):  # nearly equal: no batch of one image
        anomalies = round(len(rows) * config.anomaly_share)
        redraws = round(len(rows) * config.generated_share)
        items = [
            choice.anomaly(row) if k < anomalies else choice.redrawn(row) if k < anomalies + redraws else choice.normal(row)
            for k, row in enumerate(rows.tolist())
        ]
        inputs, masks, numbers = zip(*items, strict=True)
        yield StepImages(torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(masks)), torch.tensor(numbers))


Item = tuple[Image, Mask, int]
"""An input, its mask, and the number of its normal image."""


class _Choice:
    """Draws the inputs of an epoch."""

    def __init__(self, data: LogicalData, random: torch.Generator) -> None:
        self.data, self.random = data, random
        self.of: dict[int, list[Patch]] = {}
        for patch in data.patches:
            self.of.setdefault(patch.normal, []).append(patch)
        self.redrawable = [patch for patch in data.patches if patch.generated is not None]

    def normal(self, row: int) -> Item:
        image = self.data.normals[row]
        return image, np.zeros(image.shape[:2], np.uint8), row

    def anomaly(self, row: int) -> Item:
        """One of this image's, or of another's if it has none."""
        patch = self._any(self.of.get(row) or self.data.patches)
        image, mask, row = self.normal(patch.normal)
        y0, x0, y1, x1 = patch.box
        mask[y0:y1, x0:x1] = patch.mask
        return _with(image, patch.box, patch.image), mask, row

    def redrawn(self, row: int) -> Item:
        """The image, drawn by the generator where one of its anomalies would be."""
        of_image = [patch for patch in self.of.get(row, ()) if patch.generated is not None]
        if not of_image and not self.redrawable:
            return self.normal(row)
        patch = self._any(of_image or self.redrawable)
        assert patch.generated is not None
        image, mask, row = self.normal(patch.normal)
        return _with(image, patch.box, patch.generated), mask, row

    def _any(self, patches: Sequence[Patch]) -> Patch:
        return patches[int(torch.randint(len(patches), (), generator=self.random))]


def _with(image: Image, box: Box, part: Image) -> Image:
    y0, x0, y1, x1 = box
    changed = image.copy()
    changed[y0:y1, x0:x1] = part
    return changed
