"""Columns and attributes: fixed-width values only, so that nothing lands in HDF5's heaps, which have no checksum."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.shards.layout import MAX_COLUMN_BYTES, META_GZIP_LEVEL, TEXT


def text_array(values: Sequence[str]) -> NDArray[np.bytes_]:
    """The values as UTF-8 bytes of one width. Raises `ValueError` for a text that does not survive that."""
    encoded = [value.encode() for value in values]
    for value in encoded:
        if value.endswith(b"\0"):
            raise ValueError(f"{value!r}: a text that ends with a NUL cannot be stored in a column of fixed width")
    width = max(map(len, encoded), default=0) or 1
    return np.array(encoded, h5py.string_dtype("utf-8", width))


def texts(values: NDArray[np.bytes_]) -> list[str]:
    """The inverse of `text_array`."""
    return [value.decode() for value in values.tolist()]


def write_column(file: h5py.File, path: str, kind: str, values: Sequence[Any]) -> None:
    """Writes one column; texts deflated, numbers as they are."""
    if kind != TEXT:
        array = np.array(values, kind)
        file[path] = array.reshape(-1, 4) if path == "bbox" else array
    elif values:
        array = text_array(values)
        column = file.create_dataset(path, data=array, chunks=array.shape, compression="gzip", compression_opts=META_GZIP_LEVEL)
        # its chunk gets its place in the file now, not when the last reference goes: a profiler that looks at this frame
        # (every Dask worker has one) holds references a little longer, and the file would have other bytes
        column.flush()
    else:
        file.create_dataset(path, data=text_array(values))  # an assignment would note the time in the group that it makes


def write_attribute(file: h5py.File, name: str, value: Any) -> None:
    """Writes one attribute of the file: a text, a flag, a whole number or a pair of them."""
    if isinstance(value, str):
        array = text_array([value])
        file.attrs.create(name, array[0], dtype=array.dtype)
    elif isinstance(value, bool):
        file.attrs[name] = np.bool_(value)
    else:
        file.attrs[name] = np.array(value, "<i8")


def read_attribute(owner: h5py.File | h5py.Dataset, name: str, kind: type) -> Any:
    """Reads an attribute, and raises `ValueError` for one that `write_attribute` or the writer of a list did not write.

    Args:
        owner: what the attribute belongs to.
        name: of the attribute.
        kind: str, int, bool, tuple (a pair of int) or list (of str).
    """
    attribute = h5py.h5a.open(owner.id, name.encode())
    dtype, shape = attribute.dtype, attribute.shape
    is_kind = dtype.kind == "S" if kind in (str, list) else dtype == np.dtype(np.bool_ if kind is bool else "<i8")
    is_shape = len(shape) == 1 if kind is list else shape == ((2,) if kind is tuple else ())
    if not is_kind or not is_shape or attribute.get_storage_size() > MAX_COLUMN_BYTES:
        raise ValueError(f"attribute {name} is {dtype} {shape}")
    value = np.empty(shape, dtype)
    attribute.read(value)
    if kind is str:
        return bytes(value[()]).decode()
    if kind is list:
        return texts(value)
    return tuple(value.tolist()) if kind is tuple else kind(value)
