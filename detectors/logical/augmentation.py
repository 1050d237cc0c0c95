"""Augmentation of LogicAL's training: colours and warps, of an image and all its targets alike."""

import torch
from torch import Tensor

from detectors.logical.config import LogicalConfig
from detectors.logical.losses import Targets
from synthgen.edges.warping import warp, warp_grid


def augmented(inputs: Tensor, targets: Targets, config: LogicalConfig, random: torch.Generator) -> tuple[Tensor, Targets]:
    """A batch whose images vary; the same as it was where the settings ask for nothing.

    Just noticeable differences follow warps, but are not worked out anew for other colours.

    Args:
        inputs: (B, 3, H, W) float32 RGB, 0 to 1.
        targets: their targets.
        config: how much.
        random: on the CPU.
    """
    if config.jitter or config.hue_jitter:
        both = torch.stack([inputs, targets.image], 1)
        both = jittered(both, config.jitter, config.hue_jitter, random)
        inputs, targets = both[:, 0], Targets(both[:, 1], targets.jnd, targets.edges, targets.masks)
    if config.warp:
        grid = warp_grid(len(inputs), (inputs.shape[2], inputs.shape[3]), config.warp, random)
        planes = torch.cat([inputs, targets.image, targets.jnd, targets.edges, targets.masks[:, None].to(inputs.dtype)], 1)
        inputs, image, jnd, edges, masks = warp(planes, grid).split((3, 3, 1, 1, 1), 1)  # type: ignore[no-untyped-call]
        targets = Targets(image, jnd, edges, masks[:, 0] > 0.5)
    return inputs.contiguous(memory_format=torch.channels_last), targets


def jittered(pictures: Tensor, amount: float, hue: float, random: torch.Generator) -> Tensor:
    """Pictures with other brightness, contrast, saturation and hue, those of a group alike.

    Args:
        pictures: (B, G, 3, H, W) float32 RGB, 0 to 1; contrast is changed about the mean of a group's last picture.
        amount: largest change of brightness, contrast and saturation, as a share.
        hue: largest turn of the hue, as a share of the circle.
        random: on the CPU.
    """
    factors = 1 + amount * (2 * torch.rand(3, len(pictures), generator=random) - 1)
    turns = hue * (2 * torch.rand(len(pictures), generator=random) - 1)
    brightness, contrast, saturation = (factor.to(pictures)[:, None, None, None, None] for factor in factors)
    pictures = (pictures * brightness).clamp(0, 1)
    middle = _gray(pictures[:, -1:]).mean((2, 3, 4), keepdim=True)
    pictures = (middle + (pictures - middle) * contrast).clamp(0, 1)
    gray = _gray(pictures)
    pictures = (gray + (pictures - gray) * saturation).clamp(0, 1)
    turned = torch.einsum("bij,bgjhw->bgihw", _turns(turns).to(pictures), pictures)
    return turned.clamp(0, 1)


def _gray(pictures: Tensor) -> Tensor:
    weights = pictures.new_tensor((0.299, 0.587, 0.114))[:, None, None]
    return (pictures * weights).sum(-3, keepdim=True)


def _turns(turns: Tensor) -> Tensor:
    """(B, 3, 3) turns of RGB about the gray axis (Rodrigues): the hue moves, gray stays."""
    angles = 2 * torch.pi * turns
    axis = torch.full((3,), 3**-0.5)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * 3**-0.5
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return cos * torch.eye(3) + sin * across + (1 - cos) * torch.outer(axis, axis)
