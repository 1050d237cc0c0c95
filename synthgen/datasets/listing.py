"""Which names in a folder count as images, and how images and folders are called in a scan."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import InputDataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
_OTHER_IMAGE_SUFFIXES = {".avif", ".dng", ".gif", ".heic", ".jp2", ".jxl", ".pbm", ".pgm", ".ppm", ".raw"}


def image_files(folder: Path) -> list[Path]:
    """Everything in a folder that is called like an image, sorted by code points; dotfiles are none.

    Whether they are images is not looked at: folders, broken links and images of unreadable kinds are in the list too.

    Raises:
        InputDataError: the folder cannot be listed.
    """
    suffixes = IMAGE_SUFFIXES | _OTHER_IMAGE_SUFFIXES
    return [path for path in _entries(folder) if path.suffix.lower() in suffixes]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by code points; those that start with a dot are none.

    Raises:
        InputDataError: the folder cannot be listed.
    """
    return [path for path in _entries(folder) if is_folder(path)]


def is_folder(path: Path) -> bool:
    """Whether there is a folder that can be entered; one that the user may not look into (`lost+found`) counts as none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def unique_stems(files: Sequence[Path]) -> list[str]:
    """The stem of each file; the whole name where two files of the sequence would have the same."""
    counts = Counter(file.stem for file in files)
    stems = [file.stem if counts[file.stem] == 1 else file.name for file in files]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else file.name for stem, file in zip(stems, files, strict=True)]


def printable(text: str) -> str:
    """A file name that any terminal and any file can hold: what is not valid text becomes an escape sequence."""
    escaped = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(repr(char)[1:-1] if ord(char) < 32 or ord(char) == 127 else char for char in escaped)


def contents(folder: Path, limit: int = 5) -> str:
    """A few entries of a folder, for an error message."""
    names = [printable(path.name) + "/" * is_folder(path) for path in _entries(folder)]
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
    except OSError as error:
        raise InputDataError(f"{printable(str(folder))}: the folder cannot be listed ({error.strerror}).") from error
