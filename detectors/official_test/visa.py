"""The test split of VisA as downloaded: what `split_csv/1cls.csv` lists."""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from synthgen.datasets.listing import is_folder, printable, subfolders
from synthgen.errors import InputDataError

_SPLIT = "split_csv/1cls.csv"
_COLUMNS = {"object", "split", "label", "image", "mask"}
_FOLDERS = {"normal": "Data/Images/Normal", "anomaly": "Data/Images/Anomaly"}
_MASKS = "Data/Masks/Anomaly"


def raw_categories(base: Path) -> list[str]:
    """The categories directly in `base`; none if it is not VisA as downloaded."""
    return [folder.name for folder in subfolders(base) if is_folder(folder / _FOLDERS["normal"])]


def split_images(base: Path, category: str) -> list[tuple[Path, str, tuple[Path, ...]]]:
    """The test images of a category, sorted by path.

    Returns:
        Image, its kind (`"good"` or `"anomaly"`: VisA's split file does not tell defects apart), and its mask if it is there.

    Raises:
        InputDataError: the split file is missing, damaged or leads elsewhere, or an image that it lists is missing.
    """
    split = _split_file(base)
    files: dict[Path, tuple[Path, str, tuple[Path, ...]]] = {}
    for place, row in _rows(split):
        if row["object"] != category or row["split"] != "test":
            continue
        if row["label"] not in _FOLDERS:
            raise InputDataError(f"{place}: the label {row['label']!r} is neither normal nor anomaly.")
        image = base / _checked(row["image"], PurePosixPath(category, _FOLDERS[row["label"]]), place)
        masks: tuple[Path, ...] = ()
        if row["label"] == "anomaly" and row["mask"]:
            mask = base / _checked(row["mask"], PurePosixPath(category, _MASKS), place)
            masks = (mask,) if mask.is_file() else ()
        files[image] = (image, "good" if row["label"] == "normal" else "anomaly", masks)
    if not files:
        raise InputDataError(f"{split}: it lists no test image of {printable(category)}.")
    if missing := [image for image in files if not image.is_file()]:
        raise InputDataError(
            f"{printable(str(missing[0]))} is listed in {printable(str(split))}, but is not there"
            f" (of {len(files)} test images, {len(missing)} are not). Unpack the dataset again."
        )
    return [files[image] for image in sorted(files, key=lambda image: image.as_posix())]


def _split_file(base: Path) -> Path:
    for place in (base / _SPLIT, base / "1cls.csv", base.parent / _SPLIT):
        if place.is_file():
            return place
    raise InputDataError(
        f"{printable(str(base))}: VisA's split file {_SPLIT} is missing; it says which images are for testing. "
        f"It comes with the dataset and is in its code repository: copy it to {printable(str(base / _SPLIT))}."
    )


def _rows(split: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of the split file, each with its place for error messages."""
    try:
        with split.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = csv.DictReader(stream)
            if not set(rows.fieldnames or ()) >= _COLUMNS:
                raise InputDataError(f"{split}: expected the columns {', '.join(sorted(_COLUMNS))}; found {rows.fieldnames}.")
            for row in rows:
                yield f"{split}:{rows.line_num}", row
    except (OSError, csv.Error) as error:
        raise InputDataError(f"{split}: VisA's split file cannot be read ({error}).") from error


def _checked(name: str | None, folder: PurePosixPath, place: str) -> PurePosixPath:
    """The split file must not lead out of the category's folders."""
    path = PurePosixPath(name or "")
    if path.parent != folder or "\\" in path.name or "\0" in path.name or path.name == "..":
        raise InputDataError(f"{place}: {name!r} is not a file in {folder}.")
    return path
