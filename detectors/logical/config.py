"""What the LogicAL localizer can be told, and its presets: one network in four sizes."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from detectors.contract import DetectorSettings
from detectors.training.settings import Presets, preset_values, validated
from synthgen.errors import UsageError

Positive = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=100)]


class LogicalConfig(DetectorSettings):
    """Settings of LogicAL's localizer (Zhao, 2024), whose networks follow OmniAL (Zhao, 2023).

    Attributes:
        size: (height, width) that the network sees, in pixels, multiples of 32 (LogicAL: 256 x 256, VisA 256 x 320). Images
            are resized to it without keeping their aspect ratio.
        epochs: passes over the training images (LogicAL: 300).
        batch_size: images per step (LogicAL: 15 at 256 x 256, 12 at 256 x 320).
        rec_width: channels of the first level of the reconstruction sub-network (DRAEM: 128).
        seg_width: likewise of the localization sub-network (DRAEM: 64).
        learning_rate: learning rate of Adam (LogicAL: 1e-4).
        decay: factor on it after 80 % and again after 90 % of the epochs (DRAEM: 0.2).
        anomaly_share: of a batch; half, since nobody says.
        generated_share: of a batch: normal images as the edge generator draws them, so that its texture is no sign of an
            anomaly. Where there are none, real ones take their place. The rest of a batch are real normal images.
        jnd_weight: of the loss of just noticeable differences, beside that of the image.
        edge_weight: of the loss of edges.
        edge_low, edge_high: strengths, 0 to 1, below which a pixel has no edge and from which on it has one.
        jitter: how much brightness, contrast and saturation of a training image vary to either side (LogicAL: on VisA alone).
            The presets but `paper` vary a little always: with few images, the reconstruction learns these by heart.
        hue_jitter: likewise its hue, as a share of the circle.
        warp: largest shift of the control points of a thin-plate-spline warp, over the side (LogicAL: on MADsim alone).
        pool: side of the windows, in pixels, an odd number, whose largest mean score is an image's score (DRAEM: 21).
    """

    size: tuple[Side, Side] = (256, 256)
    epochs: Positive = 300
    batch_size: Annotated[int, Field(ge=2)] = 15
    rec_width: Annotated[int, Field(ge=4, le=256)] = 128
    seg_width: Annotated[int, Field(ge=2, le=256)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    anomaly_share: Share = 0.5
    generated_share: Share = 0.25
    jnd_weight: Weight = 1.0
    edge_weight: Weight = 1.0
    edge_low: Share = 0.1
    edge_high: Share = 0.3
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    hue_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    warp: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    pool: Positive = 21


_VARIED: Mapping[str, object] = {"jitter": 0.05, "warp": 0.02}
PRESETS: Presets = {
    "paper": {},
    "medium": {**_VARIED, "rec_width": 64, "seg_width": 32},
    "small": {**_VARIED, "rec_width": 32, "seg_width": 16},
    "cpu": {**_VARIED, "rec_width": 16, "seg_width": 8, "size": (128, 128), "batch_size": 8, "learning_rate": 1e-3, "pool": 11},
}
_OF_DATASET: Mapping[str, Mapping[str, object]] = {
    "visa": {"jitter": 0.1, "hue_jitter": 0.02},
    "madsim": {"warp": 0.05},
}


def make_config(preset: str, dataset: str, category: str, changes: Mapping[str, object]) -> LogicalConfig:
    """A preset with changes.

    Args:
        preset: `paper`, `medium`, `small` or `cpu`.
        dataset: VisA and MADsim have an augmentation of their own.
        category: nothing depends on it.
        changes: fields of `LogicalConfig`; `size` may be one number, for a square.

    Raises:
        UsageError: no such preset or field, or a value that makes no sense.
    """
    values = preset_values("logical", LogicalConfig, PRESETS, preset, {**_OF_DATASET.get(dataset, {}), **changes})
    if isinstance(side := values.get("size"), int):
        values["size"] = (side, side)
    config = validated(LogicalConfig, values)
    if config.edge_low > config.edge_high:
        raise UsageError(f"edge_low {config.edge_low} is larger than edge_high {config.edge_high}.")
    if config.anomaly_share + config.generated_share > 1:
        raise UsageError("anomaly_share and generated_share are more than a whole batch together.")
    if config.pool % 2 == 0 or config.pool > min(config.size):
        raise UsageError(f"pool {config.pool}: expected an odd number of at most {min(config.size)}, the image's side.")
    return config
