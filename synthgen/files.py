"""Files: written as a whole or not at all, JSON that says the way out when it cannot be read, digests, room on the disk."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthgen.errors import InputDataError, IntegrityError, StorageError
from synthgen.failpoints import reach

_LONGEST_NAME = 180
"""In bytes, of the 255 that a file's name may have: the rest is for endings, and for what `temporary_name` adds."""


def temporary_name(path: Path) -> Path:
    """The name under which this process writes `path`, in the same folder, which other machines may write to."""
    return path.with_name(f".tmp-{path.name}-{os.uname().nodename}-{os.getpid()}")


@contextlib.contextmanager
def whole_file(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """A name to write a file under: it becomes `path` when the block ends, and is removed if the block fails.

    Args:
        path: the file; its folder is made if need be, and a file that is there already is replaced.
        synced: whether its bytes are on the device before it gets its name. Pictures that a command makes again need not be.

    Raises:
        StorageError: the device fails or is full.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if synced:
            sync(temporary)
            reach("file-before-replace")
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def safe_name(text: str) -> str:
    """The text as (a part of) a file's name on every system: letters, digits, `-` and `_`; others become `_`."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in text)


def unique_names(texts: Iterable[str]) -> list[str]:
    """A safe name for each text, no two alike even where case does not count, and short enough for an ending of 50 bytes."""
    taken: set[str] = set()
    last: dict[str, int] = {}
    names = []
    for text in texts:
        safe = safe_name(text).encode()[:_LONGEST_NAME].decode(errors="ignore")
        name, key = safe, safe.casefold()
        while name.casefold() in taken:
            last[key] = last.get(key, 1) + 1
            name = f"{safe}-{last[key]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_bytes(path: Path, data: bytes, *, synced: bool = True) -> None:
    """Write a file; see `whole_file`."""
    with whole_file(path, synced=synced) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file with sorted keys; see `whole_file`."""
    write_text(path, json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sync(path: Path) -> None:
    """Bring a file's bytes to the device."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def storage_error(path: Path, error: OSError) -> StorageError:
    """`error` as the user should read it: what failed, how much space is left, what to do."""
    space = ""
    with contextlib.suppress(OSError):
        space = f" {shutil.disk_usage(path.parent).free / 2**20:.0f} MiB are free there."
    return StorageError(
        f"{path}: cannot be written: {error.strerror or error}.{space} Make room, or choose another folder, "
        "and run the same command again: it goes on where it stopped."
    )


def check_space(folder: Path, needed: int) -> None:
    """Raise a StorageError if fewer than `needed` bytes are free for the folder."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: the build needs at least {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free. "
            "Make room, choose another folder, or build at a smaller --size."
        )


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        way_out: a sentence for the user on what to do if it is damaged.

    Raises:
        IntegrityError: it cannot be read, or holds no JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: cannot be read ({error}). {way_out}") from error
    if not isinstance(values, dict):
        raise IntegrityError(f"{path}: holds no JSON object. {way_out}")
    return values


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Lines `place: before -> after` for everything that differs between two JSON values."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        deeper = (differences(before.get(key), after.get(key), f"{place}.{key}" if place else key) for key in keys)
        return [line for lines in deeper for line in lines]
    return [] if before == after else [f"{place}: {json.dumps(before)} -> {json.dumps(after)}"]


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file.

    Raises:
        InputDataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror or error}).") from error
