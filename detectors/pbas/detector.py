"""PBAS as commands see a detector (see `detectors.catalog`)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detectors.data.backbones import Backbone
from detectors.data.training_data import OnTheFly, TrainingData
from detectors.pbas.config import PBASConfig, make_config
from detectors.pbas.model import PBAS, Features, Head, feature_side
from detectors.pbas.train import embed, train
from detectors.training.options import Options
from synthgen.runs.devices import Compute
from synthgen.samples import Image

__all__ = [
    "ABLATION",
    "LEARNS",
    "assemble",
    "explained",
    "load_state",
    "make_config",
    "parse",
    "prepared",
    "train",
    "variant",
    "warnings",
]

LEARNS: OnTheFly | None = None
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


def warnings(config: PBASConfig, data: TrainingData, options: Options) -> list[str]:
    """What a user should know about these settings: nothing."""
    return []


def load_state(model: PBAS, tensors: dict[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.head.load_state_dict(tensors)


def explained(model: PBAS, image: Image) -> Mapping[str, Image]:
    """Pictures of what lies between an image and its map: it works on features, there are none."""
    return {}
