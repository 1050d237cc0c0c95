"""Windows of samples as tensors, for training and for refining."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.errors import SynthgenError
from synthgen.refine.config import SMALLEST_CROP, TrainingConfig
from synthgen.refine.phase_field import epsilon_squared
from synthgen.runs.steps import order
from synthgen.samples import Image, Mask, Sample, Size

_CENTRE = (0.25, 0.75)  # where in a training window a pixel of the anomaly lies


@dataclass(frozen=True, slots=True, eq=False)
class RefinementBatch:
    """Pictures of one size.

    Attributes:
        normal, stage_a: (B, 3, H, W) float32 in [-1, 1].
        mask: (B, 1, H, W) float32 {0, 1}.
        squares: (B, 1, H, W) float32, epsilon^2 of equation 9 in square pixels where it follows the width; only training
            asks for it.
        scale: pixels per pixel of a 512-pixel image.
    """

    normal: Tensor
    stage_a: Tensor
    mask: Tensor
    squares: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Cut:
    """What to cut from which sample: the key of `Crops`.

    Attributes:
        sample: its number.
        step, slot: of the training; they decide where the window lies.
        whole: whether to take the whole image.
    """

    sample: int
    step: int
    slot: int
    whole: bool


Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]
"""(h, w, 6) uint8 normal image and stage A, (h, w) uint8 mask, (h, w) float32 epsilon^2."""


class Crops:
    """Training windows around the anomalies of some samples; what a `DataLoader` takes.

    Args:
        samples: from shards or made on the fly.
        crop: side of the windows in pixels; 0 for whole images.
        scale: pixels per pixel of a 512-pixel image.
        seed: decides where windows lie.
    """

    def __init__(self, samples: Sequence[Sample], crop: int, scale: float, seed: int) -> None:
        self._samples, self._crop, self._scale, self._seed = samples, crop, scale, seed

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, cut: Cut) -> Arrays | SynthgenError:
        """A window, or why its sample cannot be made: a worker's exception would arrive with its whole traceback."""
        cv2.setNumThreads(1)
        try:
            sample = self._samples[cut.sample]
        except SynthgenError as error:
            return error
        both = np.concatenate([sample.normal, sample.image], 2)
        mask = sample.mask
        if self._crop and not cut.whole:
            rng = np.random.default_rng((self._seed, cut.step, cut.slot))
            top, left = _place(rng, mask, self._crop)
            both = both[top : top + self._crop, left : left + self._crop]
            mask = mask[top : top + self._crop, left : left + self._crop]
            size = (self._crop, self._crop)
        else:
            size = padded_size((mask.shape[0], mask.shape[1]))
        both, mask = padded(both, size), padded(mask, size)
        return both, mask, epsilon_squared(mask, self._scale)


def together(windows: Sequence[Arrays | SynthgenError]) -> tuple[Tensor, Tensor, Tensor] | SynthgenError:
    """Windows as tensors with a batch dimension; or the first error among them."""
    for window in windows:
        if isinstance(window, SynthgenError):
            return window
    both, mask, squares = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*windows, strict=True))
    return both, mask, squares


def cuts(
    config: TrainingConfig, samples: int, size: Size, seed: int, steps: range, share: tuple[int, int] = (0, 1)
) -> Iterator[list[Cut]]:
    """What each step learns from.

    Args:
        config: of the training.
        samples: how many there are.
        size: (height, width) of theirs.
        seed: decides the order of the samples.
        steps: which steps.
        share: (number, of how many) of the processes that share each step; each gets every so-many-th window.
    """
    fewer = max(round(config.batch_size * config.crop**2 / (size[0] * size[1])), 1) if config.crop else config.batch_size
    known: tuple[int, Tensor] = (-1, torch.empty(0))
    for step in steps:
        whole = bool(np.random.default_rng((seed, step)).random() < config.whole_share)
        count = min(fewer, config.batch_size) if whole or not config.crop else config.batch_size
        count = -(-count // share[1]) * share[1]  # as many for each process: their gradients are averaged
        cut = []
        for slot in range(share[0], count, share[1]):
            lap, place = divmod(step * config.batch_size + slot, samples)
            if known[0] != lap:
                known = lap, order(samples, seed, lap)
            cut.append(Cut(int(known[1][place]), step, slot, whole))
        yield cut


def to_batch(both: Tensor, mask: Tensor, squares: Tensor, scale: float, device: torch.device) -> RefinementBatch:
    """A batch from (B, h, w, 6) uint8, (B, h, w) uint8 and (B, h, w) float32 tensors."""
    images = both.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 127.5 - 1
    normal, stage_a = images[:, :3].contiguous(), images[:, 3:].contiguous()
    return RefinementBatch(normal, stage_a, mask.to(device).float()[:, None], squares.to(device)[:, None], scale)


def padded_size(size: Size) -> Size:
    """The next multiples of `SMALLEST_CROP`."""
    height, width = (-(-side // SMALLEST_CROP) * SMALLEST_CROP for side in size)
    return height, width


def padded(pixels: Image | Mask, size: Size) -> NDArray[np.uint8]:
    """Pixels, mirrored at the lower and the right border up to a size."""
    down, right = size[0] - pixels.shape[0], size[1] - pixels.shape[1]
    if not down and not right:
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, ((0, down), (0, right), *[(0, 0)] * (pixels.ndim - 2)), mode="symmetric")


def _place(rng: np.random.Generator, mask: Mask, crop: int) -> tuple[int, int]:
    """Upper left corner of a window with a random pixel of the mask near its middle, as far as the image allows."""
    at = np.flatnonzero(mask)
    number, shift = int(rng.integers(max(len(at), 1))), rng.uniform(*_CENTRE, 2)
    y, x = divmod(int(at[number]), mask.shape[1]) if len(at) else (mask.shape[0] // 2, mask.shape[1] // 2)
    top, left = (
        int(np.clip(place - part * crop, 0, max(side - crop, 0)))
        for place, part, side in zip((y, x), shift, mask.shape, strict=True)
    )
    return top, left
