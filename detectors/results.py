"""What a detector says about images: the data that evaluation, prediction, reports and comparisons share."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image, Mask

ScoreMap = NDArray[np.float32]
"""(H, W) float32, larger is more anomalous."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImage:
    """One image with what a detector made of it.

    Attributes:
        name: path relative to the dataset's root or to the given folder, with forward slashes; a sample's id.
        label: 0 normal, 1 anomaly; None where nobody knows.
        kind: the defect's name as the dataset calls it, such as `"broken_large"`; `"good"` for normal images.
        score: the image's anomaly score.
        map: (H, W) float32, the pixels' anomaly scores.
        image: (H, W, 3) uint8 RGB, what the detector saw (before normalisation), of the map's size.
        mask: (H, W) uint8 {0, 1}, the true anomaly pixels; zeros for a normal image; None where nobody knows.
    """

    name: str
    label: int | None
    kind: str
    score: float
    map: ScoreMap
    image: Image
    mask: Mask | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A detector's results on a set of labelled images.

    Attributes:
        images: the images, in order.
        metrics: by name, such as `"image_auroc"`, 0..1.
        missing: metrics that could not be had -> why.
        protocol: `strict` or `paper`.
        image_threshold, pixel_threshold: scores above are called anomalous; chosen on validation normals.
    """

    images: tuple[ScoredImage, ...]
    metrics: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    protocol: str = "strict"
    image_threshold: float | None = None
    pixel_threshold: float | None = None
