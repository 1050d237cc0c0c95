"""Which mask belongs to which image: by name, never by position."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from synthgen.datasets.listing import image_files, is_folder, printable, subfolders
from synthgen.errors import InputDataError


def pair_masks(images: Sequence[Path], folder: Path) -> dict[Path, tuple[Path, ...]]:
    """Find the masks of the images of one kind.

    To `000.png` belongs `000_mask.png` or `000.png` (of any extension), or every image in a folder `000`.

    Args:
        images: the images of one kind.
        folder: where the masks of that kind are; it need not exist.

    Returns:
        Image -> the files of its mask. Images without a mask are left out.

    Raises:
        InputDataError: two images lay claim to a mask, or two masks to an image.
    """
    by_stem, masks_of = defaultdict(list), defaultdict(list)
    for image in images:
        by_stem[image.stem].append(image)
    for mask in _masks(folder):
        name = mask.name if is_folder(mask) else mask.stem
        stem = name if name in by_stem else name.removesuffix("_mask")
        if stem in by_stem:
            masks_of[stem].append(mask)
    for stem, masks in masks_of.items():
        if len(masks) > 1:
            raise _ambiguous(masks, "both are called like the mask of", by_stem[stem][0])
        if len(by_stem[stem]) > 1:
            raise _ambiguous(by_stem[stem], "both are called like the image of", masks[0])
    pairs = {by_stem[stem][0]: masks[0] for stem, masks in masks_of.items()}
    return {image: tuple(image_files(mask)) if is_folder(mask) else (mask,) for image, mask in pairs.items()}


def _masks(folder: Path) -> list[Path]:
    if not is_folder(folder):
        return []
    return [*(file for file in image_files(folder) if not is_folder(file)), *subfolders(folder)]


def _ambiguous(files: Sequence[Path], claim: str, other: Path) -> InputDataError:
    first, second = (printable(str(file)) for file in files[:2])
    return InputDataError(f"{first} and {second}: {claim} {printable(str(other))}. Keep one of them.")
