"""What a shard is: the names, types and sizes of layout version 1, and the facts its attributes carry.

A shard is one HDF5 file that plain `h5py` reads:

    /base          (B, H, W, 3) uint8   RGB: the normal images, and the samples that were repainted as a whole
    /base_crc32    (B,) uint32          CRC-32 of each row of /base
    /base_index    (N,) uint32          the row of /base that sample i starts from
    /normal_index  (N,) uint32          the row of /base that is its normal image
    /image         (N, H, W, 3) uint8   only in the dense layout, instead of the four above
    /delta         (N, H, W, 3) uint8   what to add to the base row, modulo 256 (dense: image - normal)
    /mask          (N, H, W) uint8      0 and 1
    /bbox          (N, 4) int32         y0, x0, y1, x1 of the changed and mask pixels, half-open; zeros = none
    /label         (N,) uint8           0 normal (a rejected sample), 1 anomaly
    /type          (N,) uint8           an index into the attribute `names`
    /sample_crc32  (N,) uint32          CRC-32 of all that `content_sha256` takes in of the sample
    /meta/...      (N,)                 one column per field of `synthgen.samples.Sample`

and, only in shards that hold them (`EXTRAS`),

    /generated_index (N,) uint32        the row of /base that is its generated normal image; normal_index where there is none
    /ssim_diff     (N, H, W) uint8      1 - SSIM of generated and edited picture, in 255ths: to draw masks with another level

    image = f["base"][f["base_index"][i]] + f["delta"][i]      # uint8 wraps around
    mask = f["mask"][i]

/base and /image have chunks of one picture, so that rows that were planned and not needed can be cut off; /delta has chunks of
`TILE` and /mask of `MASK_TILE` pixels, and chunks of zeros are not in the file at all. All is deflated but /base (an option)
and the columns of numbers.

After the HDF5 data come `TRAILER_BYTES` bytes that HDF5 ignores: `TRAILER_MAGIC` and the SHA-256 of all bytes before it.
"""

import hashlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from synthgen.samples import Size

FORMAT = "synthgen-shard"
VERSION = 1
SUFFIX = ".h5"
LIBVER = ("v110", "v110")
"""Object headers with checksums, and the same bytes whatever the default of the installed HDF5."""
Layout: TypeAlias = Literal["delta", "dense"]

TILE = 64
"""Side of a chunk of /delta, in pixels: small enough that unchanged tiles are most of the frame, and are never written."""
MASK_TILE = 128
GZIP_LEVEL = 1
META_GZIP_LEVEL = 4
MAX_SIDE = 16384
"""Longest side of an image, in pixels, that a reader accepts."""
MAX_COLUMN_BYTES = 1 << 28
"""Most memory that one column may ask of a reader."""
MAX_TEXT_BYTES = 1 << 20
"""Longest text in a column."""

TRAILER_MAGIC = b"synthgen-shard sha256 "
TRAILER_BYTES = len(TRAILER_MAGIC) + 64 + 1

TEXT = "text"
"""The type of a column of fixed-width UTF-8 bytes, as wide as its longest value."""
_INDEX_COLUMNS = {"base_index": "<u4", "normal_index": "<u4"}
EXTRAS = ("generated_index", "ssim_diff")
"""Parts that only shards of edited edges have, and only some of these; a reader finds them by their names."""
_COLUMNS = {
    "bbox": "<i4",
    "label": "|u1",
    "type": "|u1",
    "sample_crc32": "<u4",
    "meta/sample_id": TEXT,
    "meta/source": TEXT,
    "meta/source_sha256": TEXT,
    "meta/generator": TEXT,
    "meta/replica": "<u4",
    "meta/attempt": "|u1",
    "meta/area": "<u4",
    "meta/contrast": "<f4",
    "meta/visible": "<f4",
    "meta/rejected": TEXT,
    "meta/params": TEXT,
}
ATTRIBUTES = {
    **dict.fromkeys(("format", "layout", "dataset", "category", "licence", "generator"), str),
    **dict.fromkeys(("config_json", "config_sha256", "content_sha256", "unreadable_json"), str),
    **dict.fromkeys(("format_version", "n", "seed", "shard_index"), int),
    "image_size": tuple,
    "complete": bool,
}
"""The attributes of the file, with the Python type of each; `image_size` is a pair of int."""


@dataclass(frozen=True, slots=True)
class ShardHeader:
    """What all samples of a shard have in common.

    Attributes:
        dataset, category: of the normal images.
        licence: under which the normal images, and so the samples, may be used.
        image_size: (height, width) in pixels.
        seed: the recipe's seed.
        shard_index: number of the shard in its dataset and category, from 0.
        generator: name and version of the program, such as `"synthgen 0.1.0"`.
        config_json: the resolved recipe as canonical JSON.
        types: the names of the anomaly types; `/type` points into them.
    """

    dataset: str
    category: str
    licence: str
    image_size: Size
    seed: int
    shard_index: int
    generator: str
    config_json: str
    types: tuple[str, ...]

    @property
    def config_sha256(self) -> str:
        """Hexadecimal SHA-256 of `config_json`."""
        return hashlib.sha256(self.config_json.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A finished shard, as the journal and the manifest list it.

    Attributes:
        name: file name, without a folder.
        n: number of samples.
        bytes: size of the file.
        sha256: of the whole file: equal for the same plan and the same versions of HDF5 and zlib.
        content_sha256: of the decoded samples: equal for the same plan whatever the layout and the versions.
    """

    name: str
    n: int
    bytes: int
    sha256: str
    content_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "ShardInfo":
        """The inverse of `to_json`; fields it does not know are left out, a missing one raises `KeyError`."""
        return cls(
            name=str(fields["name"]),
            n=int(fields["n"]),
            bytes=int(fields["bytes"]),
            sha256=str(fields["sha256"]),
            content_sha256=str(fields["content_sha256"]),
        )


def tile_shape(size: Size, tile: int) -> tuple[int, int]:
    """(height, width) of a chunk: `tile` pixels, or the whole side of a smaller image."""
    return min(tile, size[0]), min(tile, size[1])


def columns(layout: Layout, extras: Collection[str] = ()) -> dict[str, str]:
    """The columns with one entry per sample, by path in the file, with their types (`TEXT` or a NumPy type string)."""
    indices = dict(_INDEX_COLUMNS) if layout == "delta" else {}
    if "generated_index" in extras:
        indices["generated_index"] = "<u4"
    return {**indices, **_COLUMNS}


def picture_shapes(
    layout: Layout, size: Size, extras: Collection[str] = ()
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The uint8 data sets that hold pixels, by name: their shape behind the first axis, and their chunks."""
    height, width = size
    whole = (1, height, width, 3)
    extra = {"ssim_diff": ((height, width), (1, *tile_shape(size, MASK_TILE)))} if "ssim_diff" in extras else {}
    return {
        **extra,
        "base" if layout == "delta" else "image": ((height, width, 3), whole),
        "delta": ((height, width, 3), (1, *tile_shape(size, TILE), 3)),
        "mask": ((height, width), (1, *tile_shape(size, MASK_TILE))),
    }
