"""One open shard: its samples, decoded."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Box, Image, Mask, NormalImage, Sample, SampleSpec
from synthgen.shards.columns import read_attribute, texts
from synthgen.shards.layout import EXTRAS, Layout, ShardHeader, columns
from synthgen.shards.schema import damaged, open_shard, read_column, reading

_CACHE_BYTES = 1 << 20
_CACHED_SIDE = 512
"""Images below this side are read faster through HDF5's cache of chunks; others faster without, in a tenth of the memory."""


class Shard:
    """A shard that is open for reading.

    Args:
        path: the file.

    Attributes:
        path: the file.
        header: what its samples have in common.
        layout: `"delta"` or `"dense"`.
        unreadable: planned samples without a row: dictionaries of sample_id, source and reason.
        content_sha256: what the file says of its content.
        extras: which of `EXTRAS` it has.

    Raises:
        IntegrityError: from any method, for a file that is damaged or no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, facts = open_shard(path)
        self.layout: Layout = facts["layout"]
        self.content_sha256: str = facts["content_sha256"]
        self._columns: dict[str, NDArray[Any]] = {}
        self._n: int = facts["n"]
        with reading(path):
            self.unreadable: list[dict[str, str]] = json.loads(facts["unreadable_json"])
            names = tuple(read_attribute(self._file["type"], "names", list))
        shared = ("dataset", "category", "licence", "image_size", "seed", "shard_index", "generator", "config_json")
        self.header = ShardHeader(**{name: facts[name] for name in shared}, types=names)
        if self.header.config_sha256 != facts["config_sha256"]:
            raise damaged(path, "its configuration is not the one that was written")
        self.extras = tuple(name for name in EXTRAS if name in self._file)
        pictures = ("base", "image", "delta", "mask", "ssim_diff")
        self._pictures = {name: self._open_picture(name) for name in pictures if name in self._file}

    def __len__(self) -> int:
        """Number of samples."""
        return self._n

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def column(self, path: str) -> NDArray[Any]:
        """One column as it is in the file, by its path, such as `"bbox"` or `"meta/area"`; kept after the first call."""
        if path not in self._columns:
            with reading(self.path, path):
                kind, n = ("<u4", None) if path == "base_crc32" else (columns(self.layout, self.extras)[path], len(self))
                column = read_column(self._file, path, kind, n)
                self._check_range(path, column)
            self._columns[path] = column
        return self._columns[path]

    def texts(self, path: str) -> list[str]:
        """All entries of a column of texts."""
        with reading(self.path, path):
            return texts(self.column(path))

    def text(self, path: str, i: int) -> str:
        """One entry of a column of texts."""
        with reading(self.path, path):
            return bytes(self.column(path)[i]).decode()

    def box(self, i: int) -> Box:
        """(y0, x0, y1, x1) of the changed and the mask pixels of sample `i`."""
        y0, x0, y1, x1 = self.column("bbox")[i].tolist()
        return y0, x0, y1, x1

    def sample(self, i: int) -> Sample:
        """Sample `i`, 0 <= i < len(self)."""
        size = self.header.image_size
        image, normal, mask = np.empty((*size, 3), np.uint8), np.empty((*size, 3), np.uint8), np.empty(size, np.uint8)
        self.read_into(i, image=image, mask=mask, normal=normal)
        with reading(self.path, f"sample {i}"):
            params = json.loads(self.text("meta/params", i))
        return Sample(
            spec=self._spec(i),
            image=image,
            mask=mask,
            normal=normal,
            box=self.box(i),
            params=params,
            attempt=int(self.column("meta/attempt")[i]),
            area=int(self.column("meta/area")[i]),
            contrast=float(self.column("meta/contrast")[i]),
            visible=float(self.column("meta/visible")[i]),
            source_sha256=self.text("meta/source_sha256", i),
            rejected=self.text("meta/rejected", i),
            generated=self._generated(i),
            difference=self._difference(i) if params.get("keep_difference") else None,
        )

    def read_into(self, i: int, *, image: Image | None = None, mask: Mask | None = None, normal: Image | None = None) -> None:
        """Decodes sample `i` into the given arrays (C-contiguous, of its size); what is not asked for is not decoded."""
        y0, x0, y1, x1 = self.box(i)
        inside = np.s_[y0:y1, x0:x1]
        with reading(self.path, f"sample {i}"):
            if image is not None:
                self._read_image(i, image, inside)
            if normal is not None:
                self._read_normal(i, normal, inside)
            if mask is not None:
                mask[...] = 0
                if y1:
                    mask[inside] = self._pictures["mask"][(i, *inside)]

    def normal(self, i: int) -> NormalImage:
        """The normal image of sample `i`."""
        pixels = np.empty((*self.header.image_size, 3), np.uint8)
        self.read_into(i, normal=pixels)
        source, sha256 = self.text("meta/source", i), self.text("meta/source_sha256", i)
        return NormalImage(self.header.dataset, self.header.category, source, sha256, pixels)

    def as_stored(self, i: int) -> tuple[Image, Mask]:
        """Image and mask of sample `i` by the plain rule of the layout, over the whole frame, whatever its box says."""
        with reading(self.path, f"sample {i}"):
            if self.layout == "dense":
                image = self._pictures["image"][i]
            else:
                image = self._pictures["base"][self.column("base_index")[i]] + self._pictures["delta"][i]
            return image, self._pictures["mask"][i]

    def base_row(self, row: int) -> Image:
        """One row of /base (only in the delta layout)."""
        pixels = np.empty((*self.header.image_size, 3), np.uint8)
        with reading(self.path, f"base row {row}"):
            self._read_row("base", row, pixels)
        return pixels

    def _generated(self, i: int) -> Image | None:
        """The generated normal image of sample `i`, where it has one."""
        if "generated_index" not in self.extras:
            return None
        row = int(self.column("generated_index")[i])
        return None if row == self.column("normal_index")[i] else self.base_row(row)

    def _difference(self, i: int) -> NDArray[np.uint8] | None:
        if "ssim_diff" not in self.extras:
            return None
        with reading(self.path, f"sample {i}"):
            difference: NDArray[np.uint8] = self._pictures["ssim_diff"][i]
        return difference

    def _spec(self, i: int) -> SampleSpec:
        return SampleSpec(
            sample_id=self.text("meta/sample_id", i),
            dataset=self.header.dataset,
            category=self.header.category,
            source=self.text("meta/source", i),
            type=self.header.types[self.column("type")[i]],
            replica=int(self.column("meta/replica")[i]),
            size=self.header.image_size,
            generator=self.text("meta/generator", i),
        )

    def _read_image(self, i: int, image: Image, inside: tuple[slice, slice]) -> None:
        if self.layout == "dense":
            self._read_row("image", i, image)
            return
        base = self.column("base_index")[i]
        self._read_row("base", base, image)
        if inside[0].stop and base == self.column("normal_index")[i]:
            image[inside] += self._pictures["delta"][(i, *inside)]

    def _read_normal(self, i: int, normal: Image, inside: tuple[slice, slice]) -> None:
        if self.layout == "delta":
            self._read_row("base", self.column("normal_index")[i], normal)
            return
        self._read_row("image", i, normal)
        if inside[0].stop:
            normal[inside] -= self._pictures["delta"][(i, *inside)]

    def _read_row(self, name: str, row: int, target: Image) -> None:
        """Reads a whole row of /base or /image; by HDF5's own call, which takes half the time of an h5py selection."""
        shape = (1, *target.shape)
        stored = self._pictures[name].id
        space = stored.get_space()
        space.select_hyperslab((int(row), 0, 0, 0), shape)
        stored.read(h5py.h5s.create_simple(shape), space, target)

    def _open_picture(self, name: str) -> h5py.Dataset:
        """The data set, with a cache of chunks only where it helps."""
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        cache = _CACHE_BYTES if max(self.header.image_size) < _CACHED_SIDE else 0
        access.set_chunk_cache(521, cache, 0.75)
        return h5py.Dataset(h5py.h5d.open(self._file.id, name.encode(), access))

    def _check_range(self, path: str, column: NDArray[Any]) -> None:
        """Refuses numbers that point outside the file or the image."""
        if path == "bbox":
            sides = np.array([*self.header.image_size] * 2)
            wrong: Any = (column < 0).any() or (column > sides).any() or (column[:, :2] > column[:, 2:]).any()
        elif path in ("base_index", "normal_index", "generated_index"):
            wrong = (column >= len(self._pictures["base"])).any()
        else:
            wrong = path == "type" and (column >= len(self.header.types)).any()
        if wrong:
            raise ValueError("an entry is out of range")
