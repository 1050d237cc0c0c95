"""What a detector says about images: the data that evaluation, prediction, reports and comparisons share."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image, Mask

AnomalyMap = NDArray[np.float32]
"""(H, W) float32, larger is more anomalous."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScoredImage:
    """One image with what a detector made of it.

    Attributes:
        name: path relative to the dataset's root or to the given folder, with forward slashes; a sample's id.
        label: 0 normal, 1 anomaly; None where nobody knows.
        kind: the defect's name as the dataset calls it, such as `"broken_large"`; `"good"` for normal images.
        score: the image's anomaly score.
        anomaly_map: (H, W) float32, the pixels' anomaly scores.
        image: (H, W, 3) uint8 RGB, what the detector saw (before normalisation), of the map's size.
        mask: (H, W) uint8 {0, 1}, the true anomaly pixels; zeros for a normal image; None where nobody knows.
    """

    name: str
    label: int | None
    kind: str
    score: float
    anomaly_map: AnomalyMap
    image: Image
    mask: Mask | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a detector's scores mean, from held-out normal images alone.

    Attributes:
        image: above it an image is called anomalous: the 99th percentile of their scores.
        pixel: above it a pixel is: the 99th percentile of their maps' largest values, so that about one normal image in a
            hundred shows a mark.
        usual: the median of their maps' 90th percentiles: where heat begins in pictures.
    """

    image: float
    pixel: float
    usual: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A detector's results on a set of labelled images.

    Attributes:
        images: the images, in order.
        metrics: by name, such as `"image_auroc"`, 0..1.
        missing: metrics that could not be had -> why.
        protocol: `strict` or `paper`.
        thresholds: what the scores mean, if somebody knows.
    """

    images: tuple[ScoredImage, ...]
    metrics: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    protocol: str = "strict"
    thresholds: Thresholds | None = None
