"""PBAS as commands see a detector (see `detectors.catalog`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectors.backbones import Backbone
from detectors.caching import FeatureCache
from detectors.metrics import all_metrics
from detectors.pbas.config import PBASConfig, make_config
from detectors.pbas.model import PBAS, Features, Head, feature_side
from detectors.pbas.train import Embedded, Kept, embed, fill, score_watched, train
from detectors.pixels import Reading
from detectors.test_split import LabelledFile, read_mask
from synthgen.training.devices import Compute

__all__ = [
    "ABLATION",
    "LEARNS_ANOMALIES",
    "assemble",
    "load_state",
    "make_config",
    "parse",
    "peeking",
    "prepared",
    "train",
    "variant",
    "warnings",
]

LEARNS_ANOMALIES = False
ABLATION: dict[str, dict[str, Any]] = {}

prepared = embed


def parse(settings: dict[str, Any]) -> PBASConfig:
    """The settings of a run's configuration."""
    return PBASConfig.model_validate(settings)


def assemble(config: PBASConfig, backbone: Backbone, compute: Compute) -> PBAS:
    """A PBAS with this backbone, on its device."""
    head = Head(config, feature_side(config.levels[0], config.size) ** 2)
    model = PBAS(Features(backbone, config), head, config)
    model.to(compute.device)
    # convolutions run faster on images whose channels lie side by side
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval()
    return model


def variant(settings: dict[str, Any]) -> str:
    """How its anomalies come about."""
    return str(settings["synthesis"])


def warnings(config: PBASConfig) -> list[str]:
    """What a user should know about these settings: nothing."""
    return []


def load_state(model: PBAS, tensors: dict[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.head.load_state_dict(tensors)


@contextmanager
def peeking(
    model: PBAS, files: Sequence[LabelledFile], reading: Reading, compute: Compute, folder: Path
) -> Iterator[Callable[[PBAS], dict[str, float]]]:
    """Measures a test split again and again, for `--select test-best` alone. Its features are computed once.

    Args:
        model: gives the features.
        files: the test split.
        reading: how files become pixels.
        compute: where to.
        folder: for features that do not fit into memory.
    """
    side = (reading.resized, reading.resized)
    masks = [read_mask(file, side, "strict") for file in files]
    kept = tuple(
        Kept(file.name, file.label, file.kind, reading.read(file.path), None if mask is None else reading.crop(mask))
        for file, mask in zip(files, masks, strict=True)
    )
    shape = (feature_side(model.config.levels[0], model.config.size) ** 2, model.config.embedding_length)
    cache = FeatureCache(len(kept), shape, compute.device, "auto", folder)
    try:
        fill(cache, model, (one.image for one in kept), compute)
        embedded = Embedded(cache, cache, kept)
        yield lambda now: all_metrics(score_watched(now, embedded, compute))[0]
    finally:
        cache.close()
