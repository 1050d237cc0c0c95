"""The layout of MVTec AD: one folder per category, with the normal training images in one folder of fixed name in it.

MPDD, MVTec LOCO and MAD-Sim have the same (`train/good`); in BTAD the folder is `train/ok`. The dataset's manifest names it.
Any category is read, not only the published ones.
"""

from collections.abc import Sequence
from pathlib import Path

from synthgen.datasets.info import DatasetInfo
from synthgen.datasets.listing import image_files, is_folder, printable, subfolders
from synthgen.datasets.records import Layout
from synthgen.datasets.roots import wrong_layout


def find(info: DatasetInfo, root: Path, categories: Sequence[str] | None = None) -> Layout:
    """Recognise the layout in `root`, or in a wrapper folder of the download in it.

    Raises:
        InputDataError: no folder in it is a category.
    """
    for base in (root, *(root / wrapper for wrapper in info.wrappers)):
        if is_folder(base) and (layout := category_folders(info, base)) is not None:
            return layout
    raise wrong_layout(info, root)


def category_folders(info: DatasetInfo, base: Path) -> Layout | None:
    """The categories directly in `base`; None if there is none."""
    if is_folder(base / info.normal):
        return None  # the folder `base` is a category itself
    folders = subfolders(base)
    files = {folder.name: image_files(folder / info.normal) for folder in folders if is_folder(folder / info.normal)}
    if not files:
        return None
    passed = [folder.name for folder in folders if folder.name not in files and is_folder(folder / "test")]
    note = f"; passed over, without {info.normal}: {printable(', '.join(passed))}" if passed else ""
    return Layout(f"{info.title} (CATEGORY/{info.normal}{note})", base, files)
