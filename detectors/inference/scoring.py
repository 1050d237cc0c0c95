"""What a detector says about pixels, a batch at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import nn

from detectors.results import AnomalyMap
from synthgen.errors import IntegrityError
from synthgen.runs.devices import Compute, memory_errors
from synthgen.samples import Image

BATCH = 8
"""Images at a time, unless somebody says otherwise."""


def score_pixels(
    model: nn.Module, images: Iterable[Image], compute: Compute, batch: int = BATCH
) -> Iterator[tuple[Image, AnomalyMap, float]]:
    """Score images.

    Args:
        model: the detector.
        images: (S, S, 3) uint8 RGB each.
        compute: where to.
        batch: images at a time.

    Yields:
        Each image, its anomaly map (S, S) float32, and its score.

    Raises:
        IntegrityError: the detector gives something that is no finite number.
    """
    model.eval()
    remaining = iter(images)
    while pixels := list(islice(remaining, batch)):
        with torch.inference_mode(), compute.autocast(), memory_errors("while scoring"):
            stacked = torch.from_numpy(np.stack(pixels)).to(compute.device, non_blocking=True)
            maps, scores = model(stacked.permute(0, 3, 1, 2).float())
            maps, scores = maps.float().cpu().numpy(), scores.float().cpu().numpy()
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            raise IntegrityError(
                "the detector is broken: it gives scores that are no finite numbers. Its files are damaged, or its training "
                "diverged: train again."
            )
        yield from zip(pixels, maps, scores.tolist(), strict=True)
