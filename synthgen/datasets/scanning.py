"""The look at a dataset's folder: which normal images are there, which can be used, and why not the others."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from synthgen.datasets.info import DatasetInfo, dataset_info
from synthgen.datasets.listing import printable, unique_stems
from synthgen.datasets.records import CategoryScan, DatasetScan, Layout, NormalSource, RejectedFile
from synthgen.datasets.roots import resolve_root
from synthgen.errors import InputDataError, suggest


def scan(dataset: str, root: Path | None = None, categories: Sequence[str] | None = None) -> DatasetScan:
    """Find the official normal training images of a dataset, and check each file without decoding it.

    Args:
        dataset: one of `dataset_names()`.
        root: its folder; None looks in `$SYNTHGEN_DATA/<dataset>`.
        categories: the categories wanted; None for all. Order and repetition do not matter.

    Raises:
        UsageError: an unknown dataset, or a root for one that is rendered.
        InputDataError: no such folder or category, another layout, or a category without a usable image.
    """
    info = dataset_info(dataset)
    folder = resolve_root(dataset, root)
    if folder is None:
        from synthgen.datasets import demo

        rendered = demo.sources(dataset)
        names = _chosen_names(list(rendered), categories, "the rendered images")
        scans = tuple(CategoryScan(name, len(rendered[name]), rendered[name], ()) for name in names)
        return DatasetScan(dataset, None, info.layout, info.licence, scans)
    reader = importlib.import_module(f"synthgen.datasets.{info.reader}")
    layout: Layout = reader.find(info, folder, categories)
    _check_belongs(info, layout)
    names = _chosen_names(sorted(layout.files), categories, str(layout.root))
    scans = tuple(_scan_category(dataset, layout, name) for name in names)
    return DatasetScan(dataset, layout.root, layout.description, info.licence, scans)


def _check_belongs(info: DatasetInfo, layout: Layout) -> None:
    """Raise an InputDataError if none of the categories is one of the dataset's: its licence would not be the right one.

    The layout of MVTec AD is what people arrange their own images in, so there any category will do.
    """
    if info.name == "mvtec" or not info.categories or set(layout.files) & set(info.categories):
        return
    raise InputDataError(
        f"--dataset {info.name}: none of the categories in {printable(str(layout.root))} "
        f"({printable(', '.join(layout.files))}) is one of {info.title} ({', '.join(info.categories)}). "
        "Your own images in this layout are --dataset mvtec; a folder of images is --dataset folder."
    )


def _chosen_names(known: list[str], categories: Sequence[str] | None, place: str) -> list[str]:
    if categories is None:
        return known
    for name in categories:
        if name not in known:
            raise InputDataError(
                f"--categories {printable(name)}: {printable(place)} has no such category.{suggest(name, known)}"
            )
    return sorted(set(categories))


def _scan_category(dataset: str, layout: Layout, category: str) -> CategoryScan:
    used, rejected = [], []
    files = layout.files[category]
    for path, stem in zip(files, unique_stems(files), strict=True):
        source = path.relative_to(layout.root).as_posix()
        problem = _problem(path, source)
        if problem is None:
            used.append(NormalSource(dataset, category, stem, source, path))
        else:
            rejected.append(problem)
    if not used:
        folder = printable(str(files[0].parent if files else layout.root / category))
        reasons = "; ".join(f"{file.path}: {file.detail}" for file in rejected[:3])
        others = [name for name in sorted(layout.files) if name != category]
        raise InputDataError(
            f"category {printable(category)}: none of {len(files)} files in {folder} is a usable normal image."
            + (f" For example {reasons}." if reasons else "")
            + (f" To leave it out, name the others: --categories {printable(','.join(others[:4]))}" if others else "")
            + (",..." if len(others) > 4 else "")
        )
    return CategoryScan(category, len(files), tuple(used), tuple(rejected))


def _problem(path: Path, source: str) -> RejectedFile | None:
    from synthgen.datasets.headers import UnusableImageError, check_file

    if printable(source) != source:
        return RejectedFile(printable(source), "bad-name", "the name is not valid text: rename the file")
    try:
        check_file(path)
    except UnusableImageError as error:
        return RejectedFile(source, error.reason, error.detail)
    return None
