"""What BiSQAD can be told, and its presets: a small one, the full one, and the paper's."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from detectors.contract import DetectorSettings
from detectors.training.settings import Presets, preset_values, validated
from synthgen.errors import UsageError

Positive = Annotated[int, Field(ge=1)]
Level = Annotated[int, Field(ge=1, le=4)]
Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=100)]

_STRIDE = 32  # of the backbones' last level


class BiSQADConfig(DetectorSettings):
    """Settings of BiSQAD: bi-level training guided by a Synthesis Quality Estimator (Qian et al., 2025).

    Its base model, which the paper does not describe, follows RealNet (Zhang et al., 2024).

    Attributes:
        size: side of the square that the network sees, in pixels, a multiple of 32 (RealNet: 256). Images are resized to a
            square without keeping their aspect ratio.
        epochs: passes over the training images (RealNet: 1000).
        batch_size: images per step (RealNet: 16).
        backbone: name of the frozen network.
        levels: of the backbone, whose features are reconstructed.
        keep: channels that feature selection keeps of each level, one number per level; a level that has fewer keeps all.
        width_share: width of a level's U-Net, as a share of its channels (RealNet: 0.5).
        multipliers: of that width, at the U-Net's resolutions from the finest on; each next one has half the side.
        blocks: residual blocks per resolution, on the way down and on the way up (RealNet: 2).
        residual_channels: residual channels that are kept of an image by their maximum, and as many by their mean (RealNet:
            256); never more than there are.
        learning_rate: learning rate of Adam (RealNet: 1e-4).
        mask_weight: of the cross-entropy over the mask's pixels alone, beside that over all (RealNet: 0). A mask is a hundredth
            of an image: without it a short training learns to call everything normal.
        pool: side of the windows, in pixels, whose largest mean score is an image's score (RealNet: 16).
        synthetic_share: of a batch; the rest are normal images (RealNet: 0.5).
        sqe: whether samples are weighted by their estimated quality (paper, Eqs. 14 and 15).
        sqe_weight: of the quality in a sample's weight (lambda_sqe, Eq. 15).
        data_weight: of the learned weight in a sample's weight (lambda_bi, Eq. 15); 0 learns none.
        sqe_target: what counts as quality: `easy`, a small loss (paper, Eq. 14), or `band`, a loss that is neither small nor
            large.
        loss_scaling: how losses become 0 to 1: by `rank`, `minmax` (paper, Eq. 14), or `clip`, the same between percentiles.
        sqe_learning_rate: of the estimator (paper: 1e-4, which leaves it nearly constant on a few hundred samples).
        sqe_epochs: passes over the samples each time that the estimator is fitted (paper: 2 to 10).
        warm_up: epochs with equal weights, before the first fit.
        outer: whether there is an outer loop. It moves data weights (where `data_weight` is not 0) and, between two fits, the
            estimator's layer (where `sqe`).
        outer_every: epochs between fits of the estimator, each followed by the outer loop (paper: 1).
        inner_learning_rate: of the single inner step that the outer loop looks through.
        outer_learning_rate: step of the data weights (paper: 1e-4, by which nothing moves). The estimator's layer moves by
            `sqe_learning_rate` along the gradient's sign, with `sgd` by this rate along the gradient.
        outer_update: how data weights follow their gradient: by `sign`, `adam` or `sgd`.
        auc_alpha: steepness of the sigmoid in the outer loop's loss, which stands for the AUC.
        auc_tau: sharpness of the smooth maximum that stands for an image's score in that loss.
    """

    size: Annotated[int, Field(ge=32, le=2048, multiple_of=_STRIDE)] = 256
    epochs: Positive = 1000
    batch_size: Annotated[int, Field(ge=2)] = 16
    backbone: str = "wide_resnet50_2"
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = (1, 2, 3, 4)
    keep: tuple[Positive, ...] = (256, 512, 512, 256)
    width_share: Rate = 0.5
    multipliers: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1, max_length=6)] = (1, 2, 4)
    blocks: Annotated[int, Field(ge=1, le=8)] = 2
    residual_channels: Positive = 256
    learning_rate: Rate = 1e-4
    mask_weight: Weight = 0.0
    pool: Positive = 16
    synthetic_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    sqe: bool = True
    sqe_weight: Weight = 1.0
    data_weight: Weight = 0.0
    sqe_target: Literal["easy", "band"] = "band"
    loss_scaling: Literal["rank", "clip", "minmax"] = "rank"
    sqe_learning_rate: Rate = 1e-3
    sqe_epochs: Positive = 10
    warm_up: Annotated[int, Field(ge=0)] = 5
    outer: bool = True
    outer_every: Positive = 5
    inner_learning_rate: Rate = 1e-2
    outer_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    outer_update: Literal["sign", "adam", "sgd"] = "sign"
    auc_alpha: Annotated[float, Field(gt=0)] = 10.0
    auc_tau: Annotated[float, Field(gt=0)] = 20.0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels kept of each level: `keep`, or all that the level has."""
        from detectors.data.backbones import backbone_info

        available = backbone_info(self.backbone).channels
        return tuple(min(kept, available[level - 1]) for level, kept in zip(self.levels, self.keep, strict=True))


PRESETS: Presets = {
    "lite": {
        "epochs": 100,
        "backbone": "resnet18",
        "keep": (128, 256, 256, 128),
        "width_share": 0.25,
        "blocks": 1,
        "residual_channels": 64,
        "learning_rate": 1e-3,
        "mask_weight": 0.1,
    },
    "full": {},
    "paper": {
        "sqe_target": "easy",
        "loss_scaling": "minmax",
        "sqe_learning_rate": 1e-4,
        "sqe_epochs": 2,
        "outer_every": 1,
        "outer_learning_rate": 1e-4,
        "outer_update": "sgd",
    },
}


def make_config(preset: str, dataset: str, category: str, changes: Mapping[str, object]) -> BiSQADConfig:
    """A preset with changes.

    Args:
        preset: `lite`, `full` or `paper`.
        dataset: what it is for; no setting depends on it,
        category: nor on this.
        changes: fields of `BiSQADConfig`. Where they change `levels` and not `keep`, each level keeps what the preset says.

    Raises:
        UsageError: no such preset or field, or a value that makes no sense.
    """
    config = validated(BiSQADConfig, preset_values("bisqad", BiSQADConfig, PRESETS, preset, changes))
    if sorted(set(config.levels)) != list(config.levels):
        raise UsageError(f"levels {list(config.levels)}: expected ascending numbers of 1 to 4, such as 1, 2, 3.")
    keep = config.keep if "keep" in changes else tuple(config.keep[level - 1] for level in config.levels)
    if len(keep) != len(config.levels):
        raise UsageError(f"keep {list(keep)}: {len(config.levels)} levels need as many numbers of channels.")
    if config.pool > config.size:
        raise UsageError(f"pool {config.pool} is larger than size {config.size}.")
    from detectors.data.backbones import backbone_info  # loads torch

    backbone_info(config.backbone)
    return config.model_copy(update={"keep": keep})
