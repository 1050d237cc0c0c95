"""Opens a shard only if it is one: HDF5 is a language in which a file can ask for anything, and most of it is refused here.

Accepted: exactly the expected names, as hard links; the expected types, shapes and chunks; no filter but deflate; nothing
external, virtual or of variable length; sizes within limits. So no file can make a reader open another file, or allocate much
more than it holds.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import IntegrityError
from synthgen.shards.columns import read_attribute
from synthgen.shards.layout import (
    ATTRIBUTES,
    EXTRAS,
    FORMAT,
    MAX_COLUMN_BYTES,
    MAX_SIDE,
    MAX_TEXT_BYTES,
    TEXT,
    TRAILER_BYTES,
    TRAILER_MAGIC,
    VERSION,
    ShardInfo,
    columns,
    picture_shapes,
)
from synthgen.shards.storage import file_digests

# What h5py raises for files that are damaged or made to harm.
HDF5_ERRORS = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError, NotImplementedError)


@contextlib.contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Turns what h5py raises into an `IntegrityError` that names the file (and the part `what` of it)."""
    try:
        yield
    except IntegrityError:
        raise
    except HDF5_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise damaged(path, f"{what + ': ' if what else ''}{reason}") from error


def damaged(path: Path, reason: str) -> IntegrityError:
    """The error for a file that is not a whole shard."""
    return IntegrityError(f"{path}: not a whole shard: {reason}. Remove it and build again: only what is missing is made.")


def stored_digest(path: Path) -> str:
    """The SHA-256 that the file's last bytes say its other bytes have. Raises `IntegrityError` where there is none."""
    with reading(path), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - TRAILER_BYTES))
        trailer = file.read(TRAILER_BYTES)
    if not (len(trailer) == TRAILER_BYTES and trailer.startswith(TRAILER_MAGIC) and trailer.endswith(b"\n")):
        raise damaged(path, "its end is missing")
    return trailer[len(TRAILER_MAGIC) : -1].decode(errors="replace")


def digest_problems(path: Path, info: ShardInfo | None) -> list[str]:
    """Reads the whole file, and compares it with the digest at its end and with what the manifest says of it.

    Returns:
        What is wrong; nothing for the file that was written.
    """
    with reading(path):
        stored, size = stored_digest(path), path.stat().st_size
        body, whole = file_digests(path)
    problems = []
    if body != stored:
        problems.append("its bytes are not those that were written (SHA-256)")
    if info and (size, whole) != (info.bytes, info.sha256):
        problems.append("it is not the file that the manifest lists (size or SHA-256)")
    return problems


def open_shard(path: Path) -> tuple[h5py.File, dict[str, Any]]:
    """Opens a shard for reading, after a check of its attributes, names and pictures' structure; see also `read_column`.

    Returns:
        The file, and its attributes by name.

    Raises:
        IntegrityError: naming the file and what is wrong with it.
    """
    stored_digest(path)
    with reading(path), contextlib.ExitStack() as on_error:
        file = _open(path)
        on_error.callback(file.close)
        facts = _attributes(file)
        layout, n, extras = facts["layout"], facts["n"], [name for name in EXTRAS if name in file]
        pictures, paths = picture_shapes(layout, facts["image_size"], extras), columns(layout, extras)
        for name in (facts["dataset"], facts["category"], *read_attribute(file["type"], "names", list)):
            _check_name(name)
        bases = {"base_crc32"} if layout == "delta" else set()
        check_links(file, {path.partition("/")[0] for path in (*pictures, *paths, *bases)})
        check_links(file["meta"], {path.partition("/")[2] for path in paths if "/" in path})
        rows = {"base": file["base_crc32"].len()} if bases else {}
        for name, (shape, chunks) in pictures.items():
            _check_picture(file[name], (rows.get(name, n), *shape), chunks)
        on_error.pop_all()
    return file, facts


def read_column(file: h5py.File, path: str, kind: str, n: int | None = None) -> NDArray[Any]:
    """Reads a column after a check of its structure. Raises `ValueError` for anything but a column of `kind` with `n` entries.

    Args:
        file: an open shard.
        path: where the column is, such as `"meta/area"`.
        kind: `TEXT` or a NumPy type string.
        n: its length; None for any.
    """
    dataset = file[path]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{path} is not a data set")
    _check_column(dataset, dataset.len() if n is None else n, kind)
    column: NDArray[Any] = dataset[()]
    return column


def check_links(group: h5py.Group, expected: set[str]) -> None:
    """Raises `ValueError` for a group with other names in it than `expected`, or with links to somewhere else."""
    if not isinstance(group, h5py.Group) or len(group) != len(expected) or set(group) != expected:
        raise ValueError(f"its parts in {group.name} are not {', '.join(sorted(expected))}")
    for name in expected:
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{name} is a link to somewhere else")


def _open(path: Path) -> h5py.File:
    try:
        # As h5py does by itself: HDF5 refuses to open a file twice in one process with and without locks.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError:
        # A network file system without locks; shards never change, so none is needed.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=0)


def _attributes(file: h5py.File) -> dict[str, Any]:
    if set(file.attrs) != set(ATTRIBUTES):
        raise ValueError(f"its attributes are not those of a {FORMAT}")
    facts = {name: read_attribute(file, name, kind) for name, kind in ATTRIBUTES.items()}
    if facts["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    if facts["format_version"] != VERSION:
        raise ValueError(f"it has layout version {facts['format_version']}, this program reads {VERSION}")
    if not facts["complete"]:
        raise ValueError("it was never completed")
    if facts["layout"] not in ("delta", "dense") or facts["n"] < 0:
        raise ValueError(f"layout {facts['layout']!r} with {facts['n']} samples")
    if not all(0 < side <= MAX_SIDE for side in facts["image_size"]):
        raise ValueError(f"its image size {facts['image_size']} is out of range")
    return facts


def _check_name(name: str) -> None:
    """Refuses what would lead out of a folder, were it a part of a path: these names become folders and files."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a dataset, a category or a type of anomaly: it was not written by synthgen")


def _check_picture(dataset: h5py.Dataset, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    filters = _checked_filters(dataset, np.dtype("u1"), shape)
    if dataset.chunks != chunks:
        raise ValueError(f"{dataset.name} has chunks of {dataset.chunks}")
    if not filters and dataset.name != "/base":
        raise ValueError(f"{dataset.name} is not compressed")


def _check_column(dataset: h5py.Dataset, n: int, kind: str) -> None:
    shape = (n, 4) if dataset.name == "/bbox" else (n,)
    is_text = kind == TEXT
    expected = np.dtype(("S", dataset.dtype.itemsize)) if is_text else np.dtype(kind)
    filters = _checked_filters(dataset, expected, shape)
    if dataset.nbytes > MAX_COLUMN_BYTES or dataset.dtype.itemsize > MAX_TEXT_BYTES:
        raise ValueError(f"{dataset.name} asks for {dataset.nbytes} bytes")
    if dataset.chunks != (shape if is_text and n else None) or len(filters) != (is_text and n > 0):
        raise ValueError(f"{dataset.name} has chunks of {dataset.chunks} and {len(filters)} filters")
    if not is_text and dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"{dataset.name} is not filled")


def _checked_filters(dataset: h5py.Dataset, dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[int]:
    """The filters of a data set (none, or deflate); another type or shape, and data that lie elsewhere, are refused."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != dtype or dataset.shape != shape:
        raise ValueError(f"{dataset.name} is not {dtype} {shape}")
    plist = dataset.id.get_create_plist()
    if plist.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or plist.get_external_count():
        raise ValueError(f"{dataset.name} keeps its data outside the file, or in a way that is not expected")
    filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    if filters not in ([], [h5py.h5z.FILTER_DEFLATE]):
        raise ValueError(f"{dataset.name} has filters other than deflate")
    return filters
