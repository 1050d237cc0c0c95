"""Batches for PyTorch, without importing it until one is made into tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Sample

FIELDS = ("image", "mask", "normal")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples of one size, stacked.

    Attributes:
        arrays: by field: `"image"` and `"normal"` (B, H, W, 3) uint8 RGB, `"mask"` (B, H, W) uint8 {0, 1}.
        label: (B,) uint8, 1 for an anomaly.
        type: names of the anomaly types.
        sample_id: names of the samples.
        quality: (B,) float32, how much each sample is worth, 0 to 1, NaN where unknown; None where nobody scored them.
    """

    arrays: dict[str, NDArray[np.uint8]]
    label: NDArray[np.uint8]
    type: list[str]
    sample_id: list[str]
    quality: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_id)


def stack(samples: Sequence[Sample], fields: Sequence[str] = FIELDS) -> Batch:
    """Stacks samples of one size; the batch has their quality if one of them has."""
    known = any(sample.quality is not None for sample in samples)
    return Batch(
        arrays={field: np.stack([getattr(sample, field) for sample in samples]) for field in fields},
        label=np.array([sample.label for sample in samples], np.uint8),
        type=[sample.spec.type for sample in samples],
        sample_id=[sample.spec.sample_id for sample in samples],
        quality=quality_column([sample.quality for sample in samples]) if known else None,
    )


def quality_column(values: Iterable[float | None]) -> NDArray[np.float32]:
    """(B,) float32, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float32)


def collate(samples: Batch | Sequence[Sample]) -> dict[str, Any]:
    """For `torch.utils.data.DataLoader(collate_fn=collate)`: a dictionary of tensors and lists.

    Args:
        samples: a batch as `ShardDataset.__getitems__` makes it, which is not copied; or samples, which are stacked.

    Returns:
        The batch's arrays and `label` as uint8 tensors of the same shapes, `type` and `sample_id` as lists of str; where the
        samples are scored also `quality`, (B,) float32, NaN where unknown.
    """
    import torch

    batch = samples if isinstance(samples, Batch) else stack(samples)
    tensors = {field: torch.from_numpy(array) for field, array in (*batch.arrays.items(), ("label", batch.label))}
    if batch.quality is not None:
        tensors["quality"] = torch.from_numpy(batch.quality)
    return {**tensors, "type": batch.type, "sample_id": batch.sample_id}
