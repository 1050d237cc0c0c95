"""VisA, as downloaded (with its split file) or converted to the layout of MVTec AD."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from synthgen.datasets.info import DatasetInfo
from synthgen.datasets.listing import is_folder, printable, subfolders
from synthgen.datasets.mvtec import category_folders
from synthgen.datasets.records import Layout
from synthgen.datasets.roots import wrong_layout
from synthgen.errors import InputDataError

_NORMAL = "Data/Images/Normal"
_SPLIT = "split_csv/1cls.csv"
_COLUMNS = {"object", "split", "label", "image"}


def find(info: DatasetInfo, root: Path, categories: Sequence[str] | None = None) -> Layout:
    """Recognise the raw layout, else the converted one, in `root` or in a wrapper folder in it.

    Raises:
        InputDataError: it is neither; or the raw layout lacks its split file, without which training and test images
            cannot be told apart.
    """
    bases = [base for base in (root, *(root / wrapper for wrapper in info.wrappers)) if is_folder(base)]
    for base in bases:
        names = [folder.name for folder in subfolders(base) if is_folder(folder / _NORMAL)]
        if names and not is_folder(base / _NORMAL):
            files = _training_files(base, _split_file(base), names)
            passed = [name for name in names if name not in files]
            note = f"; passed over, not in the split file: {printable(', '.join(passed))}" if passed else ""
            return Layout(f"{info.title} raw ({_SPLIT}{note})", base, files)
    for base in bases:
        if (layout := category_folders(info, base)) is not None:
            return Layout(f"{info.title} converted (CATEGORY/{info.normal})", layout.root, layout.files)
    raise wrong_layout(info, root)


def _split_file(base: Path) -> Path:
    for path in (base / _SPLIT, base / "1cls.csv", base.parent / _SPLIT):
        if path.is_file():
            return path
    raise InputDataError(
        f"{base}: VisA's split file {_SPLIT} is missing; it says which normal images are for training. "
        f"It comes with the dataset and is in its code repository: copy it to {base / _SPLIT}."
    )


def _training_files(base: Path, split: Path, categories: Sequence[str]) -> dict[str, list[Path]]:
    """The normal training images that the split file lists for each category that is there, without repetition."""
    listed: dict[str, set[str]] = {}
    try:
        with split.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = csv.DictReader(stream)
            if not set(rows.fieldnames or ()) >= _COLUMNS:
                raise InputDataError(f"{split}: expected the columns {', '.join(sorted(_COLUMNS))}; found {rows.fieldnames}.")
            for row in rows:
                if row["object"] in categories and row["split"] == "train" and row["label"] == "normal":
                    listed.setdefault(row["object"], set()).add(_checked_name(row, f"{split}:{rows.line_num}"))
    except (OSError, csv.Error) as error:
        raise InputDataError(f"{split}: VisA's split file cannot be read ({error}).") from error
    if not listed:
        raise InputDataError(f"{split}: it lists no normal training image of {printable(', '.join(categories))}.")
    return {category: [base / category / _NORMAL / name for name in sorted(names)] for category, names in listed.items()}


def _checked_name(row: dict[str, str], place: str) -> str:
    """The image's file name; the split file must not lead out of the category's folder of normal images."""
    path = PurePosixPath(row["image"] or "")
    if path.parent != PurePosixPath(row["object"], _NORMAL) or "\\" in path.name or "\0" in path.name or path.name == "..":
        raise InputDataError(f"{place}: {row['image']!r} is not a file in {row['object']}/{_NORMAL}.")
    return path.name
