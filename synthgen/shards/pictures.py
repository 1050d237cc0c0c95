"""The data sets that hold pixels: made empty, filled tile by tile, cut to the rows that were used."""

import zlib
from collections.abc import Collection
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Box, Size
from synthgen.shards.layout import GZIP_LEVEL, Layout, picture_shapes


class PictureWriter:
    """One data set of pictures.

    Tiles are compressed here and handed to HDF5 as they go into the file: half the time of its own way, for the same bytes.

    Args:
        dataset: (rows, H, W[, 3]) uint8 with chunks of one row, deflated or not filtered.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._tile: tuple[int, ...] = dataset.chunks[1:]
        self._deflated = dataset.compression == "gzip"
        self._rest = (0,) * (dataset.ndim - 3)

    def write_row(self, row: int, picture: NDArray[np.uint8]) -> None:
        """Writes a whole picture; the data set's chunk is one."""
        self._write_tile((row, 0, 0), picture)

    def write_box(self, row: int, box: Box, values: NDArray[np.uint8]) -> None:
        """Writes `values` into `box` of a picture that is zero elsewhere; a tile of zeros takes no space in the file."""
        (y0, x0, y1, x1), (height, width) = box, self._tile[:2]
        top, left = y0 // height * height, x0 // width * width
        aligned = (-(-y1 // height) * height - top, -(-x1 // width) * width - left)
        tiles = np.zeros((*aligned, *self._tile[2:]), np.uint8)
        tiles[y0 - top : y1 - top, x0 - left : x1 - left] = values
        for y in range(0, aligned[0], height):
            for x in range(0, aligned[1], width):
                tile = tiles[y : y + height, x : x + width]
                if tile.any():
                    self._write_tile((row, top + y, left + x), tile)

    def cut(self, rows: int) -> None:
        """Keeps the first `rows` pictures."""
        if rows < len(self._dataset):
            self._dataset.resize(rows, axis=0)

    def _write_tile(self, corner: tuple[int, int, int], tile: NDArray[np.uint8]) -> None:
        data: bytes | memoryview = np.ascontiguousarray(tile).data
        if self._deflated:
            data = zlib.compress(data, GZIP_LEVEL)
        self._dataset.id.write_direct_chunk(corner + self._rest, data)


def create_pictures(
    file: h5py.File,
    layout: Layout,
    size: Size,
    n_samples: int,
    n_bases: int,
    base_compression: Literal["gzip"] | None,
    *,
    extras: Collection[str] = (),
) -> dict[str, PictureWriter]:
    """Makes the layout's data sets of pictures, with room for `n_samples` (/base: `n_bases`) rows."""
    writers = {}
    for name, (shape, chunks) in picture_shapes(layout, size, extras).items():
        full = (max(1, n_bases if name == "base" else n_samples), *shape)
        gzip = {"compression": "gzip", "compression_opts": GZIP_LEVEL}
        filters = gzip if name != "base" or base_compression else {}
        writers[name] = PictureWriter(file.create_dataset(name, full, np.uint8, chunks=chunks, maxshape=full, **filters))
    return writers
