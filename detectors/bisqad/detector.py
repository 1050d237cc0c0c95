"""BiSQAD as commands see a detector (see `detectors.catalog`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from detectors.backbones import Backbone
from detectors.bisqad.config import BiSQADConfig, make_config
from detectors.bisqad.data import Kept, prepared
from detectors.bisqad.model import BiSQAD, RealNet, Selected
from detectors.bisqad.sqe import Estimator
from detectors.bisqad.train import train
from detectors.evaluate import score_pixels
from detectors.metrics import all_metrics
from detectors.pixels import Reading
from detectors.results import ScoredImage
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

LEARNS_ANOMALIES = True

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


def warnings(config: BiSQADConfig) -> list[str]:
    """What a user should know about these settings."""
    if config.epochs <= config.warm_up and (config.sqe or config.data_weight):
        return [f"epochs={config.epochs} is within warm_up={config.warm_up}: all anomalies weigh the same throughout"]
    return []


def load_state(model: BiSQAD, tensors: dict[str, Tensor]) -> None:
    """Take over what a run's model file holds. Raises RuntimeError if it is another model's."""
    model.load_state_of_run(tensors)


@contextmanager
def peeking(
    model: BiSQAD, files: Sequence[LabelledFile], reading: Reading, compute: Compute, folder: Path
) -> Iterator[Callable[[BiSQAD], dict[str, float]]]:
    """Measures a test split again and again, for `--select test-best` alone. It is read before the training begins.

    Args:
        model: not needed: which channels are looked at is decided later.
        files: the test split.
        reading: how files become pixels.
        compute: where to.
        folder: not needed.
    """
    side = (reading.resized, reading.resized)
    masks = [read_mask(file, side, "strict") for file in files]
    kept = [
        Kept(file.name, file.label, file.kind, file.name, reading.read(file.path), None if mask is None else reading.crop(mask))
        for file, mask in zip(files, masks, strict=True)
    ]

    def measure(now: BiSQAD) -> dict[str, float]:
        scored = score_pixels(now, (one.image for one in kept), compute)
        return all_metrics(
            [
                ScoredImage(one.name, one.label, one.kind, score, map_, one.image, one.mask)
                for one, (_, map_, score) in zip(kept, scored, strict=True)
            ]
        )[0]

    yield measure
