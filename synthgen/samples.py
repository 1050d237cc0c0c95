"""The data that flows through the house: a normal image, what is to be made of it, and the sample that comes out."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""
Mask: TypeAlias = NDArray[np.uint8]
"""(H, W) uint8, values 0 and 1."""
Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""
Box: TypeAlias = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in pixels, half-open; (0, 0, 0, 0) is the empty box."""


@dataclass(frozen=True, slots=True, eq=False)
class NormalImage:
    """One normal image, decoded once and used for all its samples.

    Attributes:
        dataset: name of the dataset, such as `"visa"`.
        category: name of the category in it, such as `"candle"`.
        source: path relative to the dataset's root, with forward slashes.
        sha256: hexadecimal digest of the file's bytes (of the rendered pixels where there is no file).
        pixels: (H, W, 3) uint8 RGB, resized to the recipe's size.
    """

    dataset: str
    category: str
    source: str
    sha256: str
    pixels: Image


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What is to be made: one row of the plan.

    Attributes:
        sample_id: `dataset/category/stem/type/replica`, unique in a dataset; with the recipe's seed it decides every draw.
        dataset, category: names of the normal image's dataset and category.
        source: path of the normal image relative to the dataset's root, with forward slashes.
        type: name of the anomaly type, such as `"crack"`.
        replica: number of the sample among those of the same source and type, from 0.
        size: (height, width) of the sample in pixels.
        generator: name and version of the code that makes it, such as `"crack 1"`.
    """

    sample_id: str
    dataset: str
    category: str
    source: str
    type: str
    replica: int
    size: Size
    generator: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One anomaly image with its mask, or the untouched normal image where no attempt was accepted (`rejected`).

    `image` equals `normal` bit for bit outside `box`, and every pixel of `mask` differs from `normal`.

    Attributes:
        spec: what was to be made.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 {0, 1}, the pixels that truly changed.
        normal: (H, W, 3) uint8 RGB, the paired normal image.
        box: the smallest box that holds all changed and all mask pixels.
        params: everything random about the sample, JSON types only; rendering it again gives the same bytes.
        attempt: number of the draw that was accepted, from 0.
        area: number of mask pixels.
        contrast: mean over the mask of the largest change of a channel, in gray levels 0..255.
        visible: share of mask pixels whose largest change of a channel is at least 6 gray levels, 0..1.
        source_sha256: digest of the normal image's file.
        rejected: why the last attempt was refused; empty for an accepted sample.
        generated: (H, W, 3) uint8 RGB, the normal image as the network draws it that drew the whole of `image`; None for
            samples of which only the box is new.
        difference: (H, W) uint8, 1 - SSIM in 255ths, from which an edge edit's mask was drawn; None where it was not kept.
        quality: how much a detector can learn from it, 0 to 1, by scores that lie beside its shard; None where unknown.
    """

    spec: SampleSpec
    image: Image
    mask: Mask
    normal: Image
    box: Box
    params: dict[str, Any]
    attempt: int
    area: int
    contrast: float
    visible: float
    source_sha256: str
    rejected: str = ""
    generated: Image | None = None
    difference: NDArray[np.uint8] | None = None
    quality: float | None = None

    @property
    def label(self) -> int:
        """1 for an anomaly; 0 where every attempt was rejected and the image is the normal one."""
        return 0 if self.rejected else 1
