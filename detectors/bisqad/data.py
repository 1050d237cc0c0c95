"""What BiSQAD trains on, computed once for all seeds: features of normal images, of anomalies, and of held-out images.

The backbone is frozen and nothing is augmented, so an image has the same features in every epoch.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectors.bisqad.model import BiSQAD, choose_channels
from detectors.caching import FeatureCache, batches
from detectors.data import TrainingData
from detectors.training import Options
from synthgen.errors import InputDataError
from synthgen.samples import Image, Mask, Sample
from synthgen.training.devices import Compute, memory_errors

_BATCH = 8
_CHOOSING_BATCHES = 64  # RealNet's


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An image that is evaluated again and again while training."""

    name: str
    label: int
    kind: str
    image: Image
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A category's training data.

    Attributes:
        shapes: (C, h, w) of each level; rows of the caches are all levels one after the other.
        normals: features of the training images.
        learned: features of the anomalies made of them.
        normal_of: (K,) int64, which training image each anomaly was made of.
        masks: (K, S, S) bool.
        pooled: (K, D) float32, the anomalies' mean features, from which their quality is estimated.
        ids: the anomalies' sample ids.
        watched: features of the held-out images and of the anomalies made of them.
        images: what `watched` are of.
    """

    shapes: tuple[tuple[int, ...], ...]
    normals: FeatureCache
    learned: FeatureCache
    normal_of: Tensor
    masks: Tensor
    pooled: Tensor
    ids: tuple[str, ...]
    watched: FeatureCache
    images: tuple[Kept, ...]

    def levels(self, rows: Tensor) -> list[Tensor]:
        """(B, C, h, w) of each level, of (B, L) rows of a cache."""
        parts = torch.split(rows, [int(np.prod(shape)) for shape in self.shapes], 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


@contextmanager
def prepared(model: BiSQAD, data: TrainingData, compute: Compute, options: Options, folder: Path) -> Iterator[Prepared]:
    """Choose the channels that show anomalies, and compute all features; what is kept in files is removed at the end.

    Raises:
        InputDataError: there are no anomalies to learn from.
    """
    fit = data.reading.fit
    accepted = [number for number, sample in enumerate(data.learned) if sample.label]
    if not accepted:
        raise InputDataError(
            f"{data.dataset}/{data.category}: no anomaly could be made of its training images; `synthgen plan` and a small "
            "`synthgen build` say why. Shards that were built with --max-rejected have the same trouble."
        )
    with memory_errors("while computing features"):
        model.features.select(choose_channels(_pairs(model, data, accepted, compute), model.config.channels))
        with torch.inference_mode():
            size = data.reading.size
            levels = model.features(torch.zeros(1, 3, size, size, device=compute.device))
        shapes = tuple(tuple(level.shape[1:]) for level in levels)
        length = sum(int(np.prod(shape)) for shape in shapes)
        kept = tuple(_kept(data))
        caches = [
            FeatureCache(count, (length,), compute.device, options.cache, folder)
            for count in (len(data.normals), len(accepted), len(kept))
        ]
        try:
            fill(caches[0], model, (fit(one.pixels) for one in data.normals), compute)
            masks = torch.zeros(len(accepted), data.reading.size, data.reading.size, dtype=torch.bool)
            ids: list[str] = []

            def anomalies() -> Iterator[Image]:
                for row, number in enumerate(accepted):
                    sample = data.learned[number]
                    masks[row] = torch.from_numpy(data.reading.fit_mask(sample.mask) > 0)
                    ids.append(sample.spec.sample_id)
                    yield fit(sample.image)

            pooled = fill(caches[1], model, anomalies(), compute)
            fill(caches[2], model, (one.image for one in kept), compute)
            normal_of = torch.tensor([data.learned_of[number] for number in accepted])
            yield Prepared(shapes, caches[0], caches[1], normal_of, masks, pooled, tuple(ids), caches[2], kept)
        finally:
            for cache in caches:
                cache.close()


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
    model: BiSQAD, data: TrainingData, accepted: Sequence[int], compute: Compute
) -> Iterator[tuple[list[Tensor], list[Tensor], Tensor]]:
    """Features of anomalies and of their normal images, and masks; of evenly chosen samples."""
    count = min(len(accepted), _CHOOSING_BATCHES * _BATCH)
    chosen = [accepted[k] for k in np.linspace(0, len(accepted) - 1, count).round().astype(int)]
    with torch.inference_mode(), compute.autocast():
        for start in range(0, count, _BATCH):
            samples: list[Sample] = [data.learned[number] for number in chosen[start : start + _BATCH]]
            found = []
            for pictures in ([one.normal for one in samples], [one.image for one in samples]):
                stacked = torch.from_numpy(np.stack([data.reading.fit(picture) for picture in pictures]))
                found.append([level.float() for level in model.features.all_channels(to_input(stacked, compute))])
            masks = torch.from_numpy(np.stack([data.reading.fit_mask(one.mask) for one in samples]))
            yield found[0], found[1], masks.to(compute.device)


def _kept(data: TrainingData) -> Iterator[Kept]:
    for one in data.held_out:
        image = data.reading.fit(one.pixels)
        yield Kept(one.source, 0, "good", image, np.zeros(image.shape[:2], np.uint8))
    for sample in data.anomalies:
        spec: Any = sample.spec
        yield Kept(spec.sample_id, 1, spec.type, data.reading.fit(sample.image), data.reading.fit_mask(sample.mask))
