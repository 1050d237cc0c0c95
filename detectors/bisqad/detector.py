"""BiSQAD as commands see a detector (see `detectors.catalog`)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from detectors.bisqad.config import BiSQADConfig, make_config
from detectors.bisqad.data import prepared
from detectors.bisqad.model import BiSQAD, RealNet, Selected
from detectors.bisqad.sqe import Estimator
from detectors.bisqad.train import train
from detectors.data.backbones import Backbone
from detectors.data.training_data import OnTheFly, TrainingData
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

LEARNS: OnTheFly | None = OnTheFly()

ABLATION: dict[str, dict[str, Any]] = {
    "no-sqe": {"sqe": False, "data_weight": 0.0, "outer": False},
    "sqe": {"sqe": True, "data_weight": 0.0, "outer": False},
    "sqe-outer": {"sqe": True, "data_weight": 0.5, "outer": True},
}
"""What `--ablation` trains: equal weights; qualities fitted to losses; qualities, data weights and the outer loop."""


def parse(settings: dict[str, Any]) -> BiSQADConfig:
    """The settings of a run's configuration."""
    return BiSQADConfig.model_validate(settings)


def assemble(config: BiSQADConfig, backbone: Backbone, compute: Compute) -> BiSQAD:
    """A BiSQAD with this backbone, on its device."""
    model = BiSQAD(Selected(backbone, config), RealNet(config), Estimator(sum(backbone.channels)), config)
    model.to(compute.device)
    model.eval()
    return model


def variant(settings: dict[str, Any]) -> str:
    """How its anomalies are weighed."""
    if not settings["sqe"]:
        return "equal weights" if not settings["data_weight"] else "data weights"
    return "sqe + outer loop" if settings["outer"] else "sqe"


def warnings(config: BiSQADConfig, data: TrainingData, options: Options) -> list[str]:
    """What a user should know about these settings."""
    if config.epochs <= config.warm_up and (config.sqe or config.data_weight):
        return [f"epochs={config.epochs} is within warm_up={config.warm_up}: all anomalies weigh the same throughout"]
    return []


def load_state(model: BiSQAD, tensors: dict[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.load_state_of_run(tensors)


def explained(model: BiSQAD, image: Image) -> Mapping[str, Image]:
    """Pictures of what lies between an image and its map: it works on features, there are none."""
    return {}
