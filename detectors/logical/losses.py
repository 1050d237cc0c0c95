"""The losses of LogicAL's localizer (LogicAL, Eqs. 2 to 7), in float32 whatever the networks compute in.

The edge loss is printed without its minus sign, and its two weights are given as constants though they are shares of the
classes; what is meant (the annotator-robust loss of RCF and PiDiNet) is the weighted cross-entropy below. The printed rule
calls a pixel negative where its soft edge is exactly 0, which never happens: here it is negative below a limit.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from detectors.logical.config import LogicalConfig
from detectors.logical.network import Reconstructed

_SIDE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2  # of values that span 0 to 1
_NEGATIVES = 1.1  # weight of pixels without edges, beside that by their share (lambda of RCF and PiDiNet)
_FOCUS = 2


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """(B, C, H, W) structural similarity of values that span 0 to 1: a Gaussian window of 11, zeros beyond the border.

    Args:
        first: (B, C, H, W) float.
        second: likewise.
    """
    both = torch.cat([first, second, first * first, second * second, first * second], 1)
    mean_a, mean_b, square_a, square_b, product = _smooth(both).chunk(5, 1)
    variance_a, variance_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    same = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    all_there_is = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return torch.div(same, all_there_is)


def likeness_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error, and 1 minus the mean structural similarity (Eqs. 4 and 5): a scalar, of (B, C, H, W) float.

    The similarity of values below 0 is best where they are far below: whole borders would stay there. It sees them as 0, and
    the squared error alone draws them back.
    """
    return functional.mse_loss(made, wanted) + 1 - similarity(made.clamp(0, 1), wanted).mean()


def edge_loss(logits: Tensor, wanted: Tensor, low: float = 0.1, high: float = 0.3) -> Tensor:
    """Annotator-robust cross-entropy (Eq. 6, corrected).

    Of each image, the rarer class weighs more: edges by the share of pixels without, these by 1.1 times the share of edges.
    Where there is one class alone, its weight is 0.

    Args:
        logits: (B, 1, H, W) float, the larger the likelier an edge.
        wanted: (B, 1, H, W) float, 0 to 1, strengths of edges.
        low: pixels below have no edge.
        high: pixels from it on are edges; those between count for nothing.

    Returns:
        The mean over images of their mean over the pixels that count.
    """
    edge, none = (wanted >= high).to(logits.dtype), (wanted < low).to(logits.dtype)
    edges, others = edge.sum((1, 2, 3)), none.sum((1, 2, 3))
    counted = (edges + others).clamp(min=1)
    positive = (functional.softplus(-logits) * edge).sum((1, 2, 3)) * others / counted
    negative = (functional.softplus(logits) * none).sum((1, 2, 3)) * _NEGATIVES * edges / counted
    return ((positive + negative) / counted).mean()


def focal_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Focal loss (Eq. 7; gamma 2) of normal and anomalous pixels: the mean.

    Args:
        logits: (B, 2, H, W) float.
        masks: (B, H, W) of 0 and 1, or bool.
    """
    entropy = functional.cross_entropy(logits, masks.long(), reduction="none")
    return ((1 - torch.exp(-entropy)) ** _FOCUS * entropy).mean()


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The losses of a batch, scalars."""

    image: Tensor
    jnd: Tensor
    edge: Tensor
    mask: Tensor
    total: Tensor

    def parted(self) -> Tensor:
        """(5,) float32 without gradients, in this order."""
        return torch.stack([self.total, self.image, self.jnd, self.edge, self.mask]).detach()


NAMES = ("loss", "loss_image", "loss_jnd", "loss_edge", "loss_mask")
"""What `Terms.parted` holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What the networks should make of a batch.

    Attributes:
        image: (B, 3, H, W) float32 RGB, 0 to 1: the real normal images.
        jnd: (B, 1, H, W) float32, 0 to 1: their just noticeable differences.
        edges: (B, 1, H, W) float32, 0 to 1: strengths of their edges.
        masks: (B, H, W) bool, where the input differs from them by an anomaly.
    """

    image: Tensor
    jnd: Tensor
    edges: Tensor
    masks: Tensor


def losses(made: Reconstructed, logits: Tensor, targets: Targets, config: LogicalConfig) -> Terms:
    """All of Eq. 2: of what the reconstruction made, and of the (B, 2, H, W) logits of the localization."""
    with torch.autocast(logits.device.type, enabled=False):
        image = likeness_loss(made.image.float(), targets.image)
        jnd = likeness_loss(made.jnd.float(), targets.jnd)
        edge = edge_loss(made.edges.float(), targets.edges, config.edge_low, config.edge_high)
        mask = focal_loss(logits.float(), targets.masks)
        total = image + config.jnd_weight * jnd + config.edge_weight * edge + mask
    return Terms(image, jnd, edge, mask, total)


def _smooth(x: Tensor) -> Tensor:
    """Each channel under the window, one direction after the other."""
    channels = x.shape[1]
    line = _line(x.device).to(x.dtype)
    across = line.reshape(1, 1, 1, _SIDE).expand(channels, 1, 1, _SIDE)
    down = line.reshape(1, 1, _SIDE, 1).expand(channels, 1, _SIDE, 1)
    x = functional.conv2d(x, across, padding=(0, _SIDE // 2), groups=channels)
    return functional.conv2d(x, down, padding=(_SIDE // 2, 0), groups=channels)


@lru_cache(maxsize=4)
def _line(device: torch.device) -> Tensor:
    places = torch.arange(_SIDE, dtype=torch.float64) - _SIDE // 2
    weights = torch.exp(-(places**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).to(device)
