"""Losses of edge-to-image training: adversarial, feature matching and perceptual (pix2pixHD, Eqs. 2 to 5)."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.edges.pidinet import load_pidinet, normalise
from synthgen.errors import IntegrityError
from synthgen.runs.weights import read_weights

Judged = list[list[Tensor]]
"""What a `PatchDiscriminator` returns."""

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Takes (B, 3, H, W) float32 generated and real pictures in [-1, 1]; their weighted distance."""

MATCHING, PERCEPTUAL = 10.0, 10.0
_EDGES = 5.0
_VGG_LAYERS = (1, 6, 11, 20, 29)  # relu1_1, 2_1, 3_1, 4_1, 5_1 of VGG-19
_VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def discriminator_loss(real: Judged, fake: Judged) -> Tensor:
    """Least squares: real pictures are 1, generated ones 0."""
    terms = [(a[-1] - 1).square().mean() + b[-1].square().mean() for a, b in zip(real, fake, strict=True)]
    return 0.5 * torch.stack(terms).sum()


def adversarial_loss(fake: Judged) -> Tensor:
    """Least squares: a generated picture should be taken for 1."""
    return torch.stack([(outputs[-1] - 1).square().mean() for outputs in fake]).sum()


def matching_loss(fake: Judged, real: Judged) -> Tensor:
    """`MATCHING` times the distance of what the discriminators compute on the way."""
    terms = [
        functional.l1_loss(a, b.detach()) * (4 / (len(outputs) - 1))
        for outputs, targets in zip(fake, real, strict=True)
        for a, b in zip(outputs[:-1], targets[:-1], strict=True)
    ]
    return MATCHING / len(fake) * torch.stack(terms).sum()


def pixel_loss(fake: Tensor, real: Tensor) -> Tensor:
    """`PERCEPTUAL` times the mean absolute difference: what is left without a network to look through."""
    return PERCEPTUAL * functional.l1_loss(fake, real)


class VggLoss(nn.Module):
    """`PERCEPTUAL` times the weighted distance of VGG-19's features.

    As the public code of pix2pixHD does, pictures go in as they are, in [-1, 1], without ImageNet's normalisation.

    Raises:
        InputDataError: there is no such file.
        IntegrityError: it is not torchvision's VGG-19.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        from torchvision.models import vgg19

        network = vgg19(weights=None).features[: _VGG_LAYERS[-1] + 1]
        advice = "Give torchvision's vgg19-dcbb9e9d.pth."
        state = read_weights(path, advice)
        try:
            network.load_state_dict({name: state[f"features.{name}"] for name in network.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise IntegrityError(f"{path}: not torchvision's VGG-19. {advice}") from error
        for module in network:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # features are kept
        self.network = network.to(device).eval().requires_grad_(False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """See `Perceptual`."""
        terms = []
        for number, layer in enumerate(self.network):
            fake, real = layer(fake), layer(real)
            if number in _VGG_LAYERS:
                terms.append(_VGG_WEIGHTS[_VGG_LAYERS.index(number)] * functional.l1_loss(fake, real.detach()))
        return PERCEPTUAL * torch.stack(terms).sum()


class EdgeLoss(nn.Module):
    """`pixel_loss`, and 5 times the distance of PiDiNet's four side maps: a picture should have the edges it was made of."""

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self.network = load_pidinet(path, str(device)).requires_grad_(False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """See `Perceptual`."""
        with torch.no_grad():
            of_real = self.network(normalise((real + 1) / 2))[:4]
        of_fake = self.network(normalise((fake + 1) / 2))[:4]
        edges = torch.stack([functional.l1_loss(a, b) for a, b in zip(of_fake, of_real, strict=True)]).sum()
        return pixel_loss(fake, real) + _EDGES * edges
