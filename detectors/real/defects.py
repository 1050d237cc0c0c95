"""A user's own real defects: a category in MVTec AD's layout, or just a folder for each kind of defect."""

from dataclasses import dataclass
from pathlib import Path

from detectors.official_test import LabelledFile, open_test_split, read_mask
from detectors.official_test.pairing import pair_masks
from synthgen.datasets.images import read_image
from synthgen.datasets.listing import image_files, is_folder, printable, subfolders
from synthgen.datasets.roles import is_normal
from synthgen.errors import InputDataError
from synthgen.samples import Image, Mask, Size

NORMAL = "good"
_MASKS = "ground_truth"


@dataclass(frozen=True, slots=True, eq=False)
class RealImages:
    """Real test images.

    Attributes:
        images: (H, W, 3) uint8 RGB each, resized as the normal images of the shards were.
        masks: (H, W) uint8 {0, 1}; None where an anomaly is not marked.
        kinds: the defect of each; `"good"` for normal images.
    """

    images: list[Image]
    masks: list[Mask | None]
    kinds: list[str]


def read_real(folder: Path, size: Size) -> RealImages:
    """Read real defects.

    Args:
        folder: with `test/KIND` and `ground_truth/KIND` as MVTec AD has them, or with a folder for each KIND (masks in
            `ground_truth/KIND`). Normal test images are in the KIND `good`; they may be missing, and so may masks.
        size: (height, width) to resize to, as the shards' images were.

    Raises:
        InputDataError: the folder has no defects, or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputDataError(f"--real {folder}: there is no such folder.")
    files = _mvtec(folder) if is_folder(folder / "test") else _plain(folder)
    if not any(file.label for file in files):
        raise InputDataError(
            f"--real {folder}: no image of a defect. Expected a folder of images for each kind of defect, or test/KIND as "
            "MVTec AD has it; masks in ground_truth/KIND."
        )
    chosen = RealImages([], [], [])
    for file in files:
        mask = read_mask(file, size)
        if file.label and mask is not None and not mask.any():
            continue  # an empty mask says neither
        chosen.images.append(read_image(file.path, size)[0])
        chosen.masks.append(mask)
        chosen.kinds.append(file.kind if file.label else NORMAL)
    return chosen


def _mvtec(folder: Path) -> tuple[LabelledFile, ...]:
    return open_test_split("folder", folder, folder.resolve().name or "images")


def _plain(folder: Path) -> tuple[LabelledFile, ...]:
    files = []
    for place in subfolders(folder):
        if place.name in (_MASKS, "train"):
            continue
        images, kind = image_files(place), NORMAL if is_normal(place.name) else printable(place.name)
        masks = {} if kind == NORMAL else pair_masks(images, folder / _MASKS / place.name)
        files += [
            LabelledFile(f"{place.name}/{image.name}", image, int(kind != NORMAL), kind, masks.get(image, ()))
            for image in images
        ]
    return tuple(sorted(files, key=lambda file: file.name))
