"""The network of the fine stage, npcF++ (MaPhC2F, equation 26 and Algorithm 8): two branches that meet on the boundary."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.refine.blocks import PDEWaveAttnBlock, RegionSynergyBlock
from synthgen.refine.config import Sign

_GROUPS = 8  # of GroupNorm
_REDUCTION = 4  # of height and width, at the bottleneck
_DARKEST = 1 / 512  # half a gray level: logits of black and white are finite


def _level(inputs: int, outputs: int, sign: Sign) -> nn.Sequential:
    """Two times 3x3 convolution, GroupNorm and SiLU, then PDE and wavelet attention."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, outputs), nn.SiLU()]
    return nn.Sequential(*layers, PDEWaveAttnBlock(outputs, sign))


class _Branch(nn.Module):
    """What the normal and the anomaly stream each have of their own: an encoder and two decoder stages."""

    def __init__(self, inputs: int, width: int, sign: Sign) -> None:
        super().__init__()
        self.encode1 = _level(inputs, width, sign)
        self.encode2 = _level(width, 2 * width, sign)
        self.bottleneck = _level(2 * width, 4 * width, sign)
        self.decode1 = _level(6 * width, 2 * width, sign)
        self.decode2 = _level(3 * width, width, sign)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at full, half and quarter resolution."""
        first = self.encode1(x)
        second = self.encode2(functional.max_pool2d(first, 2))
        return first, second, self.bottleneck(functional.max_pool2d(second, 2))


class SynergyRefineNet(nn.Module):
    """Refines a coarse anomaly, given the normal picture under it.

    Algorithm 8 goes on from the synergy blocks alone, so the anomaly branch reaches the picture through the boundary only. With
    `residual`, which is ours, the network corrects the logits of the coarse picture instead, and starts with no correction.

    Args:
        width: channels at full resolution, a multiple of 8; they double with every halving.
        window: side of the attention windows in pixels, at half and at full resolution alike.
        sign: of epsilon in the PDE blocks.
        residual: add to the coarse picture; False is the paper's plain sigmoid.

    Raises:
        ValueError: for a width that is no multiple of 8.
    """

    def __init__(self, width: int = 32, window: int = 16, sign: Sign = "free", residual: bool = True) -> None:
        super().__init__()
        if width < 1 or width % _GROUPS:
            raise ValueError(f"a width of {width}: expected a multiple of {_GROUPS}")
        self.residual = residual
        self.normal = _Branch(3, width, sign)
        self.anomaly = _Branch(4, width, sign)
        self.synergy1 = RegionSynergyBlock(2 * width, window)
        self.synergy2 = RegionSynergyBlock(width, window, shifted=True)
        self.head = nn.Conv2d(width, 3, 3, padding=1)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, normal: Tensor, coarse: Tensor, mask: Tensor, boundary: Tensor, dense: bool = False) -> Tensor:
        """Refines a batch.

        Args:
            normal: (B, 3, H, W) float RGB in [0, 1], H and W multiples of 4.
            coarse: (B, 3, H, W) likewise, with the anomaly.
            mask: (B, 1, H, W) float {0, 1}, 1 on the anomaly.
            boundary: (B, 1, H, W) float {0, 1}, 1 where `normal` and `coarse` are to meet (`boundary_of`).
            dense: compute attention windows off the boundary too: the same result, for comparison.

        Returns:
            (B, 3, H, W) float32 RGB in [0, 1].

        Raises:
            ValueError: for a height or width that is no multiple of 4.
        """
        height, width = normal.shape[-2:]
        if height % _REDUCTION or width % _REDUCTION:
            raise ValueError(f"a picture of {height} x {width}: height and width must be multiples of {_REDUCTION}")
        normal1, normal2, normal3 = self.normal.encode(normal)
        anomaly1, anomaly2, anomaly3 = self.anomaly.encode(torch.cat([coarse, mask], 1))
        met = self.synergy1(
            self.normal.decode1(_joined(normal3, normal2)),
            self.anomaly.decode1(_joined(anomaly3, anomaly2)),
            functional.max_pool2d(boundary, 2),
            dense,
        )
        met = self.synergy2(
            self.normal.decode2(_joined(met, normal1)), self.anomaly.decode2(_joined(met, anomaly1)), boundary, dense
        )
        # gray levels are decided here: half of bf16's steps near 1 would be a whole level
        with torch.autocast(normal.device.type, enabled=False):
            logits = self.head(met.float())
            if self.residual:
                logits = logits + coarse.float().clamp(_DARKEST, 1 - _DARKEST).logit()
            return torch.sigmoid(logits)


def _joined(coarser: Tensor, skipped: Tensor) -> Tensor:
    """Features of half the resolution, brought up, with those skipped to them."""
    return torch.cat([functional.interpolate(coarser, scale_factor=2, mode="nearest"), skipped], 1)
