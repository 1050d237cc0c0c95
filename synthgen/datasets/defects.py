"""Real defects of one's own as files: images, what kind of defect each shows, and the files of its mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen.datasets.listing import image_files, is_folder, printable, subfolders
from synthgen.datasets.pairing import pair_masks
from synthgen.datasets.roles import is_masks, is_normal
from synthgen.errors import InputDataError

NORMAL = "good"
"""The kind of images without a defect, whatever their folder is called."""
UNNAMED = "defect"
"""The kind of images that lie in no folder of a kind."""
_GROUND_TRUTH = "ground_truth"
_NO_KIND = ("train", "test")
_SUFFIX = "_mask"


@dataclass(frozen=True, slots=True)
class DefectFile:
    """One image of a folder of defects.

    Attributes:
        name: path relative to the folder, with forward slashes; printable whatever the file is called.
        path: the file.
        kind: name of the defect, by its folder; `NORMAL` where there is none.
        masks: the files of its mask; empty for a normal image, and for a defect that nobody marked.
    """

    name: str
    path: Path
    kind: str
    masks: tuple[Path, ...]


def list_defects(folder: Path, option: str) -> tuple[DefectFile, ...]:
    """Find real defects. Files are listed, not opened.

    Args:
        folder: with `test/KIND` and `ground_truth/KIND` as MVTec AD has them; or with a folder for each KIND, masks in
            `ground_truth/KIND`; or with images, masks in `ground_truth` or beside them as `NAME_mask`. Folders called like
            normal images (`good`, `ok`) hold these; they may be missing, and so may masks.
        option: what the folder was given by, for messages.

    Returns:
        The images, in code point order of their names.

    Raises:
        InputDataError: there is no such folder, no defect in it, or masks of which it is not clear whose they are.
    """
    if not is_folder(folder):
        raise InputDataError(f"{option} {printable(str(folder))}: there is no such folder.")
    base = folder / "test" if is_folder(folder / "test") else folder
    truth = next((place for place in subfolders(folder) if is_masks(place.name)), folder / _GROUND_TRUTH)
    files = [*_flat(folder, base, truth)]
    for place in subfolders(base):
        if is_masks(place.name) or place.name in _NO_KIND:
            continue
        kind = NORMAL if is_normal(place.name) else printable(place.name)
        images = image_files(place)
        masks = {} if kind == NORMAL else pair_masks(images, truth / place.name)
        files += [_file(folder, image, kind, masks.get(image, ())) for image in images]
    if all(file.kind == NORMAL for file in files):
        raise InputDataError(
            f"{option} {printable(str(folder))}: no image of a defect. Expected a folder of images for each kind of defect, or "
            "test/KIND as MVTec AD has it, with masks in ground_truth/KIND; or images beside a folder ground_truth."
        )
    return tuple(sorted(files, key=lambda file: file.name))


def _flat(folder: Path, base: Path, truth: Path) -> list[DefectFile]:
    """Images that lie in no folder of a kind, with the masks beside them or in `truth`."""
    files = [file for file in image_files(base) if not is_folder(file)]
    stems = {file.stem for file in files}
    beside = [file for file in files if file.stem.endswith(_SUFFIX) and file.stem.removesuffix(_SUFFIX) in stems]
    images = [file for file in files if file not in beside]
    masks = pair_masks(images, truth)
    for image in images:
        own = tuple(mask for mask in beside if mask.stem == image.stem + _SUFFIX)
        masks.setdefault(image, own)
    return [_file(folder, image, UNNAMED, masks[image]) for image in images]


def _file(folder: Path, path: Path, kind: str, masks: Sequence[Path]) -> DefectFile:
    return DefectFile(printable(path.relative_to(folder).as_posix()), path, kind, tuple(masks))
