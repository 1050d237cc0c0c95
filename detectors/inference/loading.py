"""A finished run as a detector that scores images."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectors.catalog import find_detector
from detectors.contract import AnyDetector, DetectorSettings
from detectors.data.backbones import RANDOM, backbone_for
from detectors.data.preprocessing import Preprocessing
from detectors.results import Thresholds
from detectors.runs import read_config
from synthgen.errors import IntegrityError, UsageError
from synthgen.runs.devices import Compute
from synthgen.runs.folder import MODEL, load_tensors
from synthgen.samples import Image


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedRun:
    """A trained detector.

    Attributes:
        path: its run folder.
        config: the run's configuration.
        detector, settings: what it is of, and how it is set.
        model: takes (B, 3, H, W) float RGB images of values 0 to 255, gives anomaly maps (B, H, W) and scores (B,).
        preprocessing: how files become its pixels.
        thresholds: what its scores mean.
        epoch: after which it was taken.
        seconds: that its training took.
    """

    path: Path
    config: dict[str, Any]
    detector: AnyDetector
    settings: DetectorSettings
    model: nn.Module
    preprocessing: Preprocessing
    thresholds: Thresholds
    epoch: int
    seconds: float

    @property
    def variant(self) -> str:
        """In a word, how its anomalies came about."""
        return self.detector.variant(self.settings)

    def explained(self, image: Image) -> Mapping[str, Image]:
        """Pictures of what lies between an image, as the network sees it, and its anomaly map, by name."""
        return self.detector.explained(self.model, image)


def load_run(path: Path, weights: str | None, compute: Compute) -> LoadedRun:
    """A finished run.

    Args:
        path: its folder.
        weights: the backbone's; None takes the file that the run was trained with.
        compute: where it is to work.

    Raises:
        InputDataError: the folder is no run, its training did not end, or the backbone's weights are not there.
        IntegrityError: its files are damaged, or hold something that is no finite number.
        UsageError: the weights are not those that the run was trained with.
    """
    config = read_config(path)
    try:
        detector = find_detector(config["detector"])
        settings = detector.parse(config["settings"])
        preprocessing = Preprocessing.from_json(config["preprocessing"])
        trained_with = config["backbone_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: its configuration is damaged ({error}). Train again.") from error
    weights = weights or config.get("weights") or (RANDOM if trained_with == RANDOM else None)
    backbone = backbone_for(detector.backbone_of(settings), weights)
    if backbone is not None and backbone.weights_sha256 != trained_with:
        raise UsageError(
            f"{path} was trained with backbone weights of sha256 {trained_with[:16]}..., "
            f"these have {backbone.weights_sha256[:16]}...: give the others as --weights backbone=PATH."
        )
    model = detector.assemble(settings, backbone, compute)
    tensors, state = load_tensors(path / MODEL)
    try:
        thresholds = Thresholds(**state["thresholds"])
        if broken := _broken(tensors, thresholds):
            raise IntegrityError(f"{path / MODEL}: {broken} no finite number: the detector is broken. Train again.")
        detector.load_state(model, {name: value.to(compute.device) for name, value in tensors.items()})
        return LoadedRun(
            path=path,
            config=config,
            detector=detector,
            settings=settings,
            model=model,
            preprocessing=preprocessing,
            thresholds=thresholds,
            epoch=state["epoch"],
            seconds=state["seconds"],
        )
    except (RuntimeError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path / MODEL}: not the model of this run. Train again.") from error


def _broken(tensors: Mapping[str, Tensor], thresholds: Thresholds) -> str:
    """What of a model is no finite number, as the start of a sentence; empty for a whole one."""
    for name, value in asdict(thresholds).items():
        if not math.isfinite(value):
            return f"its threshold {name!r} is"
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            return f"in its weights {name!r} something is"
    return ""
