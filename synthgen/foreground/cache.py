"""Foregrounds on disk, by the hash of the image they belong to: worked out once, whatever is built from it.

They lie in `$SYNTHGEN_CACHE`, else in `$XDG_CACHE_HOME/synthgen`, else in `~/.cache/synthgen`. A cache that cannot be
written, or an entry that cannot be read, costs time and nothing else.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from synthgen.samples import Mask, NormalImage

_DIGEST = re.compile("[0-9a-f]{64}")

Finder = Callable[[NormalImage], tuple[Mask, str]]


def folder() -> Path:
    """Where synthgen keeps what it can work out again."""
    own = os.environ.get("SYNTHGEN_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthgen"


def remember(normal: NormalImage, key: str, find: Finder) -> tuple[Mask, str]:
    """What `find(normal)` returns: a (H, W) uint8 {0, 1} mask and a doubt; from the cache if it was asked before.

    Args:
        normal: the image; its file's hash and its size are part of the entry's name. One without a proper hash (hand-made) is
            not cached: any other text could name a file anywhere.
        key: name and version of the method.
        find: works the answer out.
    """
    if not _DIGEST.fullmatch(normal.sha256):
        return find(normal)
    height, width = normal.pixels.shape[:2]
    entry = folder() / "foreground" / f"{key}-{height}x{width}" / normal.sha256[:2] / normal.sha256
    known = _load(entry, (height, width))
    if known is None:
        known = find(normal)
        _store(entry, *known)
    return known


def _load(entry: Path, size: tuple[int, int]) -> tuple[Mask, str] | None:
    try:
        data = zlib.decompress(entry.read_bytes())  # zlib's checksum finds a damaged entry
        head, _, bits = data.partition(b"\n")
        mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=size[0] * size[1]).reshape(size)
        return mask, str(json.loads(head))
    except (OSError, ValueError, zlib.error):
        return None


def _store(entry: Path, mask: Mask, doubt: str) -> None:
    temporary = entry.with_name(f"{entry.name}.tmp-{os.getpid()}")
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(zlib.compress(json.dumps(doubt).encode() + b"\n" + np.packbits(mask).tobytes(), 1))
        temporary.replace(entry)
