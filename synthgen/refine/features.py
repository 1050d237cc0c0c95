"""Networks whose features the perceptual loss of npcF compares (MaPhC2F, equation 20): VGG-16, or the encoder as it came."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from synthgen.errors import IntegrityError, UsageError
from synthgen.refine.config import NpcfConfig
from synthgen.refine.npcf import DEVIATION, MEAN, Encoder
from synthgen.runs.weights import read_weights

_LAYERS = (3, 8, 15)  # relu1_2, relu2_2, relu3_3 of VGG-16
_LEVELS = 3  # of the encoder: to 1/8 of the resolution


def choose_network(config: NpcfConfig, weights: Mapping[str, Path]) -> NpcfConfig:
    """The settings with `perc_network: auto` replaced by what there are weights for, by name (`vgg16`, `encoder`).

    Raises:
        UsageError: a network was asked for whose weights are missing.
    """
    choice = config.perc_network if config.perceptual else "none"
    if choice == "none":
        return replace(config, perc_network="none")
    if choice == "auto":
        return replace(config, perc_network=next((name for name in ("vgg16", "encoder") if name in weights), "none"))
    if choice not in weights:
        raise UsageError(f"perc_network={choice} needs its weights: --weights {choice}=FILE. perc_network=none does without.")
    return config


def load_features(config: NpcfConfig, weights: Mapping[str, Path]) -> nn.Module | None:
    """The network that the settings name (no longer `auto`), frozen, on the CPU; None for none.

    Raises:
        InputDataError, IntegrityError: its weights are missing or not what they should be.
    """
    if config.perc_network == "none" or not config.perceptual:
        return None
    made = Vgg16(weights["vgg16"]) if config.perc_network == "vgg16" else EncoderFeatures(config.backbone, weights["encoder"])
    return made.eval().requires_grad_(False)


class Vgg16(nn.Module):
    """VGG-16 up to relu3_3.

    Raises:
        InputDataError: there is no such file.
        IntegrityError: it is not torchvision's VGG-16.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        from torchvision.models import vgg16

        self.layers = vgg16(weights=None).features[: _LAYERS[-1] + 1]
        advice = "Give torchvision's vgg16-397923af.pth."
        state = read_weights(path, advice)
        try:
            self.layers.load_state_dict({name: state[f"features.{name}"] for name in self.layers.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise IntegrityError(f"{path}: not torchvision's VGG-16. {advice}") from error
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # features are kept
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> features at 1, 1/2 and 1/4 of the resolution."""
        x, features = ((pictures + 1) / 2 - self.mean) / self.deviation, []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in _LAYERS:
                features.append(x)
        return features


class EncoderFeatures(nn.Module):
    """The encoder with its pretrained weights: what there is where VGG's are not."""

    def __init__(self, backbone: str, path: Path) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, 3)
        self.encoder.load_pretrained(path)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> features at 1/2, 1/4 and 1/8 of the resolution."""
        levels: list[Tensor] = self.encoder(pictures)
        return levels[:_LEVELS]
