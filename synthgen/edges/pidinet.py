"""PiDiNet (Su et al., "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021), written anew for its weights.

A pixel difference convolution weighs differences between pixels instead of pixels. It is linear, so it equals an ordinary
convolution whose kernel follows from the stored 3x3 taps; `fold` works that kernel out, and nothing else is special here.
"""

import copy
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.errors import IntegrityError, UsageError
from synthgen.runs.weights import read_weights

LICENCE = (
    "PiDiNet's weights are for research purposes only; for commercial use, contact its authors"
    " (github.com/hellozhuo/pidinet). They are not part of synthgen."
)

Kind = Literal["cv", "cd", "ad", "rd"]
"""Ordinary convolution, or central, angular or radial pixel differences (paper, section 3.1)."""

Kinds = Literal["carv4", "baseline"]
"""Names of the published sequences of kinds. Their stored tensors have the same shapes."""

LAYERS: dict[Kinds, tuple[Kind, ...]] = {"carv4": ("cd", "ad", "rd", "cv") * 4, "baseline": ("cv",) * 16}
"""The kinds of a network's 16 difference layers, in order."""

VARIANTS: dict[str, tuple[int, int | None]] = {
    "full": (60, 24),
    "small": (30, 12),
    "tiny": (20, 8),
    "full-l": (60, None),
    "small-l": (30, None),
    "tiny-l": (20, None),
}
"""Channels of the first stage, and of the side branches (None: the lighter networks, which have no such modules)."""

PADDING = 16
"""Pixels of reflected image around it in `edge_maps`; zero padding would draw a frame."""

_CLOCKWISE = (0, 1, 2, 5, 8, 7, 6, 3)  # a 3x3 kernel's outer taps in raster order
_RADIAL_INNER = (6, 7, 8, 11, 13, 16, 17, 18)  # the eight directions in a 5x5 kernel, in raster order
_RADIAL_OUTER = (0, 2, 4, 10, 14, 20, 22, 24)
_DILATIONS = (5, 7, 9, 11)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_FITTING = "Give one of the published table5_pidinet, -small, -tiny (each also with -l), table5_baseline, table6 or table7 .pth"


def fold(taps: Tensor, kind: Kind) -> Tensor:
    """The kernel of the ordinary convolution that equals a pixel difference convolution (paper, Eqs. 1 and 2, Fig. 3).

    Args:
        taps: (O, I, 3, 3) float, the stored weights.
        kind: `cd` takes differences to the centre pixel; `ad` of each outer pixel to the next one clockwise; `rd` of the
            outer to the inner of two pixels in each of eight directions. `rd` uses taps 1 to 8 in raster order for the
            directions NW, N, NE, W, E, SW, S, SE: not where they lie in the 3x3 kernel, and tap 0 not at all.

    Returns:
        (O, I, 3, 3), or (O, I, 5, 5) for `rd`; to be padded by half its side.
    """
    flat = taps.flatten(2)
    if kind == "cd":
        kernel = flat.clone()
        kernel[..., 4] -= flat.sum(-1)
    elif kind == "ad":
        kernel = torch.zeros_like(flat)
        ring = flat[..., _CLOCKWISE]
        kernel[..., _CLOCKWISE] = ring - ring.roll(1, -1)
    elif kind == "rd":
        kernel = flat.new_zeros(*flat.shape[:2], 25)
        kernel[..., _RADIAL_OUTER] = flat[..., 1:]
        kernel[..., _RADIAL_INNER] = -flat[..., 1:]
        return kernel.reshape(*taps.shape[:2], 5, 5)
    else:
        return taps
    return kernel.reshape(taps.shape)


class DifferenceConv(nn.Module):
    """A pixel difference convolution without bias, which keeps the size of its input.

    The parameter is the stored tensor of 3x3 taps. In evaluation mode the folded kernel is worked out once and kept.

    Attributes:
        kind: which differences it takes.
        groups: as of `nn.Conv2d`.
    """

    _kept: Tensor | None

    def __init__(self, channels_in: int, channels_out: int, kind: Kind, groups: int = 1) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in // groups, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.register_buffer("_kept", None, persistent=False)  # a buffer, so that it moves with the module
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def kernel(self) -> Tensor:
        """The folded kernel; a constant, without gradient, in evaluation mode."""
        if self.training:
            return fold(self.weight, self.kind)
        if self._kept is None:
            with torch.inference_mode(False), torch.no_grad():  # also fit for a later pass with gradients
                self._kept = fold(self.weight, self.kind).contiguous()
        return self._kept

    def plain(self) -> nn.Conv2d:
        """The ordinary convolution that gives the same."""
        kernel = fold(self.weight.detach(), self.kind)
        outputs, inputs, side, _ = kernel.shape
        same = nn.Conv2d(inputs * self.groups, outputs, side, padding=side // 2, groups=self.groups, bias=False)
        same.weight = nn.Parameter(kernel.clone(), requires_grad=self.weight.requires_grad)
        return same.train(self.training)

    def train(self, mode: bool = True) -> "DifferenceConv":
        """Switches the mode; the weights may change from here on, so that the kept kernel is dropped."""
        self._kept = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """(N, O, H, W) of (N, I, H, W)."""
        kernel = self.kernel()
        return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=self.groups)


def _forget(module: DifferenceConv, _: object) -> None:
    """Drops the kept kernel when other weights were loaded."""
    module._kept = None


class _Block(nn.Module):
    """Depthwise difference convolution, ReLU, 1x1 convolution, and a shortcut; the first of a later stage halves the size."""

    def __init__(self, channels_in: int, channels_out: int, kind: Kind, halves: bool) -> None:
        super().__init__()
        self.conv1 = DifferenceConv(channels_in, channels_in, kind, groups=channels_in)
        self.conv2 = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1) if halves else None

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            x = functional.max_pool2d(x, 2)
        y: Tensor = self.conv2(functional.relu(self.conv1(x)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Dilations(nn.Module):
    """The compact dilation convolution module (CDCM): the sum of four dilated convolutions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 1)
        for number, dilation in enumerate(_DILATIONS, 1):
            branch = nn.Conv2d(channels_out, channels_out, 3, padding=dilation, dilation=dilation, bias=False)
            self.add_module(f"conv2_{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(functional.relu(x))
        total: Tensor = sum(self.get_submodule(f"conv2_{number}")(x) for number in range(1, len(_DILATIONS) + 1))
        return total


class _SpatialAttention(nn.Module):
    """The compact spatial attention module (CSAM): scales each place by a number between 0 and 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = torch.sigmoid(self.conv2(self.conv1(functional.relu(x))))
        return x * weight


class _Reduction(nn.Module):
    """One channel of logits from a side branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits


class PiDiNet(nn.Module):
    """The edge detector; its state dict has the published names and shapes (without their prefix `module.`).

    Attributes:
        width: channels of the first stage.
        reduced: channels of the side branches; None where there are none (the published `-l` networks).
        kinds: name of the sequence of difference layers, of `LAYERS`.
    """

    def __init__(self, width: int = 60, reduced: int | None = 24, kinds: Kinds = "carv4") -> None:
        super().__init__()
        self.width, self.reduced, self.kinds = width, reduced, kinds
        layers = iter(LAYERS[kinds])
        self.init_block = DifferenceConv(3, width, next(layers))
        widths = (width, 2 * width, 4 * width, 4 * width)
        self._stages: list[list[str]] = []
        channels = width
        for stage, wide in enumerate(widths, 1):
            names = [f"block{stage}_{number}" for number in range(1, 4 if stage == 1 else 5)]
            for name in names:
                self.add_module(name, _Block(channels, wide, next(layers), halves=stage > 1 and name == names[0]))
                channels = wide
            self._stages.append(names)
        sides = widths if reduced is None else (reduced,) * 4
        self.dilations = nn.ModuleList([] if reduced is None else [_Dilations(wide, reduced) for wide in widths])
        self.attentions = nn.ModuleList([] if reduced is None else [_SpatialAttention(reduced) for _ in widths])
        self.conv_reduces = nn.ModuleList(_Reduction(side) for side in sides)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Edge maps.

        Args:
            images: (N, 3, H, W) float RGB, H and W at least 8, as `normalise` gives them.

        Returns:
            Five (N, 1, H, W) float maps of 0 to 1, an edge being high: side outputs 1 to 4, fine to coarse, and the fused.
        """
        x = self.init_block(images)
        logits = []
        for number, names in enumerate(self._stages):
            for name in names:
                x = self.get_submodule(name)(x)
            side = x if self.reduced is None else self.attentions[number](self.dilations[number](x))
            side = self.conv_reduces[number](side)
            logits.append(functional.interpolate(side, images.shape[-2:], mode="bilinear", align_corners=False))
        logits.append(self.classifier(torch.cat(logits, 1)))
        return [torch.sigmoid(side) for side in logits]

    def to_plain(self) -> "PiDiNet":
        """A copy that gives the same maps with ordinary convolutions: faster to train on, simpler to export."""
        plain = copy.deepcopy(self)
        for parent in list(plain.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, DifferenceConv):
                    setattr(parent, name, child.plain())
        return plain


def normalise(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB of 0 to 1 as the network wants it: ImageNet's mean taken off, divided by its deviation."""
    return (images - images.new_tensor(_MEAN)[:, None, None]) / images.new_tensor(_DEVIATION)[:, None, None]


def edge_maps(network: PiDiNet, images: Tensor) -> list[Tensor]:
    """The network's maps without a frame along the border: of the image with 16 px of its reflection around it, cut off again.

    Args:
        network: the detector.
        images: (N, 3, H, W) float RGB of 0 to 1, H and W at least 2.

    Returns:
        Five (N, 1, H, W) float maps as `PiDiNet.forward` gives them.
    """
    height, width = images.shape[-2:]
    rows, columns = (_reflected(length, images.device) for length in (height, width))
    maps = network(normalise(images)[..., rows, :][..., columns])
    return [edges[..., PADDING : PADDING + height, PADDING : PADDING + width] for edges in maps]


def _reflected(length: int, device: torch.device) -> Tensor:
    """(length + 2 * PADDING,) int64 indices into a line of pixels and its reflections, however short it is."""
    place = torch.arange(-PADDING, length + PADDING, device=device) % (2 * length - 2)
    return torch.minimum(place, 2 * length - 2 - place)


def load_pidinet(path: Path, device: str = "cpu", kinds: Kinds = "carv4") -> PiDiNet:
    """A published PiDiNet, in evaluation mode and without gradients.

    Args:
        path: one of the checkpoints of PiDiNet's authors; which variant it is follows from its tensors.
        device: where to put it, such as `"cpu"` or `"cuda"`.
        kinds: the sequence of difference layers, which the tensors do not tell; a file with `baseline` in its name has
            ordinary convolutions whatever is said here.

    Raises:
        InputDataError: there is no such file, or it cannot be read.
        IntegrityError: it is damaged, or of another network.
        UsageError: there is no such device here.
    """
    state = read_weights(path, f"{_FITTING}.")
    first = state.get("init_block.weight")
    branch = state.get("dilations.0.conv1.weight")
    shape = (None if first is None else len(first), None if branch is None else len(branch))
    name = next((name for name, known in VARIANTS.items() if known == shape), None)
    if name is None:
        raise IntegrityError(f"{path}: these are not PiDiNet's weights, but another network's. {_FITTING}.")
    network = PiDiNet(*VARIANTS[name], kinds="baseline" if "baseline" in path.name else kinds)
    ours, given = ({key: value.shape for key, value in tensors.items()} for tensors in (network.state_dict(), state))
    wrong = [key for key in ours | given if ours.get(key) != given.get(key)]
    if wrong:
        raise IntegrityError(
            f"{path}: not the {name} PiDiNet's weights: {wrong[0]} is missing, unknown or of another shape, and"
            f" {len(wrong) - 1} more. {_FITTING}."
        )
    network.load_state_dict(state)
    network.requires_grad_(False).eval()
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r}: not available here ({reason}). Try cpu.") from error
