"""What BiSQAD trains on, computed once for all seeds: features of normal images, of anomalies, and of held-out images.

The backbone is frozen and nothing is augmented, so an image has the same features in every epoch.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detectors.bisqad.model import BiSQAD, choose_channels
from detectors.data.feature_cache import FeatureCache, batches, choose_where
from detectors.data.held_out import HeldOutImage, held_out
from detectors.data.training_data import TrainingData
from detectors.training.options import Options
from synthgen.errors import InputDataError
from synthgen.runs.devices import Compute, memory_errors
from synthgen.samples import Image, Mask

_BATCH = 8
_CHOOSING_BATCHES = 64  # RealNet's


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
    images: tuple[HeldOutImage, ...]

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
    fit, (height, width) = data.preprocessing.fit, data.preprocessing.size
    learned, masks, ids, normal_of = _learned(data)
    if not learned:
        raise InputDataError(
            f"{data.dataset}/{data.category}: no anomaly could be made of its training images; `synthgen plan` and a small "
            "`synthgen build` say why."
        )
    with memory_errors("while computing features"), contextlib.ExitStack() as stack:
        model.features.select(choose_channels(_pairs(model, data, learned, masks, normal_of, compute), model.config.channels))
        with torch.inference_mode():
            levels = model.features(torch.zeros(1, 3, height, width, device=compute.device))
        shapes = tuple(tuple(level.shape[1:]) for level in levels)
        length = (sum(int(np.prod(shape)) for shape in shapes),)
        kept = held_out(data)
        counts = (len(data.normals), len(learned), len(kept))
        where = choose_where(options.cache, sum(counts), length, compute.device)
        caches = []
        for count in counts:
            caches.append(FeatureCache(count, length, compute.device, where, folder))
            stack.callback(caches[-1].close)
        fill(caches[0], model, (fit(one.pixels) for one in data.normals), compute)
        pooled = fill(caches[1], model, learned, compute)
        fill(caches[2], model, (one.image for one in kept), compute)
        yield Prepared(
            shapes, caches[0], caches[1], torch.tensor(normal_of), torch.from_numpy(np.stack(masks) > 0), pooled, ids,
            caches[2], kept,
        )  # fmt: skip


def _learned(data: TrainingData) -> tuple[list[Image], list[Mask], tuple[str, ...], list[int]]:
    """The accepted anomalies as the network sees them, their masks, ids, and the number of the image each was made of."""
    images, masks, ids, of = [], [], [], []
    for sample, number in zip(data.learned, data.learned_of, strict=True):
        if sample.label:
            images.append(data.preprocessing.fit(sample.image))
            masks.append(data.preprocessing.fit_mask(sample.mask))
            ids.append(sample.spec.sample_id)
            of.append(number)
    return images, masks, tuple(ids), of


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
    model: BiSQAD,
    data: TrainingData,
    learned: Sequence[Image],
    masks: Sequence[Mask],
    normal_of: Sequence[int],
    compute: Compute,
) -> Iterator[tuple[list[Tensor], list[Tensor], Tensor]]:
    """Features of normal images and of anomalies made of them, and masks; of evenly chosen samples."""
    count = min(len(learned), _CHOOSING_BATCHES * _BATCH)
    chosen = np.linspace(0, len(learned) - 1, count).round().astype(int).tolist()
    with torch.inference_mode(), compute.autocast():
        for start in range(0, count, _BATCH):
            some = chosen[start : start + _BATCH]
            normals = [data.preprocessing.fit(data.normals[normal_of[k]].pixels) for k in some]
            found = []
            for pictures in (normals, [learned[k] for k in some]):
                stacked = torch.from_numpy(np.stack(pictures))
                found.append([level.float() for level in model.features.all_channels(to_input(stacked, compute))])
            yield found[0], found[1], torch.from_numpy(np.stack([masks[k] for k in some])).to(compute.device)
