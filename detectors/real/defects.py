"""A user's own real defects: a category in MVTec AD's layout, or just a folder for each kind of defect."""

from dataclasses import dataclass
from pathlib import Path

from detectors.official_test import LabelledFile, read_mask
from synthgen.datasets.defects import NORMAL, list_defects
from synthgen.datasets.images import read_image
from synthgen.samples import Image, Mask, Size

__all__ = ["NORMAL", "RealImages", "read_real"]


@dataclass(frozen=True, slots=True, eq=False)
class RealImages:
    """Real test images.

    Attributes:
        images: (H, W, 3) uint8 RGB each, resized as the normal images of the shards were.
        masks: (H, W) uint8 {0, 1}; None where an anomaly is not marked.
        kinds: the defect of each; `"good"` for normal images.
        names: of their files, relative to the folder.
    """

    images: list[Image]
    masks: list[Mask | None]
    kinds: list[str]
    names: list[str]


def read_real(folder: Path, size: Size) -> RealImages:
    """Read real defects.

    Args:
        folder: see `list_defects`. Normal test images are in the KIND `good`; they may be missing, and so may masks.
        size: (height, width) to resize to, as the shards' images were.

    Raises:
        InputDataError: the folder has no defects, or a file cannot be read.
    """
    chosen = RealImages([], [], [], [])
    for file in list_defects(folder, "--real"):
        mask = read_mask(LabelledFile(file.name, file.path, int(file.kind != NORMAL), file.kind, file.masks), size)
        chosen.images.append(read_image(file.path, size)[0])
        chosen.masks.append(mask)
        chosen.kinds.append(file.kind)
        chosen.names.append(file.name)
    return chosen
