"""Frozen ImageNet backbones: which there are, where their weights come from, and their feature maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from synthgen.errors import InputDataError, IntegrityError, UsageError, suggest
from synthgen.files import file_sha256
from synthgen.runs.weights import read_weights

RANDOM, NONE = "random", "none"
"""What stands for a backbone's weights where it is untrained, and where there is no backbone."""
_LEVELS = 4
_SEED = 0  # of untrained ones: the same for training and for use
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of RGB values 0..1: what the backbones' input is normalised with."""
_URL = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """One backbone that `--backbone` takes.

    Attributes:
        name: as torchvision calls it.
        file: file name of torchvision's ImageNet V1 weights; the digits in it begin the sha256 of the file.
        channels: of the levels 1 to 4.
    """

    name: str
    file: str
    channels: tuple[int, int, int, int]

    @property
    def sha256(self) -> str:
        """The first eight hexadecimal digits of the weights' sha256."""
        return self.file.rpartition("-")[2].partition(".")[0]


@dataclass(frozen=True, slots=True)
class BackboneChoice:
    """What a detector looks through.

    Attributes:
        name: one of `BACKBONES`.
        levels: whose feature maps it wants, ascending, of 1 to 4.
    """

    name: str
    levels: tuple[int, ...]


_DEEP = (256, 512, 1024, 2048)
BACKBONES = {
    info.name: info
    for info in (
        BackboneInfo("wide_resnet50_2", "wide_resnet50_2-95faca4d.pth", _DEEP),
        BackboneInfo("resnet18", "resnet18-f37072fd.pth", (64, 128, 256, 512)),
        BackboneInfo("resnet50", "resnet50-0676ba61.pth", _DEEP),
        BackboneInfo("resnet101", "resnet101-63fe2227.pth", _DEEP),
    )
}


def backbone_info(name: str) -> BackboneInfo:
    """What is known about a backbone.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in BACKBONES:
        raise UsageError(f"--backbone {name}: there is no such backbone.{suggest(name, list(BACKBONES))}")
    return BACKBONES[name]


class Backbone(nn.Module):
    """A residual network up to the last level that is wanted, frozen, in evaluation mode.

    Attributes:
        info: which one it is.
        levels: the levels whose feature maps it returns, ascending, of 1 to 4.
        weights_sha256: hexadecimal digest of the file the weights came from; `"random"` where there was none.
    """

    def __init__(self, info: BackboneInfo, levels: Sequence[int], weights_sha256: str = RANDOM) -> None:
        super().__init__()
        if not levels or sorted(set(levels)) != list(levels) or not set(levels) <= set(range(1, _LEVELS + 1)):
            raise UsageError(f"levels {list(levels)}: expected ascending numbers of 1 to {_LEVELS}, such as 2, 3.")
        import torchvision

        whole = getattr(torchvision.models, info.name)(weights=None)
        self.info, self.levels, self.weights_sha256 = info, tuple(levels), weights_sha256
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(getattr(whole, f"layer{level}") for level in range(1, levels[-1] + 1))
        self.requires_grad_(False)
        self.eval()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each feature map."""
        return tuple(self.info.channels[level - 1] for level in self.levels)

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode: its batch norms keep ImageNet's statistics."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The feature maps of the wanted levels.

        Args:
            images: (B, 3, H, W) float, normalised with ImageNet's mean and deviation.

        Returns:
            One (B, C, H / 2^(level + 1), W / 2^(level + 1)) per level, rounded up.
        """
        x, maps = self.stem(images), []
        for level, stage in enumerate(self.stages, 1):
            x = stage(x)
            if level in self.levels:
                maps.append(x)
        return maps


def load_backbone(name: str, levels: Sequence[int], weights: str | Path | None = None) -> Backbone:
    """A backbone with its weights.

    Args:
        name: one of `BACKBONES`.
        levels: whose feature maps are wanted.
        weights: a checkpoint of torchvision's keys (only the levels used must be there); `"random"` for an untrained one;
            None takes torchvision's, from its cache or the network.

    Raises:
        UsageError: no such backbone or level.
        InputDataError: no weights, and none can be fetched.
        IntegrityError: the file is damaged or of another network.
    """
    info = backbone_info(name)
    if weights == RANDOM:
        return Backbone(info, levels)
    path = Path(weights) if weights is not None else _torchvision_file(info)
    state, sha256 = read_weights(path), file_sha256(path)
    backbone = Backbone(info, levels, sha256)
    ours_of = {_torchvision_name(key): key for key in backbone.state_dict()}
    lacking = [theirs for theirs in ours_of if theirs not in state and not theirs.endswith("num_batches_tracked")]
    if lacking:
        raise IntegrityError(f"{path}: not weights of {name}: {lacking[0]} is missing, and {len(lacking) - 1} more.")
    try:
        backbone.load_state_dict({ours: state[theirs] for theirs, ours in ours_of.items() if theirs in state}, strict=False)
    except RuntimeError as error:
        raise IntegrityError(f"{path}: not weights of {name} ({str(error).splitlines()[-1].strip()}).") from error
    return backbone


def _torchvision_name(key: str) -> str:
    """`stages.1.0.conv1.weight` is `layer2.0.conv1.weight` to torchvision."""
    part, number, *rest = key.split(".")
    if part == "stages":
        return ".".join([f"layer{int(number) + 1}", *rest])
    return ".".join([("conv1", "bn1")[int(number)], *rest])


def _torchvision_file(info: BackboneInfo) -> Path:
    """Torchvision's weights in PyTorch's cache; fetched if they are not there."""
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    path = cache / info.file
    if not path.is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_URL + info.file, str(path), hash_prefix=info.sha256, progress=False)
        except (OSError, RuntimeError) as error:
            raise InputDataError(
                f"the backbone's weights are not here and cannot be fetched ({error}).\n"
                f"Get {info.file} (its sha256 begins with {info.sha256}) from {_URL}{info.file},\n"
                f"and give it as --weights backbone=PATH, or put it into {cache}.\n"
                "An untrained backbone has to be asked for: --weights backbone=random."
            ) from error
    return path


def backbone_for(choice: BackboneChoice | None, weights: str | None) -> Backbone | None:
    """The frozen backbone of a detector; None where it has none.

    Args:
        choice: what it looks through.
        weights: as `load_backbone` takes them.

    Raises:
        UsageError: weights were given for nothing.
    """
    if choice is None:
        if weights not in (None, NONE):
            raise UsageError("--weights backbone: this detector has no backbone.")
        return None
    if weights == RANDOM:
        torch.manual_seed(_SEED)
    return load_backbone(choice.name, choice.levels, weights)
