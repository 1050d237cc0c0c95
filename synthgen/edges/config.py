"""Settings of the edge-to-image generator, and the presets of `synthgen train edge-generator`."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from synthgen.errors import UsageError, suggest
from synthgen.samples import Size

PERCEPTUALS = ("auto", "vgg", "pidinet", "none")


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """How a generator is built and trained (LogicAL, section 4; where it is silent, pix2pixHD's and DeepSIM's public code).

    Attributes:
        size: (height, width) of the pictures in pixels; multiples of 2 ** halvings.
        width, halvings, blocks: of the generator, see `Generator`.
        judge_width, judge_layers, judge_scales: of the discriminator, see `PatchDiscriminator`.
        batch_size: pictures of a step.
        epochs: passes over the pictures; 0 takes as many as give `steps`.
        steps: where `epochs` is 0.
        learning_rate: Adam's, constant for the first half, then falling to 0 in a straight line.
        beta1, beta2: Adam's.
        perceptual: `vgg` and `pidinet` look through these networks, `none` compares pixels; `auto` takes the first of them
            whose weights are there.
        warp_share: probability that a pair is warped by a thin-plate spline.
        warp_amount: largest shift of its control points, as a share of the side.
        flip: probability that a pair is mirrored; 0, since a mirrored label or print is itself an anomaly.
        averaging: decay of the average of the weights that is kept as the model.
    """

    size: Size
    width: int
    halvings: int
    blocks: int
    judge_width: int = 64
    judge_layers: int = 3
    judge_scales: int = 2
    batch_size: int = 56
    epochs: int = 300
    steps: int = 0
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    perceptual: str = "auto"
    warp_share: float = 0.99
    warp_amount: float = 0.10
    flip: float = 0.0
    averaging: float = 0.999

    def epochs_of(self, pictures: int) -> int:
        """Passes over this many pictures."""
        per_epoch = -(-pictures // self.batch_size)
        return self.epochs or max(1, -(-self.steps // per_epoch))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"size": list(self.size)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "GeneratorConfig":
        """The inverse of `to_json`."""
        return cls(**(values | {"size": tuple(values["size"])}))


PRESETS: dict[str, GeneratorConfig] = {
    "paper256": GeneratorConfig((256, 256), width=64, halvings=4, blocks=9),
    "gpu_small": GeneratorConfig((256, 256), width=64, halvings=3, blocks=9, batch_size=32, epochs=200),
    "cpu": GeneratorConfig(
        (128, 128), width=16, halvings=3, blocks=4, judge_width=16, batch_size=4, epochs=0, steps=2000, warp_share=0.9,
        warp_amount=0.08, perceptual="none",
    ),
    "cpu64": GeneratorConfig(
        (64, 64), width=16, halvings=2, blocks=3, judge_width=16, batch_size=4, epochs=0, steps=1000, warp_share=0.9,
        warp_amount=0.08, perceptual="none",
    ),
}  # fmt: skip
"""`paper256` is the paper's; `gpu_small` has a quarter of its weights; `cpu` trains in minutes on two cores."""


def make_config(preset: str, changes: dict[str, Any]) -> GeneratorConfig:
    """A preset with some settings replaced.

    Args:
        preset: one of `PRESETS`.
        changes: by field name; texts, as from a command line, become what the field is.

    Raises:
        UsageError: there is no such preset or setting, or its value makes no sense.
    """
    if preset not in PRESETS:
        raise UsageError(f"--config {preset}: there is no such preset.{suggest(preset, list(PRESETS))}")
    base = PRESETS[preset]
    kinds = {field.name: type(getattr(base, field.name)) for field in fields(base)}
    values = {}
    for name, value in changes.items():
        if name not in kinds:
            raise UsageError(f"{name}: there is no such setting.{suggest(name, list(kinds))}")
        try:
            values[name] = kinds[name](value)
        except ValueError as error:
            kind = {int: "a whole number", float: "a number"}.get(kinds[name], kinds[name].__name__)
            raise UsageError(f"{name}={value}: expected {kind}.") from error
    if "epochs" in values:
        values.setdefault("steps", 0)
    elif "steps" in values:
        values["epochs"] = 0
    return _checked(replace(base, **values))


def _checked(config: GeneratorConfig) -> GeneratorConfig:
    least = {"width": 1, "halvings": 1, "blocks": 0, "judge_width": 1, "judge_layers": 1, "judge_scales": 1, "batch_size": 1}
    for name, smallest in least.items():
        if getattr(config, name) < smallest:
            raise UsageError(f"{name}={getattr(config, name)}: at least {smallest} is needed.")
    if min(config.epochs, config.steps) < 0 or not max(config.epochs, config.steps):
        raise UsageError(f"epochs={config.epochs}, steps={config.steps}: one of them must be greater than 0, none less.")
    for name in ("warp_share", "flip", "averaging"):
        if not 0 <= getattr(config, name) <= 1:
            raise UsageError(f"{name}={getattr(config, name)}: expected a number from 0 to 1.")
    if not 0 <= config.warp_amount <= 0.3:
        raise UsageError(f"warp_amount={config.warp_amount}: expected a number from 0 to 0.3.")
    if not (0 < config.learning_rate < 1):
        raise UsageError(f"learning_rate={config.learning_rate}: expected a number between 0 and 1.")
    for name in ("beta1", "beta2"):
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{name}={getattr(config, name)}: expected a number from 0 on, below 1.")
    if config.perceptual not in PERCEPTUALS:
        raise UsageError(f"perceptual={config.perceptual}: expected one of {', '.join(PERCEPTUALS)}.")
    step = 2**config.halvings
    least_side = max(32, 4 * step)
    if any(side % step or side < least_side for side in config.size):
        height, width = config.size
        raise UsageError(
            f"size {height}x{width}: with {config.halvings} halvings both sides must be multiples of {step}, "
            f"and at least {least_side} pixels."
        )
    return config
