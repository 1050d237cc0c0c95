"""BiSQAD's base model, after RealNet: selected features, their reconstruction, selected residuals, a segmentation."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.bisqad.config import BiSQADConfig
from detectors.bisqad.sqe import Estimator
from detectors.data.backbones import IMAGENET_DEVIATION, IMAGENET_MEAN, Backbone
from synthgen.runs.devices import in_full

_STEP = 8  # channels: widths are multiples, and groups of GroupNorm have no fewer


class Selected(nn.Module):
    """From pixels to the chosen channels of the backbone's levels. Nothing in it is trained.

    Until channels are chosen, each level gives its first ones. The choice is part of the state dict, as `index0` and so on.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone, config: BiSQADConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)
        for number, count in enumerate(config.channels):
            self.register_buffer(f"index{number}", torch.arange(count))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, C, h, w) float features of each level, of (B, 3, S, S) RGB images of values 0 to 255."""
        return self.chosen(self.all_channels(images))

    def chosen(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The chosen ones of all channels."""
        return [level.index_select(1, getattr(self, f"index{n}")) for n, level in enumerate(levels)]

    def all_channels(self, images: Tensor) -> list[Tensor]:
        """The same with every channel of the levels, which `choose_channels` takes."""
        maps: list[Tensor] = self.backbone((images - self.mean) / self.deviation)
        return maps

    def select(self, chosen: Sequence[Tensor]) -> None:
        """Give these channels from now on: of each level as many int64 indices as it keeps."""
        for number, index in enumerate(chosen):
            getattr(self, f"index{number}").copy_(index)


@torch.no_grad()
def choose_channels(batches: Iterable[tuple[Sequence[Tensor], Sequence[Tensor], Tensor]], keep: Sequence[int]) -> list[Tensor]:
    """The channels whose difference between an anomalous image and its clean source looks most like the mask.

    RealNet's anomaly-aware feature selection: a channel's squared difference is scaled to 0..1 over a batch and compared
    with the mask by the mean squared error.

    Args:
        batches: of synthetic anomalies: all channels (B, C, h, w) of each level of the clean images, those of the anomalous
            images, and the masks (B, S, S) of 0 and 1.
        keep: channels to keep of each level.

    Returns:
        Indices of each level's channels, int64, ascending; of equally good channels the first.

    Raises:
        ValueError: no batches.
    """
    errors: list[Tensor] = []
    for clean, anomalous, masks in batches:
        batch = [_mask_errors(before, after, masks) for before, after in zip(clean, anomalous, strict=True)]
        errors = [earlier + now for earlier, now in zip(errors, batch, strict=True)] if errors else batch
    if not errors:
        raise ValueError("no batches")
    return [error.sort(stable=True).indices[:count].sort().values for error, count in zip(errors, keep, strict=True)]


def _mask_errors(clean: Tensor, anomalous: Tensor, masks: Tensor) -> Tensor:
    """(C,) float64: mean squared error of each channel's scaled difference against the mask."""
    difference = (anomalous.float() - clean.float()).square().transpose(0, 1).flatten(1)
    # the first pixel of a cell, which nearest takes, is where the cell's receptive field is centred
    truth = functional.interpolate(masks[:, None].float(), size=clean.shape[-2:], mode="nearest").flatten()
    low, high = difference.aminmax(dim=1, keepdim=True)
    error = ((difference - low) / (high - low).clamp(min=1e-30) - truth).square().double().mean(1)
    # a channel that never differs says nothing, yet would agree with a mostly empty mask
    return torch.where((high > low)[:, 0], error, 1.0)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_STEP * 4, channels // _STEP), channels)


class ResidualBlock(nn.Module):
    """Two times GroupNorm, SiLU and 3x3 convolution, added to the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            _norm(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        added: Tensor = self.skip(x) + self.layers(x)
        return added


class SelfAttention(nn.Module):
    """Every place looks at all others, added to the input. Plain products, as fused attention has no forward derivative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.projections = nn.Conv2d(channels, 3 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        query, key, value = self.projections(self.norm(x)).flatten(2).chunk(3, 1)
        likeness = (query.transpose(1, 2) @ key) / math.sqrt(x.shape[1])
        seen = value @ likeness.softmax(2).transpose(1, 2)
        attended: Tensor = x + self.output(seen.reshape(x.shape))
        return attended


class UNet(nn.Module):
    """Reconstructs one level's clean features from possibly anomalous ones. At first it gives zeros.

    Args:
        channels: of the features.
        config: says how wide and deep it is.
    """

    def __init__(self, channels: int, config: BiSQADConfig) -> None:
        super().__init__()
        first = -(-round(channels * config.width_share) // _STEP) * _STEP or _STEP
        widths = [first * multiplier for multiplier in config.multipliers]
        self.input = nn.Conv2d(channels, first, 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        before = first
        for width in widths:
            self.down.append(_residuals(before, width, config.blocks))
            before = width
        self.coarser = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.middle = nn.Sequential(ResidualBlock(before, before), SelfAttention(before), ResidualBlock(before, before))
        for width in reversed(widths):
            self.up.append(_residuals(before + width, width, config.blocks))
            before = width
        self.finer = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths[:0:-1])
        last = nn.Conv2d(before, channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.output = nn.Sequential(_norm(before), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape, any height and width."""
        x = self.input(x)
        sides = []
        for number, blocks in enumerate(self.down):
            x = blocks(x if number == 0 else self.coarser[number - 1](x))
            sides.append(x)
        x = self.middle(x)
        for number, blocks in enumerate(self.up):
            side = sides.pop()
            if number:
                x = self.finer[number - 1](functional.interpolate(x, size=side.shape[-2:], mode="nearest"))
            x = blocks(torch.cat([x, side], 1))
        reconstructed: Tensor = self.output(x)
        return reconstructed


def _residuals(inputs: int, outputs: int, count: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(inputs, outputs), *(ResidualBlock(outputs, outputs) for _ in range(count - 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """What the base model says of a batch.

    Attributes:
        logits: (B, 2, S, S) float, normal and anomalous.
        reconstructions: (B, C, h, w) float of each level.
    """

    logits: Tensor
    reconstructions: list[Tensor]


class RealNet(nn.Module):
    """Everything that is trained: reconstructions of features, and what their residuals say about pixels."""

    def __init__(self, config: BiSQADConfig) -> None:
        super().__init__()
        self.size = config.size
        self.unets = nn.ModuleList(UNet(channels, config) for channels in config.channels)
        # running statistics in evaluation: an image's scores do not depend on its batch
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for channels in config.channels)
        total = sum(config.channels)
        self.chosen = min(config.residual_channels, total)
        width = -(-self.chosen // _STEP) * _STEP
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * self.chosen, width, 3, padding=1), ResidualBlock(width, width), _norm(width), nn.SiLU(),
            nn.Conv2d(width, 2, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Sequence[Tensor]) -> Output:
        """Segment.

        Args:
            features: (B, C, h, w) float of each level, the largest first, of the channels that were chosen.
        """
        reconstructions = [unet(level) for unet, level in zip(self.unets, features, strict=True)]
        logits = in_full(self.decoder[-1], self.decoder[:-1](self._residuals(features, reconstructions)))
        with torch.autocast(logits.device.type, enabled=False):
            logits = functional.interpolate(logits, size=self.size, mode="bilinear", align_corners=False)
        return Output(logits, reconstructions)

    def _residuals(self, features: Sequence[Tensor], reconstructions: Sequence[Tensor]) -> Tensor:
        """(B, 2 K, H, W), of the first level's size: the K channels of the largest maximum, then of the largest mean.

        Both in descending order, so that the decoder learns about ranks, and each image has channels of its own.
        """
        shape = features[0].shape[-2:]
        parts = []
        for norm, level, reconstruction in zip(self.norms, features, reconstructions, strict=True):
            part = norm((precise(level) - precise(reconstruction)).square())
            if part.shape[-2:] != shape:
                part = functional.interpolate(part, size=shape, mode="bilinear", align_corners=False)
            parts.append(part)
        residuals = torch.cat(parts, 1)
        with torch.no_grad():
            peaks, means = residuals.amax((2, 3)), residuals.mean((2, 3))
            index = torch.cat([peaks.topk(self.chosen).indices, means.topk(self.chosen).indices], 1)
        return residuals.gather(1, index[:, :, None, None].expand(-1, -1, *shape))


def precise(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def anomaly_maps(logits: Tensor) -> Tensor:
    """(B, S, S) float, 0 to 1, of (B, 2, S, S) logits: how likely each pixel is anomalous."""
    return logits.softmax(1)[:, 1]


def pooled(maps: Tensor, pool: int) -> Tensor:
    """Means of all `pool` x `pool` windows of (B, S, S) maps: (B, S - pool + 1, S - pool + 1).

    The largest is the image's score.
    """
    return functional.avg_pool2d(maps[:, None], pool, stride=1)[:, 0]


class BiSQAD(nn.Module):
    """The whole detector: images in, anomaly maps and image scores out.

    Attributes:
        features: the frozen part.
        base: what is trained.
        estimator: of the quality of anomalies, which scores of images have nothing to do with.
    """

    features: Selected
    base: RealNet
    estimator: Estimator

    def __init__(self, features: Selected, base: RealNet, estimator: Estimator, config: BiSQADConfig) -> None:
        super().__init__()
        self.features, self.base, self.estimator, self.config = features, base, estimator, config

    def state_of_run(self) -> dict[str, Tensor]:
        """All that a training decides: the choice of channels, the base model and the estimator, not the backbone."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("features.backbone.")}

    def load_state_of_run(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_of_run` gave. Raises RuntimeError if it is another model's."""
        backbone = {name: value for name, value in self.state_dict().items() if name.startswith("features.backbone.")}
        self.load_state_dict({**backbone, **state})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (B, 3, S, S) float RGB, 0 to 255.

        Returns:
            Anomaly maps (B, S, S) float, 0 to 1, and image scores (B,) float; larger is more anomalous.
        """
        return self.score(self.features(images))

    def score(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The same of selected features, (B, C, h, w) of each level."""
        maps = anomaly_maps(self.base(features).logits)
        return maps, pooled(maps, self.config.pool).flatten(1).amax(1)
