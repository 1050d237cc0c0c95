"""What a look at a dataset's folder finds: normal images that can be used, and files that cannot, with the reason."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NormalSource:
    """One official normal training image that passed the checks.

    Attributes:
        dataset: name of the dataset, such as `"visa"`.
        category: name of the category in it, such as `"candle"`.
        stem: file name without extension, unique within the category (with its extension where two files share a stem).
        source: path relative to the scan's root, with forward slashes.
        path: the file; None where the image is rendered (`demo`).
    """

    dataset: str
    category: str
    stem: str
    source: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """One file that is in the place of a normal training image but cannot be used.

    Attributes:
        path: path relative to the scan's root, with forward slashes; printable whatever the file is called.
        reason: short code: `animated`, `bad-name`, `broken-link`, `cmyk`, `damaged`, `empty`, `float`, `missing`,
            `not-a-file`, `not-an-image`, `too-large`, `too-small`, `truncated`, `unreadable`, `unsupported`.
        detail: one sentence for a person.
    """

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class CategoryScan:
    """The normal training images of one category; `found == len(used) + len(rejected)`.

    Attributes:
        name: name of the category.
        found: number of files in the place of normal training images.
        used: the usable ones, in code point order of `source`.
        rejected: the others, in the same order.
    """

    name: str
    found: int
    used: tuple[NormalSource, ...]
    rejected: tuple[RejectedFile, ...]


@dataclass(frozen=True, slots=True)
class DatasetScan:
    """What a dataset's folder holds.

    Attributes:
        dataset: name of the dataset.
        root: the folder that sources are relative to; None for a rendered dataset.
        layout: which layout was recognised, such as `"VisA raw (split_csv/1cls.csv)"`.
        licence: licence of the images, as the dataset's manifest gives it.
        categories: the categories, in code point order of their names.
    """

    dataset: str
    root: Path | None
    layout: str
    licence: str
    categories: tuple[CategoryScan, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a layout module recognised in a folder, before any file is opened.

    Attributes:
        description: which layout it is, for a person.
        root: the folder that sources are relative to (a wrapper folder of the download is stepped into).
        files: category -> its official normal training images, unchecked.
    """

    description: str
    root: Path
    files: dict[str, list[Path]]
