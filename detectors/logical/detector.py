"""LogicAL's localizer as commands see a detector."""

from collections.abc import Mapping

import torch
from torch import Tensor

from detectors.contract import Detector, TrainingOptions
from detectors.data.backbones import Backbone
from detectors.data.training_data import OnTheFly, TrainingData
from detectors.logical.config import PRESETS, LogicalConfig, make_config
from detectors.logical.data import LogicalData, prepare
from detectors.logical.model import LogicAL, explained
from detectors.logical.train import train
from synthgen.anomalies.registry import TYPES
from synthgen.runs.devices import Compute


def assemble(config: LogicalConfig, backbone: Backbone | None, compute: Compute) -> LogicAL:
    """A localizer on its device; there is no backbone."""
    model = LogicAL(config).to(compute.device)
    # convolutions run faster on images whose channels lie side by side
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval()
    return model


def variant(config: LogicalConfig) -> str:
    """What it reconstructs."""
    parts = [name for name, weight in (("JND", config.jnd_weight), ("edges", config.edge_weight)) if weight]
    return " + ".join(["image", *parts])


def warnings(config: LogicalConfig, data: TrainingData, options: TrainingOptions) -> list[str]:
    """Whether the generator's texture may be taken for the anomaly."""
    # edge edits whose normal counterpart is not known; the first sample tells for all
    edited = any(TYPES[sample.spec.type].edits_edges and sample.generated is None for sample in data.learned[:1])
    if not (edited and config.generated_share and options.edge_generator is None):
        return []
    return [
        "without --edge-generator no normal image shows the generator's texture: what is learned may be the texture. "
        "Name the generator that the shards were made with."
    ]


def load_state(model: LogicAL, tensors: Mapping[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.load_state_dict(tensors)


DETECTOR: Detector[LogicalConfig, LogicAL, LogicalData] = Detector(
    name="logical",
    title="LogicAL: reconstruction and localization of edge-manipulated anomalies",
    source="Zhao, 2024",
    presets=tuple(PRESETS),
    settings=LogicalConfig,
    configure=make_config,
    variant=variant,
    assemble=assemble,
    load_state=load_state,
    prepare=prepare,
    train=train,
    learns=OnTheFly(("logical", "structural"), 4),
    looks_at_edges=True,
    # the image alone is reconstructed; with just noticeable differences; with edges as well
    ablations={"no-targets": {"jnd_weight": 0.0, "edge_weight": 0.0}, "no-edges": {"edge_weight": 0.0}, "all": {}},
    warnings=warnings,
    explained=explained,
)
