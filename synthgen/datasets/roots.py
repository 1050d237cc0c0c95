"""Where a dataset is, and what to say when it is not there."""

import os
from pathlib import Path

from synthgen.datasets.info import DatasetInfo, dataset_info
from synthgen.datasets.listing import contents, image_files, is_folder, printable, subfolders
from synthgen.errors import InputDataError, UsageError

VARIABLE = "SYNTHGEN_DATA"
_SIGNS = {  # what a category of each layout holds, the most telling first
    "Data/Images/Normal": "visa",
    "validation/good": "mvtec_loco",
    "train/ok": "btad",
    "train/good": "mvtec",
}


def resolve_root(dataset: str, root: Path | None) -> Path | None:
    """Find a dataset's folder: `root` (the option `--root`), else `$SYNTHGEN_DATA/<dataset>`.

    Returns:
        The folder, as an absolute path; None for a dataset that is rendered.

    Raises:
        UsageError: an unknown dataset, or a root for a rendered one.
        InputDataError: there is no such folder. The text says where it was looked for and where the dataset can be had.
    """
    info = dataset_info(dataset)
    if info.reader == "demo":
        if root is not None:
            raise UsageError(f"--root {root}: the dataset {dataset} is rendered and reads no files. Leave --root away.")
        return None
    if root is not None:
        return _existing_folder(root, f"--root {root}", info)
    base = os.environ.get(VARIABLE)
    if base and info.homepage:
        return _existing_folder(Path(base) / dataset, f"{Path(base) / dataset} (from {VARIABLE})", info)
    if not info.homepage:
        raise InputDataError(f"--dataset {dataset}: say where the images are, with --root DIR.")
    raise InputDataError(
        f"--dataset {dataset}: no folder given. Pass --root DIR, or set {VARIABLE} to a folder that holds {dataset}/."
        + _where_to_get(info)
    )


def wrong_layout(info: DatasetInfo, root: Path) -> InputDataError:
    """The error for a folder that does not hold what the dataset's layout says."""
    name = printable(str(root))
    signs = [dataset for sign, dataset in _SIGNS.items() if is_folder(root / sign)]
    if signs:
        dataset = info.name if info.normal and is_folder(root / info.normal) else signs[0]
        parent, category = printable(str(root.resolve().parent)), printable(root.resolve().name)
        return InputDataError(
            f"{name} is one category, not a whole dataset: pass its parent, "
            f"with --dataset {dataset} --root {parent!r} --categories {category!r}."
        )
    text = f"{name}: not the layout of {info.title}. Expected: {info.layout}. Found: {contents(root)}."
    other = recognise(root)
    if other and other != info.name:
        text += f" It looks like --dataset {other}."
    elif info.reader != "folder" and _holds_images(root):
        text += " Plain folders of images are read with --dataset folder."
    return InputDataError(text)


def recognise(root: Path) -> str | None:
    """The dataset whose layout the folders in `root` have, judged by the names of folders only; None if it is none."""
    folders = subfolders(root)
    for sign, dataset in _SIGNS.items():
        if any(is_folder(folder / sign) for folder in folders):
            return dataset
    return None


def _existing_folder(folder: Path, name: str, info: DatasetInfo) -> Path:
    folder = folder.expanduser().absolute()  # workers may run in another folder
    if is_folder(folder):
        return folder
    problem = "is a file, not a folder" if folder.is_file() else "does not exist, or may not be entered"
    raise InputDataError(f"{printable(name)} {problem}.{_where_to_get(info)}")


def _where_to_get(info: DatasetInfo) -> str:
    return f" {info.title} can be had at {info.homepage} (licence: {info.licence})." if info.homepage else ""


def _holds_images(root: Path) -> bool:
    return bool(image_files(root)) or any(image_files(folder) for folder in subfolders(root)[:20])
