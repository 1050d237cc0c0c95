"""What BiSQAD trains on, computed once for all seeds: features of normal images, of anomalies, and of held-out images.

The backbone is frozen and nothing is augmented, so an image has the same features in every epoch.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detectors.bisqad.model import BiSQAD, choose_channels
from detectors.contract import TrainingOptions
from detectors.data.feature_cache import FeatureCache, batches, choose_where
from detectors.data.held_out import HeldOutImage, held_out_images
from detectors.data.training_data import TrainingData
from synthgen.errors import InputDataError
from synthgen.runs.devices import Compute, memory_errors
from synthgen.samples import Image, Mask

_BATCH = 8
_CHOOSING_BATCHES = 64  # RealNet's


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CachedFeatures:
    """A category's training data.

    Attributes:
        shapes: (C, h, w) of each level; rows of the caches are all levels one after the other.
        normals: features of the training images.
        learned: features of the anomalies made of them.
        normal_of: (K,) int64, which training image each anomaly was made of.
        masks: (K, S, S) bool.
        pooled: (K, D) float32, the anomalies' mean features, from which their quality is estimated.
        ids: the anomalies' sample ids.
        held_out: features of the held-out images and of the anomalies made of them.
        images: what `held_out` are of.
    """

    shapes: tuple[tuple[int, ...], ...]
    normals: FeatureCache
    learned: FeatureCache
    normal_of: Tensor
    masks: Tensor
    pooled: Tensor
    ids: tuple[str, ...]
    held_out: FeatureCache
    images: tuple[HeldOutImage, ...]

    def levels(self, rows: Tensor) -> list[Tensor]:
        """(B, C, h, w) of each level, of (B, L) rows of a cache."""
        parts = torch.split(rows, [int(np.prod(shape)) for shape in self.shapes], 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


@contextmanager
def prepare(model: BiSQAD, data: TrainingData, options: TrainingOptions, folder: Path) -> Iterator[CachedFeatures]:
    """Choose the channels that show anomalies, and compute all features; what is kept in files is removed at the end.

    Raises:
        InputDataError: there are no anomalies to learn from.
    """
    fit, compute = data.preprocessing.fit, options.compute
    anomalies = _accepted(data)
    if not anomalies.images:
        raise InputDataError(
            f"{data.dataset}/{data.category}: no anomaly could be made of its training images; `synthgen plan` and a small "
            "`synthgen build` say why."
        )
    with memory_errors("while computing features"), contextlib.ExitStack() as stack:
        model.features.select(choose_channels(_pairs(model, data, anomalies, compute), model.config.channels))
        with torch.inference_mode():
            levels = model.features(torch.zeros(1, 3, *data.preprocessing.size, device=compute.device))
        shapes = tuple(tuple(level.shape[1:]) for level in levels)
        length = (sum(int(np.prod(shape)) for shape in shapes),)
        images = held_out_images(data)
        counts = (len(data.normals), len(anomalies.images), len(images))
        where = choose_where(options.cache, sum(counts), length, compute.device)
        caches = []
        for count in counts:
            caches.append(FeatureCache(count, length, compute.device, where, folder))
            stack.callback(caches[-1].close)
        fill(caches[0], model, (fit(normal.pixels) for normal in data.normals), compute)
        pooled = fill(caches[1], model, anomalies.images, compute)
        fill(caches[2], model, (image.image for image in images), compute)
        yield CachedFeatures(
            shapes=shapes,
            normals=caches[0],
            learned=caches[1],
            normal_of=torch.tensor(anomalies.normal_of),
            masks=torch.from_numpy(np.stack(anomalies.masks) > 0),
            pooled=pooled,
            ids=tuple(anomalies.ids),
            held_out=caches[2],
            images=images,
        )


@dataclass(slots=True)
class _Anomalies:
    """The accepted anomalies as the network sees them, their masks, ids, and the number of the image each was made of."""

    images: list[Image] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    normal_of: list[int] = field(default_factory=list)


def _accepted(data: TrainingData) -> _Anomalies:
    anomalies = _Anomalies()
    for sample, number in zip(data.learned, data.learned_of, strict=True):
        if sample.label:
            anomalies.images.append(data.preprocessing.fit(sample.image))
            anomalies.masks.append(data.preprocessing.fit_mask(sample.mask))
            anomalies.ids.append(sample.spec.sample_id)
            anomalies.normal_of.append(number)
    return anomalies


def fill(cache: FeatureCache, model: BiSQAD, images: Iterable[Image], compute: Compute) -> Tensor:
    """Write the features of (S, S, 3) uint8 images; their pooled features (N, D) float32 on the CPU."""
    pooled = [torch.zeros(0, sum(model.features.backbone.channels))]
    with torch.inference_mode(), compute.autocast():
        for batch in batches((torch.from_numpy(image) for image in images), _BATCH):
            every = model.features.all_channels(to_input(batch, compute))
            cache.append(torch.cat([level.flatten(1).float() for level in model.features.chosen(every)], 1))
            pooled.append(pool(every))
    return torch.cat(pooled)


def pool(levels: Sequence[Tensor]) -> Tensor:
    """(B, D) float32 on the CPU: the mean of each channel of each level."""
    return torch.cat([level.float().mean((2, 3)) for level in levels], 1).cpu()


def to_input(images: Tensor, compute: Compute) -> Tensor:
    """(B, S, S, 3) uint8 as the network takes it: (B, 3, S, S) float32 on the device."""
    return images.to(compute.device, non_blocking=True).permute(0, 3, 1, 2).float()


def _pairs(
    model: BiSQAD, data: TrainingData, anomalies: _Anomalies, compute: Compute
) -> Iterator[tuple[list[Tensor], list[Tensor], Tensor]]:
    """Features of normal images and of anomalies made of them, and masks; of evenly chosen samples."""
    last, count = len(anomalies.images) - 1, min(len(anomalies.images), _CHOOSING_BATCHES * _BATCH)
    chosen = np.linspace(0, last, count).round().astype(int).tolist()

    def features(pictures: list[Image]) -> list[Tensor]:
        stacked = to_input(torch.from_numpy(np.stack(pictures)), compute)
        return [level.float() for level in model.features.all_channels(stacked)]

    with torch.inference_mode(), compute.autocast():
        for start in range(0, count, _BATCH):
            batch = chosen[start : start + _BATCH]
            normals = [data.preprocessing.fit(data.normals[anomalies.normal_of[k]].pixels) for k in batch]
            masks = torch.from_numpy(np.stack([anomalies.masks[k] for k in batch])).to(compute.device)
            yield features(normals), features([anomalies.images[k] for k in batch]), masks
