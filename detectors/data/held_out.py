"""Images that a training evaluates again and again: the held-out ones, and the test split where it was asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import TrainingData
from detectors.official_test import LabelledFile, read_mask
from detectors.results import ScoredImage
from synthgen.samples import Image, Mask


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutImage:
    """One such image, as the network sees it; `source` is the normal image that it is or was made of."""

    name: str
    label: int | None
    kind: str
    source: str
    image: Image
    mask: Mask | None


def held_out_images(data: TrainingData) -> tuple[HeldOutImage, ...]:
    """The held-out normal images, then the anomalies made of them."""
    images = []
    for normal in data.held_out:
        image = data.preprocessing.fit(normal.pixels)
        images.append(HeldOutImage(normal.source, 0, "good", normal.source, image, np.zeros(image.shape[:2], np.uint8)))
    for sample in data.anomalies:
        spec = sample.spec
        image, mask = data.preprocessing.fit(sample.image), data.preprocessing.fit_mask(sample.mask)
        images.append(HeldOutImage(spec.sample_id, 1, spec.type, spec.source, image, mask))
    return tuple(images)


def of_test_split(files: Sequence[LabelledFile], preprocessing: Preprocessing) -> tuple[HeldOutImage, ...]:
    """The test split, read before a training begins: for `--select test-best` alone."""
    masks = [read_mask(file, preprocessing.resized, "strict") for file in files]
    return tuple(
        HeldOutImage(
            file.name,
            file.label,
            file.kind,
            file.name,
            preprocessing.read(file.path),
            None if mask is None else preprocessing.crop(mask),
        )
        for file, mask in zip(files, masks, strict=True)
    )


def scored(images: Iterable[HeldOutImage], maps: Iterable[NDArray[np.float32]], scores: Iterable[float]) -> list[ScoredImage]:
    """What a detector says about them: (H, W) maps and scores, in their order."""
    return [
        ScoredImage(
            name=image.name,
            label=image.label,
            kind=image.kind,
            score=score,
            anomaly_map=np.asarray(anomaly_map, np.float32),
            image=image.image,
            mask=image.mask,
        )
        for image, anomaly_map, score in zip(images, maps, scores, strict=True)
    ]
