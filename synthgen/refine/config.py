"""Settings of the two refinement networks, and the presets of `synthgen train npcf` and `synthgen train npcf++`."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

from synthgen.errors import UsageError, suggest
from synthgen.refine.phase_field import FIDELITY

NPCF, NPCFPP = "npcf", "npcf++"
Sign = Literal["free", "paper", "smooth"]
BACKBONES = ("wide_resnet50_2", "resnet18")
SMALLEST_CROP = 32


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a refinement network is trained.

    Attributes:
        crop: side in pixels of the square windows around anomalies that it learns from; 0 takes whole images.
        whole_share: share of the steps that take whole images instead, as few as fill the same number of pixels.
        batch_size: windows of a step.
        steps: of the optimizer; 0 takes `epochs`.
        epochs: passes over the samples, where `steps` is 0.
        learning_rate, last_learning_rate: AdamW's learning rate at the start and at the end of a cosine.
        warmup: steps over which the rate rises from 0.
        weight_decay: AdamW's.
        averaging: decay of the average of the weights that is kept as the model.
    """

    crop: int = 256
    whole_share: float = 0.0
    batch_size: int = 32
    steps: int = 20_000
    epochs: int = 0
    learning_rate: float = 2e-4
    last_learning_rate: float = 0.0
    warmup: int = 500
    weight_decay: float = 1e-4
    averaging: float = 0.999

    def steps_of(self, samples: int) -> int:
        """Steps in all, with this many samples to learn from."""
        return self.steps or self.epochs * -(-samples // self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NpcfConfig(TrainingConfig):
    """npcF, the coarse stage (MaPhC2F, section 3.2.2, equations 9, 10 and 16 to 21).

    The defaults correct what the paper has printed; `paper` in `PRESETS` follows the print, with weights of our own, since
    the paper names none.

    Attributes:
        backbone: the encoder, up to its third level.
        encoder_learning_rate: learning rate of an encoder with pretrained weights, relative to the others'.
        takes_stage_a: whether it sees stage A beside the normal image.
        residual: whether it predicts a change of stage A around the anomaly; else, as the paper, a whole image.
        anomaly, pde, tv, colour, perceptual: weights of the loss terms (equation 21); that of the normal region is 1.
        reduction: `mask` averages the anomaly's terms over its pixels, so that a thin crack counts; `image` over all.
        pde_space: what the Allen-Cahn equation rules: `phase`, the share of stage A in the result; or `rgb` as printed, which
            drives colours to black, white and the primaries.
        fidelity: pull of the phase towards the mask, as in `phase_field`; without it the residual is smallest where the anomaly
            is gone, which the paper's other terms have to prevent.
        epsilon2: epsilon^2 of equation 9 in square pixels; 0 lets it follow the anomaly's width.
        tv_area: where roughness is penalised (equation 18): `mask`, the anomaly and 2 pixels around; or `image`.
        colour_reference: what stage A is compared with (equation 19): `mask`, within the mask; or `image` as printed.
        perc_target: whose features are wanted (equation 20): `mixed` stage A's 7 to 3 with the normal image's, `stage-a`, or
            `normal` as printed.
        perc_mask: `features` compares features where the mask is; `pixels` blanks what is around it, as printed.
        perc_network: whose features: `vgg16`, `encoder` (the pretrained encoder, as it came) or `none`; `auto` takes the
            first of them whose weights are there.
    """

    backbone: str = "wide_resnet50_2"
    encoder_learning_rate: float = 0.1
    takes_stage_a: bool = True
    residual: bool = True
    anomaly: float = 0.2
    pde: float = 0.05
    tv: float = 1e-3
    colour: float = 1.0
    perceptual: float = 0.05
    reduction: str = "mask"
    pde_space: str = "phase"
    fidelity: float = FIDELITY
    epsilon2: float = 0.0
    tv_area: str = "mask"
    colour_reference: str = "mask"
    perc_target: str = "mixed"
    perc_mask: str = "features"
    perc_network: str = "auto"


@dataclass(frozen=True, slots=True)
class NpcfppConfig(TrainingConfig):
    """npcF++, the fine stage (MaPhC2F, section 3.2.3, equations 11, 12 and 22 to 26).

    Attributes:
        width: channels at full resolution.
        window: side of the attention's windows in pixels of their resolution.
        pde_sign: of equation 22's step: `free` lets the network choose, `paper` sharpens as printed, `smooth` smooths as
            the text says.
        residual: whether it predicts a change of the coarse picture; else, as the paper, the picture.
        synergy_at: where attention acts: at the mask's `boundary` (equation 25) or in the whole `mask` (Algorithm 8).
        beta, delta: weights of equation 11.
        wave: weight of equation 12.
        wave_target: `match` asks for as much fine structure as stage A has; `none`, as printed, for none at all.
    """

    whole_share: float = 0.25
    batch_size: int = 16
    steps: int = 10_000
    learning_rate: float = 1e-3
    last_learning_rate: float = 1e-5
    warmup: int = 200
    width: int = 32
    window: int = 16
    pde_sign: Sign = "free"
    residual: bool = True
    synergy_at: str = "boundary"
    beta: float = 2.0
    delta: float = 0.02
    wave: float = 0.02
    wave_target: str = "match"


_CPU: dict[str, Any] = {"crop": 128, "whole_share": 0.0, "batch_size": 4, "warmup": 50, "averaging": 0.99}
PRESETS: dict[str, dict[str, Any]] = {
    NPCF: {
        "default": NpcfConfig(),
        "paper": NpcfConfig(
            crop=0, steps=0, epochs=200, residual=False, reduction="image", pde=0.01, pde_space="rgb", fidelity=0.0,
            epsilon2=1.0, tv_area="image", tv=1e-4, colour_reference="image", perc_target="normal", perc_mask="pixels",
        ),
        "gpu_small": NpcfConfig(backbone="resnet18", steps=10_000),
        "cpu": NpcfConfig(backbone="resnet18", steps=800, learning_rate=5e-4, **_CPU),
    },
    NPCFPP: {
        "default": NpcfppConfig(),
        "paper": NpcfppConfig(
            crop=0, whole_share=0.0, batch_size=32, steps=0, epochs=50, residual=False, pde_sign="paper",
            synergy_at="mask", wave_target="none",
        ),
        "gpu_small": NpcfppConfig(width=16),
        "cpu": NpcfppConfig(width=16, steps=600, **_CPU),
    },
}  # fmt: skip
"""By model: `default` for a large GPU, `paper` as printed, `gpu_small`, and `cpu`, which trains in minutes on two cores."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "backbone": BACKBONES,
    "reduction": ("mask", "image"),
    "pde_space": ("phase", "rgb"),
    "tv_area": ("mask", "image"),
    "colour_reference": ("mask", "image"),
    "perc_target": ("mixed", "stage-a", "normal"),
    "perc_mask": ("features", "pixels"),
    "perc_network": ("auto", "vgg16", "encoder", "none"),
    "pde_sign": ("free", "paper", "smooth"),
    "synergy_at": ("boundary", "mask"),
    "wave_target": ("match", "none"),
}
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Config = TypeVar("Config", bound=TrainingConfig)


def make_config(model: str, preset: str, changes: dict[str, Any]) -> NpcfConfig | NpcfppConfig:
    """A preset with some settings replaced.

    Args:
        model: `npcf` or `npcf++`.
        preset: one of `PRESETS[model]`.
        changes: by field name; texts, as from a command line, become what the field is.

    Raises:
        UsageError: there is no such preset or setting, or its value makes no sense.
    """
    if preset not in PRESETS[model]:
        raise UsageError(f"--config {preset}: {model} has no such preset.{suggest(preset, list(PRESETS[model]))}")
    base: NpcfConfig | NpcfppConfig = PRESETS[model][preset]
    kinds = {field.name: type(getattr(base, field.name)) for field in fields(base)}
    values = {}
    for name, value in changes.items():
        if name not in kinds:
            raise UsageError(f"--set {name}: {model} has no such setting.{suggest(name, list(kinds))}")
        values[name] = _converted(name, value, kinds[name])
    if "epochs" in values:
        values.setdefault("steps", 0)
    return checked(replace(base, **values))


def config_from_json(model: str, values: dict[str, Any]) -> NpcfConfig | NpcfppConfig:
    """The inverse of `to_json`. Raises TypeError if the fields are others."""
    return NpcfConfig(**values) if model == NPCF else NpcfppConfig(**values)


def checked(config: Config) -> Config:
    """The settings, if they make sense. Raises UsageError."""
    for name, choices in _CHOICES.items():
        value = getattr(config, name, choices[0])
        if value not in choices:
            raise UsageError(f"--set {name}={value}: expected one of {', '.join(choices)}.")
    for name in ("batch_size", "width", "window"):
        if getattr(config, name, 1) < 1:
            raise UsageError(f"--set {name}={getattr(config, name)}: at least 1 is needed.")
    if min(config.steps, config.epochs) < 0 or not max(config.steps, config.epochs):
        raise UsageError(f"steps={config.steps}, epochs={config.epochs}: one of them must be greater than 0, none less.")
    if not 0 < config.learning_rate < 1 or not 0 <= config.last_learning_rate <= config.learning_rate:
        raise UsageError(
            f"learning_rate={config.learning_rate}, last_learning_rate={config.last_learning_rate}: expected "
            "0 <= last_learning_rate <= learning_rate, 0 < learning_rate < 1."
        )
    for name in ("whole_share", "averaging", "encoder_learning_rate"):
        if not 0 <= getattr(config, name, 0.0) <= 1:
            raise UsageError(f"--set {name}={getattr(config, name)}: expected a number from 0 to 1.")
    numbers = (
        "warmup",
        "weight_decay",
        "anomaly",
        "pde",
        "tv",
        "colour",
        "perceptual",
        "fidelity",
        "epsilon2",
        "beta",
        "delta",
        "wave",
    )
    for name in numbers:
        if not 0 <= getattr(config, name, 0) < math.inf:
            raise UsageError(f"--set {name}={getattr(config, name)}: expected a number from 0 on.")
    if config.crop and (config.crop < SMALLEST_CROP or config.crop % SMALLEST_CROP):
        raise UsageError(f"--set crop={config.crop}: expected a multiple of {SMALLEST_CROP}, or 0 for whole images.")
    if isinstance(config, NpcfppConfig) and config.width % 8:
        raise UsageError(f"--set width={config.width}: expected a multiple of 8, such as 16 or 32.")
    return config


def _converted(name: str, value: Any, kind: type) -> Any:
    """A setting's value from a text."""
    if kind is bool:
        if str(value).lower() not in _SWITCHES:
            raise UsageError(f"--set {name}={value}: expected true or false.")
        return _SWITCHES[str(value).lower()]
    try:
        return kind(value)
    except ValueError as error:
        told = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise UsageError(f"--set {name}={value}: expected {told}.") from error
