"""npcF, the coarse stage: an autoencoder over a residual network (MaPhC2F, section 3.2.2).

The paper names a wide residual network and says nothing of a decoder. Ours has skips from every level of the encoder, and
by default adds to stage A a change that fades out around the mask, so that normal pixels stay as they are by construction.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.errors import IntegrityError
from synthgen.runs.weights import read_weights

GROWN, FEATHER = 1.0, 1.0
"""Pixels of a 512-pixel image by which the area that may change exceeds the mask, and the standard deviation of its rim."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB 0..1
_CHANNELS = {"wide_resnet50_2": (64, 256, 512, 1024), "resnet18": (64, 64, 128, 256)}
_DECODER = (128, 64, 32, 16)
_GROUPS = 8


class Encoder(nn.Module):
    """A torchvision residual network up to its third level. Its batch norms keep the statistics that they came with.

    Args:
        backbone: its name.
        inputs: 3 for one RGB image; 6 for two, each of which gets half of the first convolution.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: str, inputs: int) -> None:
        super().__init__()
        import torchvision

        whole = getattr(torchvision.models, backbone)(weights=None)
        self.inputs = inputs
        self.conv1 = nn.Conv2d(inputs, 64, 7, 2, 3, bias=False)
        with torch.no_grad():
            self.conv1.weight.copy_(_spread(whole.conv1.weight, inputs))
        self.bn1, self.layer1, self.layer2, self.layer3 = whole.bn1, whole.layer1, whole.layer2, whole.layer3
        self.register_buffer("mean", torch.tensor(MEAN * (inputs // 3)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION * (inputs // 3)).view(1, -1, 1, 1), persistent=False)
        self.eval()

    def load_pretrained(self, path: Path) -> None:
        """Take over ImageNet weights.

        Raises:
            InputDataError: there is no such file.
            IntegrityError: it is damaged, or another network's.
        """
        state = read_weights(path, "Give torchvision's weights of the backbone, as a state dictionary.")
        try:
            weights = {name: state[name] for name in self.state_dict() if not name.endswith("num_batches_tracked")}
            weights["conv1.weight"] = _spread(weights["conv1.weight"], self.inputs)
            self.load_state_dict(weights, strict=False)
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise IntegrityError(f"{path}: not weights of the encoder: {reason}. Is --set backbone=... another one?") from error

    def train(self, mode: bool = True) -> "Encoder":
        """Batch norms stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) in [-1, 1] -> features at 1/2, 1/4, 1/8 and 1/16 of the resolution."""
        x = ((images + 1) / 2 - self.mean) / self.deviation
        levels = [functional.relu(self.bn1(self.conv1(x)))]
        x = functional.max_pool2d(levels[0], 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            levels.append(x)
        return levels


class Npcf(nn.Module):
    """The network.

    Args:
        backbone: of the encoder.
        takes_stage_a: whether it sees stage A beside the normal image.
        residual: whether its output changes stage A; else it is the picture.
    """

    def __init__(self, backbone: str, takes_stage_a: bool = True, residual: bool = True) -> None:
        super().__init__()
        self.takes_stage_a, self.residual = takes_stage_a, residual
        inputs = 6 if takes_stage_a else 3
        self.encoder = Encoder(backbone, inputs)
        skips = [*_CHANNELS[backbone][2::-1], inputs]
        below = [_CHANNELS[backbone][3], *_DECODER[:-1]]
        self.decoder = nn.ModuleList(_block(a + b, c) for a, b, c in zip(below, skips, _DECODER, strict=True))
        self.head = nn.Conv2d(_DECODER[-1], 3, 3, padding=1)
        if residual:
            nn.init.zeros_(self.head.weight)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def forward(self, normal: Tensor, stage_a: Tensor, soft: Tensor) -> Tensor:
        """The coarse picture u.

        Args:
            normal: (B, 3, H, W) float32 in [-1, 1]; H and W multiples of 16.
            stage_a: like it.
            soft: (B, 1, H, W) float32 in [0, 1], where the picture may change (see `feathered`).

        Returns:
            (B, 3, H, W) float32 in [-1, 1].
        """
        images = torch.cat([normal, stage_a], 1) if self.takes_stage_a else normal
        levels = self.encoder(images)
        x = levels.pop()
        for block, skip in zip(self.decoder, [*reversed(levels), images], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2, mode="bilinear"), skip.to(x.dtype)], 1))
        # the last layer decides on gray levels: half of bf16's steps near 1 would be a whole level
        with torch.autocast(normal.device.type, enabled=False):
            out = torch.tanh(self.head(x.float()))
            return (stage_a + soft * out).clamp(-1, 1) if self.residual else out


def composed(picture: Tensor, normal: Tensor, soft: Tensor) -> Tensor:
    """The picture with the normal image's own pixels where `soft` is 0."""
    return normal + soft * (picture - normal)


def feathered(mask: Tensor, grown: float, feather: float) -> Tensor:
    """A mask with a margin that fades out.

    Args:
        mask: (B, 1, H, W) float {0, 1}.
        grown: pixels by which it is dilated (a square).
        feather: standard deviation of the Gaussian in pixels.
    """
    reach = max(round(grown), 1)
    wide = functional.max_pool2d(mask, 2 * reach + 1, 1, reach)
    radius = max(round(3 * feather), 1)
    at = torch.arange(-radius, radius + 1, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * (at / max(feather, 0.3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(wide, (radius,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _spread(weight: Tensor, inputs: int) -> Tensor:
    """(64, 3, 7, 7) as the first convolution over so many channels: each image gets an equal part."""
    images = inputs // 3
    return torch.cat([weight / images] * images, 1)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, outputs), nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, outputs), nn.SiLU(),
    )  # fmt: skip
