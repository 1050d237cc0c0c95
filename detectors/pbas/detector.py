"""PBAS as commands see a detector."""

from collections.abc import Mapping

import torch
from torch import Tensor

from detectors.contract import Detector
from detectors.data.backbones import Backbone, BackboneChoice
from detectors.pbas.config import PRESETS, PBASConfig, make_config
from detectors.pbas.data import Embedded, prepare
from detectors.pbas.model import PBAS, Features, Head, feature_side
from detectors.pbas.train import train
from synthgen.runs.devices import Compute


def assemble(config: PBASConfig, backbone: Backbone | None, compute: Compute) -> PBAS:
    """A PBAS with this backbone, on its device."""
    assert backbone is not None
    head = Head(config, feature_side(config.levels[0], config.size) ** 2)
    model = PBAS(Features(backbone, config), head, config)
    model.to(compute.device)
    # convolutions run faster on images whose channels lie side by side
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval()
    return model


def load_state(model: PBAS, tensors: Mapping[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.head.load_state_dict(tensors)


DETECTOR: Detector[PBASConfig, PBAS, Embedded] = Detector(
    name="pbas",
    title="Progressive Boundary-guided Anomaly Synthesis",
    source="Chen et al., 2024",
    presets=tuple(PRESETS),
    settings=PBASConfig,
    configure=make_config,
    variant=lambda config: config.synthesis,
    assemble=assemble,
    load_state=load_state,
    prepare=prepare,
    train=train,
    backbone=lambda config: BackboneChoice(config.backbone, config.levels),
)
