"""What PBAS can be told, and its two presets: what the paper says, and what the authors' code does."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from detectors.contract import DetectorSettings
from detectors.training.settings import Presets, preset_values, validated
from synthgen.errors import UsageError

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=1)]


class PBASConfig(DetectorSettings):
    """Settings of Progressive Boundary-guided Anomaly Synthesis (Chen et al., 2024).

    Where the paper and the authors' code differ, the presets `paper` and `reference` take one side each.

    Attributes:
        size: side of the square that the network sees, in pixels (paper 256, code 288). Images are resized to a square
            without keeping their aspect ratio; paper and code cut off the ends of the longer side instead.
        crop_from: side that the image is resized to before its centre is cropped to `size`; None crops nothing (code: 329
            for MVTec AD's toothbrush and wood).
        epochs: passes over the training images (paper 400, code 640).
        batch_size: images per step (8).
        backbone: name of the frozen network.
        levels: of the backbone, whose features are embedded (2 and 3).
        embedding: length of an embedded feature; None takes what makes bins of 6 values at the first level, 12 at the next
            (1536 for WideResNet-50-2 and ResNet-50, 384 for ResNet-18).
        patch: side of the neighbourhood that is aggregated (3).
        metric: how the nearest centre is found (paper: `euclidean`; code: `cosine`). The loss is Euclidean in both.
        centre: `aligned` (Algorithm 1), `average` (Eq. 5) or `iterative` (moving average per location): paper, Table VI.
        centre_update: of `aligned`: `sequential` (code: matches one after the other, repeats compound) or `set` (paper:
            each matched centre moves once, here towards the mean of its matches).
        momentum: of the moving average that updates centres (beta = 0.1).
        alpha: anomaly degree (paper: 0.3; code: 0.25), Eq. 7.
        synthesis: `ray` (Eq. 7), `noise` (Gaussian, as the paper's ablation) or `none`: ABL alone, scored by the distance to
            the nearest centre.
        noise: deviation of the Gaussian for `noise`.
        detach_synthesis: whether no gradient flows through the step from a feature to its anomaly (code: yes; the paper
            does not say).
        discriminator_layers: linear layers of the discriminator (paper: three; code: two).
        discriminator_width: of its hidden layers (1024).
        discriminator_optimizer: paper: `adam`; code: `adamw`.
        projector_learning_rate, discriminator_learning_rate: learning rates (1e-4, 2e-4).
        projector_decay: `weight_decay` of the projector's Adam (gamma = 1e-5).
        shared_decay: delta of Eq. 10 on the projector as well (paper: 1e-2; code: 0).
        discriminator_decay: `weight_decay` of the discriminator's optimizer (1e-2).
        smoothing: deviation of the Gaussian over the anomaly map, in pixels (4).
    """

    size: Annotated[int, Field(ge=32, le=2048)] = 288
    crop_from: Annotated[int, Field(ge=32, le=4096)] | None = None
    epochs: Positive = 640
    batch_size: Positive = 8
    backbone: str = "wide_resnet50_2"
    levels: Annotated[tuple[int, ...], Field(min_length=1)] = (2, 3)
    embedding: Positive | None = None
    patch: Literal[1, 3, 5, 7] = 3
    metric: Literal["cosine", "euclidean"] = "cosine"
    centre: Literal["aligned", "average", "iterative"] = "aligned"
    centre_update: Literal["sequential", "set"] = "sequential"
    momentum: Rate = 0.1
    alpha: Annotated[float, Field(gt=0, le=100)] = 0.25
    synthesis: Literal["ray", "noise", "none"] = "ray"
    noise: Annotated[float, Field(gt=0)] = 0.015
    detach_synthesis: bool = True
    discriminator_layers: Annotated[int, Field(ge=1, le=8)] = 2
    discriminator_width: Positive = 1024
    discriminator_optimizer: Literal["adam", "adamw"] = "adamw"
    projector_learning_rate: Rate = 1e-4
    discriminator_learning_rate: Rate = 2e-4
    projector_decay: Decay = 1e-5
    shared_decay: Decay = 0.0
    discriminator_decay: Decay = 1e-2
    smoothing: Annotated[float, Field(gt=0, le=64)] = 4.0

    @property
    def resized(self) -> int:
        """Side of the square that an image is resized to, before any crop."""
        return self.crop_from or self.size

    @property
    def embedding_length(self) -> int:
        """`embedding`, or what suits the backbone: bins of 6 values of a level with C channels, at levels that double C."""
        if self.embedding is not None:
            return self.embedding
        from detectors.data.backbones import backbone_info

        smallest = backbone_info(self.backbone).channels[self.levels[0] - 1]
        return smallest * self.patch**2 * len(self.levels) // 6


PRESETS: Presets = {
    "reference": {},
    "paper": {
        "size": 256,
        "epochs": 400,
        "metric": "euclidean",
        "centre_update": "set",
        "alpha": 0.3,
        "discriminator_layers": 3,
        "discriminator_optimizer": "adam",
        "shared_decay": 1e-2,
    },
}
_CROPPED = {"toothbrush", "wood"}


def make_config(preset: str, dataset: str, category: str, changes: Mapping[str, object]) -> PBASConfig:
    """A preset with changes.

    Args:
        preset: `paper` or `reference`.
        dataset: what it is for.
        category: of it (the authors' code crops two categories of MVTec AD).
        changes: fields of `PBASConfig`.

    Raises:
        UsageError: no such preset or field, or a value that makes no sense.
    """
    values = preset_values("pbas", PBASConfig, PRESETS, preset, changes)
    config = validated(PBASConfig, values)
    if preset == "reference" and dataset == "mvtec" and category in _CROPPED and "crop_from" not in changes:
        config = validated(PBASConfig, values | {"crop_from": config.size * 8 // 7})
    if config.resized < config.size:
        raise UsageError(f"crop_from {config.resized} is smaller than size {config.size}.")
    if config.embedding_length % len(config.levels):
        raise UsageError(f"embedding {config.embedding_length}: must be a multiple of the number of levels.")
    return config
