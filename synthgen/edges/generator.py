"""Edge-to-image networks: pix2pixHD's global generator and multi-scale discriminator (Wang et al. 2018).

DeepSIM (Vinker et al. 2021) trains them on the edges of few pictures, LogicAL on those of a whole dataset. Condition and
picture are in [-1, 1]; normalisation is over the pixels of each picture (InstanceNorm without parameters), so a picture
does not depend on the others of its batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2  # of the discriminator's LeakyReLU
_SPREAD = 0.02  # standard deviation of the first weights
_WIDEST = 512  # channels of the discriminator


class _ResidualBlock(nn.Module):
    """x + two reflection-padded 3x3 convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(True),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Generator(nn.Module):
    """The global generator.

    Args:
        inputs: channels of the condition.
        width: channels at full resolution (ngf); they double with every halving.
        halvings: how often height and width are halved; both must be multiples of 2 ** halvings.
        blocks: residual blocks at the coarsest resolution.
    """

    def __init__(self, inputs: int, width: int, halvings: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7), nn.InstanceNorm2d(width), nn.ReLU(True)]
        for _ in range(halvings):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU(True)]
            width *= 2
        layers += [_ResidualBlock(width) for _ in range(blocks)]
        for _ in range(halvings):
            up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1)
            layers += [up, nn.InstanceNorm2d(width // 2), nn.ReLU(True)]
            width //= 2
        self.body = nn.Sequential(*layers, nn.ReflectionPad2d(3))
        self.head = nn.Conv2d(width, 3, 7)
        _initialise(self)

    def forward(self, condition: Tensor) -> Tensor:
        """(B, inputs, H, W) in [-1, 1] -> (B, 3, H, W) float32 RGB in [-1, 1]."""
        features = self.body(condition)
        # the last layer decides on gray levels: half of bf16's steps near 1 would be a whole level
        with torch.autocast(condition.device.type, enabled=False):
            return torch.tanh(self.head(features.float()))


class _Patches(nn.Module):
    """One PatchGAN: judges overlapping patches, and shows what it computes on the way."""

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        stages = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(_SLOPE, True))]
        for k in range(1, layers + 1):
            before, width = width, min(2 * width, _WIDEST)
            stride = 2 if k < layers else 1
            convolution = nn.Conv2d(before, width, 4, stride, 2)
            stages.append(nn.Sequential(convolution, nn.InstanceNorm2d(width), nn.LeakyReLU(_SLOPE, True)))
        stages.append(nn.Sequential(nn.Conv2d(width, 1, 4, 1, 2)))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class PatchDiscriminator(nn.Module):
    """PatchGANs of one shape on an image pyramid.

    Args:
        inputs: channels of condition and picture together.
        width: channels of the first layer (ndf).
        layers: of each PatchGAN, strided but for the last.
        scales: how many PatchGANs; each sees half the resolution of the one before.
    """

    def __init__(self, inputs: int, width: int, layers: int = 3, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Patches(inputs, width, layers) for _ in range(scales))
        _initialise(self)

    def forward(self, condition: Tensor, picture: Tensor) -> list[list[Tensor]]:
        """All outputs of every scale, from the first layer to the judgement (B, 1, h, w)."""
        x = torch.cat([condition, picture], 1)
        judged = []
        for patches in self.scales:
            judged.append(patches(x))
            x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return judged


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, _SPREAD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
