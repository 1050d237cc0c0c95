"""The fixed detector: frozen backbone features on a grid, and a small head that learns to segment on them."""

from collections.abc import Iterable
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.data.backbones import IMAGENET_DEVIATION, IMAGENET_MEAN, Backbone
from synthgen.samples import Image, Mask

Features: TypeAlias = NDArray[np.float16]
"""(N, GRID, GRID, C)."""

SIDE = 256
"""Pixels of a side of what the backbone sees."""
GRID = 32
LEVELS = (1, 2, 3)
_WINDOW = 16  # grid cells of a side of what the head is trained on
_BATCH = 32
_WIDTH = 64


class SegmentationHead(nn.Module):
    """(N, C, h, w) features -> (N, 1, 2 h, 2 w) logits of an anomaly."""

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("deviation", deviation.view(1, -1, 1, 1))
        self.layers = nn.Sequential(
            nn.Conv2d(mean.numel(), _WIDTH, 1), nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU(),
            nn.Conv2d(_WIDTH, 4, 1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.layers((features - self.mean) / self.deviation)
        return logits


def shrink(image: Image) -> Image:
    """(SIDE, SIDE, 3) uint8: an image as the backbone sees it; all images go through the same resampling."""
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def shrink_mask(mask: Mask, side: int) -> Mask:
    """(side, side) uint8 {0, 1}: 1 where any pixel under it is, so that no defect vanishes, however thin."""
    if min(mask.shape) <= side:
        return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST))
    covered = cv2.resize((mask > 0).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return (covered > 0).astype(np.uint8)


@torch.inference_mode()
def embed(backbone: Backbone, images: Iterable[Image], count: int, device: torch.device) -> Features:
    """(count, GRID, GRID, C) float16: the backbone's feature maps, side by side on one grid."""
    mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    out: Features | None = None
    batch: list[Image] = []
    done = 0

    def run() -> None:
        nonlocal out, done
        x = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float() / 255
        maps = backbone(((x - mean) / deviation).contiguous(memory_format=torch.channels_last))
        grids = torch.cat([_on_grid(level) for level in maps], 1).permute(0, 2, 3, 1).half().cpu().numpy()
        if out is None:
            out = np.empty((count, *grids.shape[1:]), np.float16)
        out[done : done + len(grids)] = grids
        done += len(grids)
        batch.clear()

    for image in images:
        batch.append(shrink(image))
        if len(batch) == 8:
            run()
    if batch:
        run()
    if out is None:
        return np.empty((0, GRID, GRID, 0), np.float16)
    return out[:done]


def _on_grid(features: Tensor) -> Tensor:
    """A finer map keeps its values as channels; a coarser one is interpolated."""
    side = features.shape[-1]
    if side > GRID and side % GRID == 0:
        return F.pixel_unshuffle(features, side // GRID)
    return F.interpolate(features, size=(GRID, GRID), mode="bilinear") if side != GRID else features


def statistics(normal: Features) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over some of the normal images."""
    sample = torch.from_numpy(normal[:: max(1, len(normal) // 64)].astype(np.float32)).flatten(0, 2)
    return sample.mean(0), sample.std(0) + 1e-3


def train_head(
    normal: Features, synthetic: Features, masks: NDArray[np.uint8], seed: int, steps: int, device: torch.device
) -> SegmentationHead:
    """Train a head on windows: half of each batch normal, half with some anomaly.

    Focal loss (gamma 2) and dice loss, AdamW, one cycle of the learning rate.

    Args:
        normal: of normal images.
        synthetic: of anomaly images.
        masks: (N, 2 GRID, 2 GRID) {0, 1} of them, each with some anomaly.
        seed: of the head's start and of the windows.
        steps: how many.
        device: where to.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = SegmentationHead(*statistics(normal)).to(device)
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    # not on a CPU: one without instructions for it takes ten times as long, and other figures come out than on its neighbour
    precision = torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")
    for _ in range(steps):
        (normal_x, normal_y), (anomaly_x, anomaly_y) = _windows(normal, None, rng), _windows(synthetic, masks, rng)
        x = torch.from_numpy(np.concatenate([normal_x, anomaly_x])).to(device)
        y = torch.from_numpy(np.concatenate([normal_y, anomaly_y])).to(device)
        with precision:
            logits = head(x.permute(0, 3, 1, 2).float())
        logits = logits.float()
        p = logits.sigmoid()
        focal = ((p - y).square() * F.binary_cross_entropy_with_logits(logits, y, reduction="none")).mean()
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        optimizer.zero_grad()
        (10 * focal + dice).backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def _windows(
    features: Features, masks: NDArray[np.uint8] | None, rng: np.random.Generator
) -> tuple[Features, NDArray[np.float32]]:
    """Half a batch of pieces of the grid with their targets; where there are masks each piece holds some anomaly."""
    xs, ys = [], []
    for i in rng.integers(len(features), size=_BATCH // 2):
        low, high = np.zeros(2, np.int64), np.full(2, GRID - _WINDOW)
        if masks is not None:
            cells = np.argwhere(masks[i].reshape(GRID, 2, GRID, 2).any((1, 3)))
            cell = cells[rng.integers(len(cells))]
            low, high = np.maximum(low, cell - _WINDOW + 1), np.minimum(high, cell)
        y, x = (int(v) for v in rng.integers(low, high + 1))
        xs.append(features[i, y : y + _WINDOW, x : x + _WINDOW])
        target = np.zeros((2 * _WINDOW,) * 2, np.uint8)
        if masks is not None:
            target = masks[i, 2 * y : 2 * (y + _WINDOW), 2 * x : 2 * (x + _WINDOW)]
        ys.append(target)
    return np.stack(xs), np.stack(ys)[:, None].astype(np.float32)


@torch.inference_mode()
def anomaly_maps(head: SegmentationHead, features: Features, device: torch.device) -> NDArray[np.float32]:
    """(N, 2 GRID, 2 GRID) float32 probabilities of an anomaly."""
    maps = [
        head(torch.from_numpy(np.array(features[i : i + 16])).to(device).permute(0, 3, 1, 2).float()).sigmoid()[:, 0].cpu()
        for i in range(0, len(features), 16)
    ]
    return np.asarray(torch.cat(maps).numpy(), np.float32)


@torch.inference_mode()
def nearest_maps(
    normal: Features, features: Features, seed: int, device: torch.device, patches: int = 4000
) -> NDArray[np.float32]:
    """(N, GRID, GRID) float32 distances of each place to the nearest of some random normal ones: no anomalies at all.

    Levels 2 and 3 of the features alone, standardised (PatchCore's idea without its choice of patches).
    """
    mean, deviation = (values.to(device) for values in statistics(normal))
    rng = np.random.default_rng(seed)
    i, y, x = (rng.integers(size, size=patches) for size in (len(normal), GRID, GRID))

    def flat(part: Features) -> Tensor:
        return ((torch.from_numpy(np.array(part)).to(device).float() - mean) / deviation).flatten(0, -2)[:, -384:]

    bank = flat(normal[i, y, x])
    distances = [
        torch.cdist(flat(features[k : k + 4]), bank).amin(1).view(-1, GRID, GRID).cpu() for k in range(0, len(features), 4)
    ]
    return np.asarray(torch.cat(distances).numpy(), np.float32)
