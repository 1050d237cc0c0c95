"""Images that a training evaluates again and again: the held-out ones, and the test split where it was asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.data import TrainingData
from detectors.pixels import Reading
from detectors.results import ScoredImage
from detectors.test_split import LabelledFile, read_mask
from synthgen.samples import Image, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """One such image, as the network sees it; `source` is the normal image that it is or was made of."""

    name: str
    label: int | None
    kind: str
    source: str
    image: Image
    mask: Mask | None


def held_out(data: TrainingData) -> tuple[Kept, ...]:
    """The held-out normal images, then the anomalies made of them."""
    kept = []
    for one in data.held_out:
        image = data.reading.fit(one.pixels)
        kept.append(Kept(one.source, 0, "good", one.source, image, np.zeros(image.shape[:2], np.uint8)))
    for sample in data.anomalies:
        spec = sample.spec
        image, mask = data.reading.fit(sample.image), data.reading.fit_mask(sample.mask)
        kept.append(Kept(spec.sample_id, 1, spec.type, spec.source, image, mask))
    return tuple(kept)


def of_test_split(files: Sequence[LabelledFile], reading: Reading) -> tuple[Kept, ...]:
    """The test split, read before a training begins: for `--select test-best` alone."""
    masks = [read_mask(file, reading.resized, "strict") for file in files]
    return tuple(
        Kept(file.name, file.label, file.kind, file.name, reading.read(file.path), None if mask is None else reading.crop(mask))
        for file, mask in zip(files, masks, strict=True)
    )


def scored(kept: Iterable[Kept], maps: Iterable[Any], scores: Iterable[float]) -> list[ScoredImage]:
    """What a detector says about them: (H, W) maps and scores, in their order."""
    return [
        ScoredImage(one.name, one.label, one.kind, score, np.asarray(map_, np.float32), one.image, one.mask)
        for one, map_, score in zip(kept, maps, scores, strict=True)
    ]
