"""One category's fixed detector: what every set of samples is learned from and tested on alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.data.backbones import Backbone
from detectors.real.defects import NORMAL
from detectors.real.worth.head import Features, anomaly_maps, train_head
from detectors.real.worth.scoring import Scores
from synthgen.samples import Mask


@dataclass(frozen=True, slots=True)
class Row:
    """What one training on one set of samples came to.

    Attributes:
        name: the set: `all types`, a type, or a reference.
        seed: of the training.
        samples: how many samples it learned from.
        metrics: over all real defects, each 0 to 1: `image_auroc`, and where there are masks `pixel_auroc`, `pixel_ap` and
            `au_pro`.
        kinds: the same for each kind of real defect.
        shots: how many real defects of each kind were shown, which are then in no test; 0 where none was.
    """

    name: str
    seed: int
    samples: int
    metrics: dict[str, float]
    kinds: dict[str, dict[str, float]]
    shots: int = 0


@dataclass(frozen=True, eq=False)
class Trial:
    """What stays the same between sets.

    Attributes:
        backbone: whose features the detector has.
        device: where it runs.
        good: features of the normal images that are learned from.
        seen: features of the test images.
        masks: (SIDE, SIDE) uint8 {0, 1} of each test image; None where an anomaly is not marked.
        kinds: the defect of each test image, `NORMAL` for none.
        objects: number of the object that each test image shows; normal images have none of their own.
        steps: of a training.
    """

    backbone: Backbone
    device: torch.device
    good: Features
    seen: Features
    masks: Sequence[Mask | None]
    kinds: Sequence[str]
    objects: Sequence[int]
    steps: int

    @property
    def everything(self) -> NDArray[np.intp]:
        """Numbers of all test images."""
        return np.arange(len(self.kinds))

    @property
    def marked(self) -> NDArray[np.intp]:
        """Numbers of the defects that have a mask."""
        pairs = enumerate(zip(self.kinds, self.masks, strict=True))
        return np.array([i for i, (kind, mask) in pairs if kind != NORMAL and mask is not None], np.intp)

    def without(self, shown: NDArray[np.intp]) -> NDArray[np.intp]:
        """Numbers of the test images that show none of the objects of some defects; normal images are always among them."""
        known = {self.objects[i] for i in shown}
        return np.array([i for i in self.everything if self.kinds[i] == NORMAL or self.objects[i] not in known], np.intp)

    def row(self, name: str, seed: int, samples: int, maps: NDArray[np.float32], keep: NDArray[np.intp], shots: int = 0) -> Row:
        """The metrics of (N, h, w) maps of the test images, on those that are kept."""
        kinds = [self.kinds[i] for i in keep]
        scores = Scores(maps[keep], [self.masks[i] for i in keep], kinds, NORMAL)
        present = sorted(set(kinds) - {NORMAL})
        return Row(name, seed, samples, scores.metrics(), {kind: scores.metrics(kind) for kind in present}, shots)

    def learned(self, synthetic: Features, targets: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """(N, h, w) maps of the test images by a detector that has learned from a set's features and masks."""
        head = train_head(self.good, synthetic, targets, seed, self.steps, self.device)
        return anomaly_maps(head, self.seen, self.device)
