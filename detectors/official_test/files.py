"""Which images the official test split of a category holds, with their labels and the files of their masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from detectors.official_test.guard import check_open
from synthgen.datasets import DatasetInfo, dataset_info, resolve_root
from synthgen.datasets.listing import image_files, is_folder, printable, subfolders
from synthgen.datasets.pairing import pair_masks
from synthgen.datasets.roles import is_normal
from synthgen.datasets.roots import wrong_layout
from synthgen.errors import InputDataError, UsageError, suggest

NORMAL = "good"
"""The kind of normal images, whatever the dataset calls them."""
_EXPECTED = "test/good with normal images, test/<defect> with anomalous ones, and ground_truth/<defect> with their masks"


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One image of a test split.

    Attributes:
        name: path relative to the dataset's root, with forward slashes; printable whatever the file is called.
        path: the file.
        label: 0 normal, 1 anomaly.
        kind: the defect's name as the dataset calls it, such as `"broken_large"`; `"good"` for normal images.
        masks: the files of its ground truth, several where there is one for each defect (MVTec LOCO); empty for a normal
            image, and for an anomalous one that nobody marked.
        dataset: name of the dataset, such as `"visa"`.
    """

    name: str
    path: Path
    label: int
    kind: str
    masks: tuple[Path, ...]
    dataset: str = ""


def open_test_split(dataset: str, root: Path | None, category: str) -> tuple[LabelledFile, ...]:
    """Find the official test images of one category. Files are listed, not opened.

    Images without a mask are there too, and masks without an image are passed over.

    Args:
        dataset: one of `synthgen.datasets.dataset_names()`.
        root: its folder; None looks in `$SYNTHGEN_DATA/<dataset>`.
        category: name of the category; for a folder of one's own images without categories, the name of the folder.

    Returns:
        The images, in code point order of their names.

    Raises:
        ClosedSplitError: during training.
        UsageError: an unknown dataset, or a rendered category that has no test split.
        InputDataError: no such folder or category, another layout, no test images, or masks of which it is not clear which
            image they belong to.
    """
    check_open()
    info = dataset_info(dataset)
    folder = resolve_root(dataset, root)
    if folder is None:
        folder = _rendered(info, category)
    if info.reader == "folder":
        return _read_folders(info, folder, _own_images(folder, category))
    bases = [base for base in (folder, *(folder / wrapper for wrapper in info.wrappers)) if is_folder(base)]
    if info.reader == "visa":
        from detectors.official_test import visa

        for base in bases:
            if names := visa.raw_categories(base):
                _check_known(base, category, names)
                return tuple(_labelled(dataset, base, *entry) for entry in visa.split_images(base, category))
    base = _category_base(info, folder, bases, category)
    return _read_folders(info, base, base / category)


def _rendered(info: DatasetInfo, category: str) -> Path:
    """The folder of a rendered dataset's test split."""
    from detectors.official_test import rendered

    if category != rendered.CATEGORY:
        raise UsageError(
            f"--category {printable(category)}: of the {info.title}, {rendered.CATEGORY} alone has a test split. "
            "Look at synthetic anomalies of held-out images instead: validation.json in the run."
        )
    return rendered.demo_test_split()


def _category_base(info: DatasetInfo, root: Path, bases: Sequence[Path], category: str) -> Path:
    """The folder that holds the category's folder."""
    for base in bases:
        names = [folder.name for folder in subfolders(base)]
        tested = [name for name in names if is_folder(base / name / "test")]
        if category in tested:
            return base
        if category in names:
            raise _no_test_split(base / category)
        if tested:
            _check_known(base, category, tested)
    raise wrong_layout(info, root)


def _own_images(root: Path, category: str) -> Path:
    """The folder that holds `test`: that of the category, or the root where there is no other category."""
    name = root.resolve().name or "images"
    folders = subfolders(root)
    tested = [folder.name for folder in folders if is_folder(folder / "test")]
    if category in tested:
        return root / category
    nested = [folder.name for folder in folders if image_files(folder)]
    if is_folder(root / "test") and (category == name or nested == [category]):
        return root
    _check_known(root, category, [*tested, *nested, name])
    raise _no_test_split(root if category == name else root / category)


def _check_known(base: Path, category: str, known: list[str]) -> None:
    if category not in known:
        names = [printable(name) for name in known]
        raise InputDataError(
            f"--category {printable(category)}: {printable(str(base))} has no such category.{suggest(category, names)}"
        )


def _no_test_split(place: Path) -> InputDataError:
    return InputDataError(f"{printable(str(place))} has no test split. Expected in it: {_EXPECTED}.")


def _read_folders(info: DatasetInfo, base: Path, place: Path) -> tuple[LabelledFile, ...]:
    """Read `place/test`, one folder per kind, and `place/ground_truth`."""
    normal = PurePosixPath(info.normal).name or NORMAL  # BTAD says `ok`
    if loose := image_files(place / "test"):
        raise InputDataError(
            f"{printable(str(loose[0]))}: images directly in {printable(place.name)}/test are neither normal nor anomalous. "
            f"Expected: {_EXPECTED}."
        )
    files = []
    for folder in subfolders(place / "test"):
        images = image_files(folder)
        if folder.name == normal or is_normal(folder.name):
            files += [_labelled(info.name, base, image, NORMAL, ()) for image in images]
        else:
            masks = pair_masks(images, place / "ground_truth" / folder.name)
            files += [_labelled(info.name, base, image, folder.name, masks.get(image, ())) for image in images]
    if not files:
        raise _no_test_split(place)
    return tuple(sorted(files, key=lambda file: file.name))


def _labelled(dataset: str, base: Path, path: Path, kind: str, masks: tuple[Path, ...]) -> LabelledFile:
    name = printable(path.relative_to(base).as_posix())
    return LabelledFile(name, path, int(kind != NORMAL), printable(kind), masks, dataset)
