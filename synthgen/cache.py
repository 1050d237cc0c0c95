"""What can be worked out again, on disk by the hash of the image it belongs to: worked out once, whatever is built from it.

It lies in `$SYNTHGEN_CACHE`, else in `$XDG_CACHE_HOME/synthgen`, else in `~/.cache/synthgen`. A cache that cannot be written,
or an entry that cannot be read, costs time and nothing else.
"""

import contextlib
import os
import re
import zlib
from pathlib import Path

import numpy as np

from synthgen.errors import StorageError
from synthgen.files import write_bytes
from synthgen.samples import NormalImage

_DIGEST = re.compile("[0-9a-f]{64}")


def folder() -> Path:
    """Where synthgen keeps what it can work out again."""
    path = os.environ.get("SYNTHGEN_CACHE")
    if path:
        return Path(path)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthgen"


def identity(normal: NormalImage) -> str:
    """What an image is known by: its file, and its pixels, for one file is read at many sizes and bit depths."""
    return f"{normal.sha256}-{zlib.crc32(np.ascontiguousarray(normal.pixels).data):08x}"


def entry(kind: str, key: str, normal: NormalImage) -> Path | None:
    """The place of what belongs to one image.

    Args:
        kind: what it is; a folder of the cache.
        key: all that decides it besides the image.
        normal: the image. One without a proper hash (hand-made) is not cached: any other text could name a file anywhere.
    """
    return folder() / kind / key / normal.sha256[:2] / identity(normal) if _DIGEST.fullmatch(normal.sha256) else None


def load(place: Path | None) -> bytes | None:
    """What was stored there; None if nothing was, or it cannot be read or is damaged (zlib's checksum finds that)."""
    if place is None:
        return None
    try:
        return zlib.decompress(place.read_bytes())
    except (OSError, zlib.error):
        return None


def store(place: Path | None, data: bytes) -> None:
    """Keep it, if that is possible."""
    if place is None:
        return
    with contextlib.suppress(StorageError):
        write_bytes(place, zlib.compress(data, 1), synced=False)
