"""Samples as people keep them, all read as (image, mask): PNG files, raw arrays, and shards by two readers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from synthgen.samples import Image, Mask, Sample
from synthgen.shards import ShardDataset

Pair = tuple[Image, Mask]


class PngFolder(Sequence[Pair]):
    """Images and masks as PNG files, the way most datasets come."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def write(self, samples: Sequence[Sample]) -> None:
        """Makes the folder."""
        self.folder.mkdir()
        level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        for i, sample in enumerate(samples):
            cv2.imwrite(str(self.folder / f"{i}.png"), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR), level)
            cv2.imwrite(str(self.folder / f"{i}_mask.png"), sample.mask * 255, level)

    def __len__(self) -> int:
        """Number of samples."""
        return self.n

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        image = cv2.imread(str(self.folder / f"{i}.png"), cv2.IMREAD_COLOR_RGB)
        mask = cv2.imread(str(self.folder / f"{i}_mask.png"), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert mask is not None
        return image.astype(np.uint8, copy=False), (mask > 0).astype(np.uint8)


class Memmap(Sequence[Pair]):
    """Raw arrays: nothing to decode, the upper bound."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def write(self, samples: Sequence[Sample]) -> None:
        """Makes the folder."""
        self.folder.mkdir()
        np.save(self.folder / "images.npy", np.stack([sample.image for sample in samples]))
        np.save(self.folder / "masks.npy", np.stack([sample.mask for sample in samples]))
        self.open()

    def open(self) -> None:
        """Maps the arrays."""
        self.images = np.load(self.folder / "images.npy", mmap_mode="r")
        self.masks = np.load(self.folder / "masks.npy", mmap_mode="r")

    def __len__(self) -> int:
        """Number of samples."""
        return self.n

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        return np.array(self.images[i]), np.array(self.masks[i])


class PlainH5py(Sequence[Pair]):
    """The shard, read with nothing but h5py."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.file["mask"])

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        file = self.file
        return file["base"][file["base_index"][i]] + file["delta"][i], file["mask"][i]


class Shards(Sequence[Pair]):
    """Image and mask of a `ShardDataset`, one at a time."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        batch = self.dataset.__getitems__([i])
        return batch.arrays["image"][0], batch.arrays["mask"][0]
