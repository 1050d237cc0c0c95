"""BiSQAD as commands see a detector."""

from collections.abc import Mapping

from torch import Tensor

from detectors.bisqad.config import PRESETS, BiSQADConfig, make_config
from detectors.bisqad.data import CachedFeatures, prepare
from detectors.bisqad.model import BiSQAD, RealNet, Selected
from detectors.bisqad.scoring import score_samples
from detectors.bisqad.sqe import Estimator
from detectors.bisqad.train import train
from detectors.contract import Detector, TrainingOptions
from detectors.data.backbones import Backbone, BackboneChoice
from detectors.data.training_data import OnTheFly, TrainingData
from synthgen.runs.devices import Compute


def assemble(config: BiSQADConfig, backbone: Backbone | None, compute: Compute) -> BiSQAD:
    """A BiSQAD with this backbone, on its device."""
    assert backbone is not None
    model = BiSQAD(Selected(backbone, config), RealNet(config), Estimator(sum(backbone.channels)), config)
    model.to(compute.device)
    model.eval()
    return model


def variant(config: BiSQADConfig) -> str:
    """How its anomalies are weighed."""
    if not config.sqe:
        return "equal weights" if not config.data_weight else "data weights"
    return "sqe + outer loop" if config.outer else "sqe"


def warnings(config: BiSQADConfig, data: TrainingData, options: TrainingOptions) -> list[str]:
    """Whether the training is too short for weights to matter."""
    if config.epochs <= config.warm_up and (config.sqe or config.data_weight):
        return [f"epochs={config.epochs} is within warm_up={config.warm_up}: all anomalies weigh the same throughout"]
    return []


def load_state(model: BiSQAD, tensors: Mapping[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.load_state_of_run(tensors)


DETECTOR: Detector[BiSQADConfig, BiSQAD, CachedFeatures] = Detector(
    name="bisqad",
    title="Bi-level Synthesis Quality-guided Anomaly Detection",
    source="MaPhC2F/BiSQAD, 2025",
    presets=tuple(PRESETS),
    settings=BiSQADConfig,
    configure=make_config,
    variant=variant,
    assemble=assemble,
    load_state=load_state,
    prepare=prepare,
    train=train,
    backbone=lambda config: BackboneChoice(config.backbone, config.levels),
    learns=OnTheFly(),
    # equal weights; qualities fitted to losses; qualities, data weights and the outer loop
    ablations={
        "no-sqe": {"sqe": False, "data_weight": 0.0, "outer": False},
        "sqe": {"sqe": True, "data_weight": 0.0, "outer": False},
        "sqe-outer": {"sqe": True, "data_weight": 0.5, "outer": True},
    },
    warnings=warnings,
    score_samples=score_samples,
)
