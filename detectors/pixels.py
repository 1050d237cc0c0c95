"""From files and samples to the square of pixels that a network sees; one object, stored with every run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.samples import Image, Mask, Size

RESIZING = "synthgen-area-1"
"""The name of the way images are resized (`synthgen.datasets.images.resize`), kept with results."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How images become pixels: read and resized to `stored`, resized to a square of side `resized`, cropped to `size`.

    Attributes:
        stored: (height, width) at which images are read; that of shards, else the square of side `resized`.
        resized: side of a square in pixels; the aspect ratio is not kept.
        size: side of the centre that is cropped from it.
        bit_depth: how many of a 16-bit file's bits hold data.
    """

    stored: Size
    resized: int
    size: int
    bit_depth: int = 16

    def read(self, path: Path) -> Image:
        """An image file as the network sees it: (size, size, 3) uint8 RGB.

        Raises:
            InputDataError: it cannot be read.
        """
        from synthgen.datasets.images import read_image

        return self.fit(read_image(path, self.stored, self.bit_depth)[0])

    def fit(self, pixels: Image) -> Image:
        """An image of size `stored` as the network sees it: (size, size, 3) uint8 RGB."""
        from synthgen.datasets.images import resize

        return np.asarray(self.crop(resize(pixels, (self.resized, self.resized))), np.uint8)

    def fit_mask(self, mask: Mask) -> Mask:
        """A mask of an image of size `stored`, in the same way: (size, size) uint8 {0, 1}."""
        from detectors.test_split import resize_mask

        return np.asarray(self.crop(resize_mask(mask, (self.resized, self.resized))), np.uint8)

    def crop(self, pixels: Any) -> Any:
        """The centre of a (resized, resized, ...) array."""
        start = round((self.resized - self.size) / 2)
        return np.ascontiguousarray(pixels[start : start + self.size, start : start + self.size])

    def to_json(self) -> dict[str, Any]:
        """For the run's configuration."""
        return {
            "stored": list(self.stored),
            "resized": self.resized,
            "size": self.size,
            "bit_depth": self.bit_depth,
            "resizing": RESIZING,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Reading":
        """What `to_json` wrote."""
        stored = values["stored"]
        return cls((int(stored[0]), int(stored[1])), int(values["resized"]), int(values["size"]), int(values["bit_depth"]))
