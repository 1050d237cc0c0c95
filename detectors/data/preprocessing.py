"""From files and samples to the pixels that a network sees; one object, stored with every run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.results import AnomalyMap
from synthgen.samples import Image, Mask, Size

RESIZING = "synthgen-area-1"
"""The name of the way images are resized (`synthgen.datasets.images.resize`), kept with results."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How images become pixels: read and resized to `stored`, resized to `resized`, cropped to `size`.

    Attributes:
        stored: (height, width) at which images are read; that of shards, else `resized`.
        resized: (height, width) in pixels; the aspect ratio is not kept.
        size: (height, width) of the centre that is cropped from it.
        bit_depth: how many of a 16-bit file's bits hold data.
    """

    stored: Size
    resized: Size
    size: Size
    bit_depth: int = 16

    def read(self, path: Path) -> Image:
        """An image file as the network sees it: (height, width, 3) uint8 RGB.

        Raises:
            InputDataError: it cannot be read.
        """
        from synthgen.datasets.images import read_image

        return self.fit(read_image(path, self.stored, self.bit_depth)[0])

    def fit(self, pixels: Image) -> Image:
        """An image of size `stored` as the network sees it: (height, width, 3) uint8 RGB."""
        from synthgen.datasets.images import resize

        return np.asarray(self.crop(resize(pixels, self.resized)), np.uint8)

    def fit_mask(self, mask: Mask) -> Mask:
        """A mask of an image of size `stored`, in the same way: (height, width) uint8 {0, 1}."""
        from detectors.official_test import resize_mask

        return np.asarray(self.crop(resize_mask(mask, self.resized)), np.uint8)

    @property
    def corner(self) -> tuple[int, int]:
        """(y, x) at which the centre that is kept begins."""
        return round((self.resized[0] - self.size[0]) / 2), round((self.resized[1] - self.size[1]) / 2)

    def crop(self, pixels: Any) -> Any:
        """The centre of a (height, width, ...) array of the size `resized`."""
        y, x = self.corner
        return np.ascontiguousarray(pixels[y : y + self.size[0], x : x + self.size[1]])

    def whole(self, anomaly_map: AnomalyMap) -> AnomalyMap:
        """The anomaly map of the whole image, of size `resized`: what was cropped away scores as the lowest that was seen."""
        if self.resized == self.size:
            return anomaly_map
        whole = np.full(self.resized, anomaly_map.min(), np.float32)
        y, x = self.corner
        whole[y : y + self.size[0], x : x + self.size[1]] = anomaly_map
        return whole

    def to_json(self) -> dict[str, Any]:
        """For the run's configuration."""
        return {
            "stored": list(self.stored),
            "resized": list(self.resized),
            "size": list(self.size),
            "bit_depth": self.bit_depth,
            "resizing": RESIZING,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """What `to_json` wrote."""
        return cls(as_size(values["stored"]), as_size(values["resized"]), as_size(values["size"]), int(values["bit_depth"]))


def as_size(value: int | Sequence[int]) -> Size:
    """(height, width) of one number, for a square, or of two."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def size_label(size: Size) -> int | str:
    """How results name a size: one number for a square, else `HEIGHTxWIDTH`."""
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
