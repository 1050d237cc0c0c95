"""A finished run as a detector that scores images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectors.backbones import RANDOM, Backbone, load_backbone
from detectors.catalog import implementation
from detectors.pixels import Reading
from detectors.results import Limits
from detectors.runs import read_config
from synthgen.errors import IntegrityError, UsageError
from synthgen.training.devices import Compute
from synthgen.training.folder import MODEL, load_tensors

_BACKBONE_SEED = 0
NONE = "none"
"""Stands for the backbone where a detector has none."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedRun:
    """A trained detector.

    Attributes:
        path: its run folder.
        config: the run's configuration.
        model: takes (B, 3, H, W) float RGB images of values 0 to 255, gives score maps (B, H, W) and scores (B,).
        reading: how files become its pixels.
        limits: what its scores mean.
        epoch: after which it was taken.
        seconds: that its training took.
    """

    path: Path
    config: dict[str, Any]
    model: nn.Module
    reading: Reading
    limits: Limits
    epoch: int
    seconds: float


def backbone_for(config: Any, weights: str | None) -> Backbone | None:
    """The frozen backbone of a detector's settings; None where it has none.

    Raises:
        UsageError: weights were given for nothing.
    """
    if not hasattr(config, "backbone"):
        if weights not in (None, NONE):
            raise UsageError("--weights backbone: this detector has no backbone.")
        return None
    if weights == RANDOM:
        torch.manual_seed(_BACKBONE_SEED)  # the same untrained one for training and for use
    return load_backbone(config.backbone, config.levels, weights)


def load_run(path: Path, weights: str | None, compute: Compute) -> LoadedRun:
    """A finished run.

    Args:
        path: its folder.
        weights: the backbone's; None takes the file that the run was trained with.
        compute: where it is to work.

    Raises:
        InputDataError: the folder is no run, its training did not end, or the backbone's weights are not there.
        IntegrityError: its files are damaged.
        UsageError: the weights are not those that the run was trained with.
    """
    config = read_config(path)
    try:
        detector = implementation(config["detector"])
        settings = detector.parse(config["settings"])
        reading = Reading.from_json(config["reading"])
        trained_with = config["backbone_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: its configuration is damaged ({error}). Train again.") from error
    weights = weights or config.get("weights") or (RANDOM if trained_with == RANDOM else None)
    backbone = backbone_for(settings, weights)
    if backbone is not None and backbone.weights_sha256 != trained_with:
        raise UsageError(
            f"{path} was trained with backbone weights of sha256 {trained_with[:16]}..., "
            f"these have {backbone.weights_sha256[:16]}...: give the others as --weights backbone=PATH."
        )
    model = detector.assemble(settings, backbone, compute)
    tensors, state = load_tensors(path / MODEL)
    try:
        detector.load_state(model, {name: value.to(compute.device) for name, value in tensors.items()})
        return LoadedRun(path, config, model, reading, Limits(**state["limits"]), state["epoch"], state["seconds"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path / MODEL}: not the model of this run. Train again.") from error
