"""LogicAL's localizer as a whole: images in, anomaly maps and image scores out. It needs no edge detector and no generator."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.logical.config import LogicalConfig
from detectors.logical.network import DiffNeck, Localization, Reconstructed, Reconstruction
from synthgen.samples import Image


class LogicAL(nn.Module):
    """The reconstruction-and-localization network.

    Attributes:
        reconstruction: how the image would look without anomalies.
        neck: what differs from that.
        localization: where it is an anomaly.
    """

    def __init__(self, config: LogicalConfig) -> None:
        super().__init__()
        self.config = config
        self.reconstruction = Reconstruction(config.rec_width)
        self.neck = DiffNeck(config.seg_width)
        self.localization = Localization(config.seg_width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (B, 3, H, W) float RGB, 0 to 255; sides are multiples of 32.

        Returns:
            Anomaly maps (B, H, W) float, 0 to 1, and image scores (B,) float; larger is more anomalous.
        """
        _, logits = self.both(images / 255)
        with torch.autocast(logits.device.type, enabled=False):
            maps = logits.softmax(1)[:, 1]
            return maps, pooled(maps, self.config.pool).flatten(1).amax(1)

    def both(self, images: Tensor) -> tuple[Reconstructed, Tensor]:
        """Reconstructions and (B, 2, H, W) logits of (B, 3, H, W) float RGB images of values 0 to 1."""
        made = self.reconstruction(images)
        return made, self.localization(self.neck(images, made))


def pooled(maps: Tensor, pool: int) -> Tensor:
    """(B, H, W) means of the windows around each pixel of (B, H, W) maps; beyond the border there are zeros (DRAEM)."""
    return functional.avg_pool2d(maps[:, None], pool, stride=1, padding=pool // 2)[:, 0]


def explained(model: LogicAL, image: Image) -> Mapping[str, Image]:
    """What lies between an image and its anomaly map, to look at.

    Args:
        model: the detector.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8 RGB pictures by name: the reconstruction, its edges (dark) and its just noticeable differences.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        made, _ = model.both(torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255)
    planes = {"reconstruction": made.image, "edges": 1 - made.edges.sigmoid(), "JND": made.jnd}
    return {name: _picture(values[0]) for name, values in planes.items()}


def _picture(values: Tensor) -> Image:
    levels = (values.float().clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())
