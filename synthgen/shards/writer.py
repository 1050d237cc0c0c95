"""Writes one shard: complete under its name, or absent."""

import contextlib
import zlib
from collections.abc import Collection, Iterator
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.failpoints import reach
from synthgen.files import storage_error, temporary_name
from synthgen.samples import Image, NormalImage, Sample
from synthgen.shards.columns import text_array, write_attribute, write_column
from synthgen.shards.content import ContentHash, box_change, canonical_json, pixels_sha256
from synthgen.shards.layout import FORMAT, LIBVER, VERSION, Layout, ShardHeader, ShardInfo, columns
from synthgen.shards.pictures import create_pictures
from synthgen.shards.schema import open_shard
from synthgen.shards.storage import RememberingFile, publish, seal


class ShardWriter:
    """Writes the samples of one shard, in plan order; a context manager.

    On a clean exit the file gets its final name, and `info` says what it is. On an exception nothing is left behind.
    The bytes depend on the arguments and the samples alone: no time, no place, no process.

    Args:
        path: final name; the folder exists.
        header: what the samples have in common.
        n_samples: most samples that will be added.
        n_bases: most rows of /base: the normal images, the repainted samples, and generated normal images. The dense layout
            has none.
        layout: `"delta"` keeps each normal image once, `"dense"` a whole image per sample.
        base_compression: `"gzip"` for a smaller /base that reads five times slower.
        extras: which of `layout.EXTRAS` the samples may have; `generated_index` asks for the delta layout.

    Raises:
        StorageError: from any method, when the device fails or is full.
    """

    def __init__(
        self,
        path: Path | str,
        header: ShardHeader,
        n_samples: int,
        n_bases: int,
        layout: Layout = "delta",
        base_compression: Literal["gzip"] | None = None,
        *,
        extras: Collection[str] = (),
    ) -> None:
        self.path = Path(path)
        self.header = header
        self.info: ShardInfo | None = None
        self._layout: Layout = layout
        self._extras = tuple(extras)
        self._generated: dict[int, int] = {}
        self._content = ContentHash(header)
        self._rows: list[dict[str, Any]] = []
        self._unreadable: list[dict[str, str]] = []
        self._normals: dict[int, tuple[str, str]] = {}
        self._base_crc32: list[int] = []
        self._temporary = temporary_name(self.path)
        reach("shard-before-open")
        try:
            self._device = RememberingFile(self._temporary, "w+b")
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._file = h5py.File(self._device, "w", libver=LIBVER)
        self._pictures = create_pictures(
            self._file, layout, header.image_size, n_samples, n_bases, base_compression, extras=extras
        )

    def add_normal(self, normal: NormalImage) -> int:
        """Adds a normal image, and returns the number by which `add_sample` refers to it (the delta layout: its row)."""
        _expect_pixels(normal.pixels, (*self.header.image_size, 3), normal.source)
        with self._storing():
            row = self._add_base(normal.pixels) if self._layout == "delta" else len(self._normals)
        self._normals[row] = (normal.source, pixels_sha256(normal.pixels))
        return row

    def add_sample(self, sample: Sample, normal_row: int, repainted: bool = False) -> None:
        """Adds the next sample.

        Args:
            sample: its image equals its normal image outside its box; this is trusted, not looked for.
            normal_row: what `add_normal` returned for its normal image.
            repainted: the image shares next to no pixels with the normal one, and is kept as a whole; so are those with a
                generated normal image.

        Raises:
            ValueError: the sample contradicts itself, the header or its normal image.
        """
        reach("shard-mid")
        source, normal_sha256 = self._normals[normal_row]
        _check_sample(sample, self.header, source)
        number, change = len(self._rows), box_change(sample)
        row = _row(sample, self.header.types)
        row |= {"base_index": normal_row, "normal_index": normal_row}
        row["sample_crc32"] = self._content.add(sample, change, normal_sha256)
        with self._storing():
            row["generated_index"] = self._generated_row(sample, normal_row)
            if sample.difference is not None:
                self._pictures["ssim_diff"].write_box(number, (0, 0, *self.header.image_size), sample.difference)
            if self._layout == "dense":
                self._pictures["image"].write_row(number, sample.image)
            if (repainted or sample.generated is not None) and self._layout == "delta":
                row["base_index"] = self._add_base(sample.image)
            else:
                self._pictures["delta"].write_box(number, sample.box, change)
            y0, x0, y1, x1 = sample.box
            self._pictures["mask"].write_box(number, sample.box, sample.mask[y0:y1, x0:x1])
        self._rows.append(row)

    def add_unreadable(self, sample_id: str, source: str, reason: str) -> None:
        """Notes a planned sample that has no row because its normal image could not be read."""
        self._unreadable.append({"sample_id": sample_id, "source": source, "reason": reason})

    def finish(self) -> ShardInfo:
        """Completes the file, checks that it can be read, and gives it its name."""
        content = self._content.hexdigest(self._unreadable)
        with self._storing():
            self._write_columns()
            self._write_attributes(content)
            self._file.close()
        with self._storing():
            self._device.close()
            sha256 = seal(self._temporary)
            open_shard(self._temporary)[0].close()
            info = ShardInfo(self.path.name, len(self._rows), self._temporary.stat().st_size, sha256, content)
            publish(self._temporary, self.path)
        self.info = info
        return info

    def abandon(self) -> None:
        """Closes and removes the unfinished file."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._file.close()
        self._device.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "ShardWriter":
        """The writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finishes the shard, or abandons it after an exception."""
        try:
            if kind is None and self.info is None:
                self.finish()
        finally:
            if self.info is None:
                self.abandon()

    def _generated_row(self, sample: Sample, normal_row: int) -> int:
        """The row of /base of its generated normal image, which all samples of a normal image share."""
        if sample.generated is None:
            return normal_row
        if normal_row not in self._generated:
            self._generated[normal_row] = self._add_base(sample.generated)
        return self._generated[normal_row]

    def _add_base(self, pixels: Image) -> int:
        row = len(self._base_crc32)
        self._pictures["base"].write_row(row, pixels)
        self._base_crc32.append(zlib.crc32(np.ascontiguousarray(pixels).data))
        return row

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """Turns a failure of the device into a `StorageError`, be it noticed at once or by HDF5 later on."""
        error: Exception | None = None
        try:
            yield
        except (OSError, RuntimeError) as caught:
            error = caught
        failure = self._device.failure or error
        if isinstance(failure, OSError):
            raise storage_error(self.path, failure) from failure
        if failure:
            raise failure

    def _write_columns(self) -> None:
        for name, picture in self._pictures.items():
            picture.cut(len(self._base_crc32) if name == "base" else len(self._rows))
        if self._layout == "delta":
            self._file["base_crc32"] = np.array(self._base_crc32, "<u4")
        for path, kind in columns(self._layout, self._extras).items():
            write_column(self._file, path, kind, [row[path] for row in self._rows])
        self._file["type"].attrs["names"] = text_array(self.header.types)

    def _write_attributes(self, content: str) -> None:
        facts = {
            "format": FORMAT,
            "format_version": VERSION,
            "layout": self._layout,
            "n": len(self._rows),
            "config_sha256": self.header.config_sha256,
            "content_sha256": content,
            "unreadable_json": canonical_json(self._unreadable),
        }
        facts |= {field.name: getattr(self.header, field.name) for field in fields(self.header) if field.name != "types"}
        for name in sorted(facts):
            write_attribute(self._file, name, facts[name])
        write_attribute(self._file, "complete", True)


def _row(sample: Sample, types: tuple[str, ...]) -> dict[str, Any]:
    """The sample's entry in each column, but for those that depend on its place in the file."""
    return {
        "bbox": sample.box,
        "label": sample.label,
        "type": types.index(sample.spec.type),
        "meta/sample_id": sample.spec.sample_id,
        "meta/source": sample.spec.source,
        "meta/source_sha256": sample.source_sha256,
        "meta/generator": sample.spec.generator,
        "meta/replica": sample.spec.replica,
        "meta/attempt": sample.attempt,
        "meta/area": sample.area,
        "meta/contrast": sample.contrast,
        "meta/visible": sample.visible,
        "meta/rejected": sample.rejected,
        "meta/params": canonical_json(sample.params),
    }


def _check_sample(sample: Sample, header: ShardHeader, source: str) -> None:
    name, size = sample.spec.sample_id, header.image_size
    _expect_pixels(sample.image, (*size, 3), name)
    _expect_pixels(sample.normal, (*size, 3), name)
    _expect_pixels(sample.mask, size, name)
    y0, x0, y1, x1 = sample.box
    if not (0 <= y0 < y1 <= size[0] and 0 <= x0 < x1 <= size[1]) and sample.box != (0, 0, 0, 0):
        raise ValueError(f"{name}: box {sample.box} is not inside the image {size}")
    if np.count_nonzero(sample.mask[y0:y1, x0:x1]) != sample.area:
        raise ValueError(f"{name}: area {sample.area} is not the number of mask pixels in the box")
    if sample.rejected and any(sample.box):
        raise ValueError(f"{name}: rejected, yet its box {sample.box} is not empty")
    if sample.spec.source != source:
        raise ValueError(f"{name}: made from {sample.spec.source}, but added to the normal image {source}")
    for field in ("dataset", "category"):
        if getattr(sample.spec, field) != getattr(header, field):
            raise ValueError(f"{name}: {field} is {getattr(sample.spec, field)!r}, the shard's is {getattr(header, field)!r}")


def _expect_pixels(pixels: NDArray[np.uint8], shape: tuple[int, ...], name: str) -> None:
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise ValueError(f"{name}: pixels are {pixels.dtype} {pixels.shape}, the shard holds uint8 {shape}")
