"""One's own images: a folder of normal images, or a folder of such folders, one per category."""

from collections.abc import Sequence
from pathlib import Path

from synthgen.datasets.info import DatasetInfo
from synthgen.datasets.listing import image_files, printable, subfolders
from synthgen.datasets.records import Layout
from synthgen.datasets.roles import is_masks, is_normal, is_not_normal
from synthgen.datasets.roots import recognise, wrong_layout
from synthgen.errors import InputDataError


def find(info: DatasetInfo, root: Path, categories: Sequence[str] | None = None) -> Layout:
    """Read images directly in `root` as one category called like it, images in its subfolders as one category each.

    Raises:
        InputDataError: there are no images; or both kinds are there, or folders that are called like those of anomalous
            images or masks, and `categories` does not choose; or it is the folder of a dataset whose layout says more about
            its images.
    """
    direct = {root.resolve().name or "images": files} if (files := image_files(root)) else {}
    nested = {folder.name: files for folder in subfolders(root) if (files := image_files(folder))}
    if not direct and (not nested or recognise(root) is not None):
        raise wrong_layout(info, root)
    if direct and nested and categories is None:
        raise InputDataError(
            f"{printable(str(root))} holds images itself and folders with images ({printable(', '.join(nested))}). "
            f"Choose with --categories {printable(next(iter(direct)))} for its own images, or --categories with those folders."
        )
    if categories is None:
        _refuse_anomalous(root, sorted(nested))
    return Layout("folder of images" if direct else "folders of images", root, nested | direct)


def _refuse_anomalous(root: Path, folders: Sequence[str]) -> None:
    """Raise an InputDataError where anomalies would be painted on what is no normal image, by the names of the folders.

    Nobody calls a product `good`: beside such a folder, all others hold something else.
    """
    normal = [name for name in folders if is_normal(name)]
    wrong = [name for name in folders if is_not_normal(name) or (normal and name not in normal)]
    if is_masks(root.resolve().name):
        wrong = wrong or [root.resolve().name]
    if not wrong:
        return
    normal = normal or [name for name in folders if name not in wrong]
    place, names = printable(str(root)), printable(", ".join(wrong))
    if len(normal) == 1:
        way = f"The normal images alone: --root {printable(str(root / normal[0]))!r}."
    elif normal:
        way = f"Choose the folders of normal images: --categories {printable(','.join(normal))}."
    else:
        way = "Give the folder of normal images as --root."
    raise InputDataError(
        f"{place}: the names of its folders say anomalies or masks ({names}), and anomalies are made from normal images. {way} "
        "If they do hold normal images, name them with --categories."
    )
