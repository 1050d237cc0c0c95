"""LogicAL's localizer as commands see a detector (see `detectors.catalog`)."""

from typing import Any

import torch
from torch import Tensor

from detectors.data.backbones import Backbone
from detectors.data.training_data import OnTheFly, TrainingData
from detectors.logical.config import LogicalConfig, make_config
from detectors.logical.data import prepared
from detectors.logical.model import LogicAL, explained
from detectors.logical.train import train
from detectors.training.options import Options
from synthgen.runs.devices import Compute

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

LEARNS = OnTheFly(("logical", "structural"), 4)
ABLATION: dict[str, dict[str, Any]] = {
    "no-targets": {"jnd_weight": 0.0, "edge_weight": 0.0},
    "no-edges": {"edge_weight": 0.0},
    "all": {},
}
"""What `--ablation` trains: the image alone is reconstructed; with just noticeable differences; with edges as well."""


def parse(settings: dict[str, Any]) -> LogicalConfig:
    """The settings of a run's configuration."""
    return LogicalConfig.model_validate(settings)


def assemble(config: LogicalConfig, backbone: Backbone | None, compute: Compute) -> LogicAL:
    """A localizer on its device; there is no backbone."""
    model = LogicAL(config).to(compute.device)
    # convolutions run faster on images whose channels lie side by side
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval()
    return model


def variant(settings: dict[str, Any]) -> str:
    """What it reconstructs."""
    parts = [name for name, weight in (("JND", "jnd_weight"), ("edges", "edge_weight")) if settings[weight]]
    return " + ".join(["image", *parts])


def warnings(config: LogicalConfig, data: TrainingData, options: Options) -> list[str]:
    """What a user should know before a training."""
    told = []
    if config.generated_share and options.edge_generator is None and _edited(data):
        told.append(
            "without --edge-generator no normal image shows the generator's texture: what is learned may be the texture. "
            "Name the generator that the shards were made with."
        )
    return told


def load_state(model: LogicAL, tensors: dict[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.load_state_dict(tensors)


def _edited(data: TrainingData) -> bool:
    """Whether the anomalies are edge edits of which the normal counterpart is not known: looks at the first."""
    from synthgen.anomalies.registry import TYPES

    return any(TYPES[one.spec.type].edits_edges and one.generated is None for one in data.learned[:1])
