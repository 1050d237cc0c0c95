"""The network that tells the foreground from the ground: a small U-Net, as it is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (8, 16, 24, 32, 48, 64)


def _block(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    made: list[nn.Module] = []
    for _ in range(layers):
        made += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*made)


class ForegroundNet(nn.Module):
    """(B, 3, 128, 128) Lab, scaled as `synthgen.foreground.network` does it -> (B, 1, 128, 128) logits of the foreground."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        sides = list(zip((3, *widths[:-1]), widths, strict=True))
        self.down = nn.ModuleList(_block(inputs, outputs, 2 if level else 1) for level, (inputs, outputs) in enumerate(sides))
        ways = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(
            _block(below + skip, skip, 2 if level < len(ways) - 1 else 1) for level, (below, skip) in enumerate(ways)
        )
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        logits: Tensor = self.head(x)
        return logits
