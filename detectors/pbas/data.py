"""What PBAS trains on: features of normal images, and of held-out images and their anomalies, computed once for all seeds."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detectors.contract import TrainingOptions
from detectors.data.feature_cache import FeatureCache, batches
from detectors.data.held_out import HeldOutImage, held_out_images
from detectors.data.training_data import TrainingData
from detectors.pbas.model import PBAS, feature_side
from synthgen.runs.devices import Compute, memory_errors
from synthgen.samples import Image

FEATURE_BATCH = 16
"""Images whose features are in memory at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A category's features.

    Attributes:
        normals: of the training images: (K, E) rows.
        held_out: of held-out images and of the anomalies made of them.
        images: what `held_out` are of.
    """

    normals: FeatureCache
    held_out: FeatureCache
    images: tuple[HeldOutImage, ...]


@contextmanager
def prepare(model: PBAS, data: TrainingData, options: TrainingOptions, folder: Path) -> Iterator[Embedded]:
    """Embed a category's images; what is kept in files is removed when the block is left."""
    config, compute = model.config, options.compute
    shape = (feature_side(config.levels[0], config.size) ** 2, config.embedding_length)
    images = held_out_images(data)
    normals = FeatureCache(len(data.normals), shape, compute.device, options.cache, folder)
    held_out = FeatureCache(len(images), shape, compute.device, options.cache, folder)
    try:
        with memory_errors("while embedding"):
            fill(normals, model, (data.preprocessing.fit(normal.pixels) for normal in data.normals), compute)
            fill(held_out, model, (image.image for image in images), compute)
        yield Embedded(normals, held_out, images)
    finally:
        normals.close()
        held_out.close()


def fill(cache: FeatureCache, model: PBAS, images: Iterable[Image], compute: Compute) -> None:
    """Write the features of (S, S, 3) uint8 images."""
    with torch.inference_mode(), compute.autocast():
        for batch in batches((torch.from_numpy(image) for image in images), FEATURE_BATCH):
            features = model.features(to_input(batch, compute))
            cache.append(features.flatten(2).transpose(1, 2).float())


def to_input(images: Tensor, compute: Compute) -> Tensor:
    """(B, S, S, 3) uint8 as the network takes it: (B, 3, S, S) float32 on the device, channels last in memory."""
    return images.to(compute.device, non_blocking=True).permute(0, 3, 1, 2).float()
