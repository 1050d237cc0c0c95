"""The networks of LogicAL's localizer: reconstruction, DiffNeck, localization (LogicAL, section 3.2; OmniAL; DRAEM).

The paper takes the reconstruction-and-localization network of OmniAL and adds a head for edges. What neither says follows
DRAEM, from which both descend: widths, levels, where images are halved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.runs.devices import in_full

_RATIO = 8  # by which channel attention narrows
_DILATED_SHARE = 0.1  # of the dilated path of spatial attention
_LUMA = (0.299, 0.587, 0.114)
_DIFFERENCES = 13  # channels that DiffNeck sees in all


@dataclass(frozen=True, slots=True, eq=False)
class Reconstructed:
    """What the reconstruction sub-network makes of images: how they would look without anomalies.

    Attributes:
        image: (B, 3, H, W) float RGB, about 0 to 1.
        jnd: (B, 1, H, W) float, just noticeable differences, about 0 to 1.
        edges: (B, 1, H, W) float, logits of edges.
    """

    image: Tensor
    jnd: Tensor
    edges: Tensor


class Attention(nn.Module):
    """Dilated channel and spatial attention, DCSA (OmniAL)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // _RATIO)
        self.narrow, self.widen = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)
        self.near = nn.Conv2d(2, 1, 3, padding=1)
        self.far = nn.Conv2d(2, 1, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) weighed by channel, then by place."""
        x = x * self.widen(functional.relu(self.narrow(x.mean((2, 3), keepdim=True)))).sigmoid()
        planes = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        places: Tensor = self.near(planes) + _DILATED_SHARE * self.far(planes)
        return x * places.sigmoid()


class InstanceNorm(nn.Module):
    """Instance normalisation, with weights; by the quicker of two ways that differ in rounding alone.

    Groups of one channel are normalised without copying images whose channels lie side by side, in a tenth of the time; but
    their gradients take three times as long on a CPU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), each channel of each image with mean 0 and deviation 1, then weighed."""
        if self.training:
            return functional.instance_norm(x, weight=self.weight, bias=self.bias)
        return functional.group_norm(x, len(self.weight), self.weight, self.bias)


Norm = Callable[[int], nn.Module]


def _twice(channels: int, out: int, norm: Norm, dilation: int = 1) -> list[nn.Module]:
    """Two times convolution, normalisation and ReLU."""
    return [*_once(channels, out, norm, dilation), *_once(out, out, norm, dilation)]


def _once(channels: int, out: int, norm: Norm, dilation: int = 1) -> list[nn.Module]:
    # the normalisation that follows takes a bias away again
    convolution = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation, bias=False)
    return [convolution, norm(out), nn.ReLU(inplace=True)]


def _block(channels: int, out: int) -> nn.Sequential:
    """A block of the reconstruction: instances are normalised, since the images of a batch need have nothing in common."""
    return nn.Sequential(*_twice(channels, out, InstanceNorm), Attention(out))


def _larger(x: Tensor, like: Tensor) -> Tensor:
    """Resized to the height and width of another."""
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Reconstruction(nn.Module):
    """Encoder and decoder without skips, which would copy the anomaly; three heads.

    Args:
        width: channels of the first of the five levels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.down = nn.ModuleList(_block(before, after) for before, after in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(
            _block(before, after) for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )  # fmt: skip
        self.image = nn.Conv2d(width, 3, 3, padding=1)
        self.jnd = nn.Conv2d(width, 1, 3, padding=1)
        self.edges = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Reconstructed:
        """Reconstruct (B, 3, H, W) float RGB images of values 0 to 1; sides are multiples of 16."""
        x = images
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
        for block in self.up:
            x = block(functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        return Reconstructed(self.image(x), self.jnd(x), self.edges(x))


class DiffNeck(nn.Module):
    """What differs between an image and its reconstruction, by separate and unified paths (OmniAL, with edges).

    Args:
        channels: that come out.
    """

    luma: Tensor
    sobel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        paths = (9, 2, 2, _DIFFERENCES)  # image; gray and JND; edges; all of it
        self.paths = nn.ModuleList(nn.Sequential(*_once(count, half, nn.BatchNorm2d)) for count in paths)
        self.join = nn.Sequential(*_once(len(paths) * half, channels, nn.BatchNorm2d))
        self.register_buffer("luma", torch.tensor(_LUMA).reshape(1, 3, 1, 1), persistent=False)
        sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        self.register_buffer("sobel", torch.stack([sobel, sobel.T])[:, None], persistent=False)

    def forward(self, images: Tensor, made: Reconstructed) -> Tensor:
        """(B, C, H, W) of (B, 3, H, W) float RGB images of values 0 to 1 and their reconstructions."""
        gray = (images * self.luma).sum(1, keepdim=True)
        seen = [
            torch.cat([images, made.image, (images - made.image).abs()], 1),
            torch.cat([gray, made.jnd], 1),
            torch.cat([self._gradient(gray), made.edges.sigmoid()], 1),
        ]
        paths = [path(x) for path, x in zip(self.paths, [*seen, torch.cat(seen, 1)], strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return joined

    def _gradient(self, gray: Tensor) -> Tensor:
        """(B, 1, H, W): the gradient's length, gray levels of 0 to 1 per pixel."""
        sides = functional.conv2d(functional.pad(gray, (1, 1, 1, 1), mode="replicate"), self.sobel.to(gray.dtype))
        return (sides.square().sum(1, keepdim=True) + 1e-8).sqrt()


class Localization(nn.Module):
    """A U-Net of six levels, the last four dilated, that tells each pixel's class (OmniAL, DRAEM).

    Args:
        width: channels of the first level, and of what comes in.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width]
        levels = enumerate(zip([width, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(
            nn.Sequential(*_twice(before, after, nn.BatchNorm2d, 2 if level > 1 else 1)) for level, (before, after) in levels
        )
        ways = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(nn.Sequential(*_twice(below + skip, skip, nn.BatchNorm2d)) for below, skip in ways)
        self.head = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, H, W) logits of normal and anomalous, of (B, C, H, W) float; sides are multiples of 32."""
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        return self._decoded(x, kept[-2::-1])

    def _decoded(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        for block, skip in zip(self.up, skips, strict=True):
            x = block(torch.cat([_larger(x, skip), skip], 1))
        return in_full(self.head, x)
