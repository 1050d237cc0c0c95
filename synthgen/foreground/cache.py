"""Foregrounds on disk, see `synthgen.cache`."""

import json
from collections.abc import Callable

import numpy as np

from synthgen import cache
from synthgen.samples import Mask, NormalImage

Finder = Callable[[NormalImage], tuple[Mask, str]]


def remember(normal: NormalImage, key: str, find: Finder) -> tuple[Mask, str]:
    """What `find(normal)` returns: a (H, W) uint8 {0, 1} mask and a doubt; from the cache if it was asked before.

    Args:
        normal: the image; its file's hash and its size are part of the entry's name.
        key: name and version of the method.
        find: works the answer out.
    """
    height, width = normal.pixels.shape[:2]
    path = cache.entry("foreground", f"{key}-{height}x{width}", normal)
    known = _unpacked(cache.load(path), (height, width))
    if known is None:
        known = find(normal)
        cache.store(path, json.dumps(known[1]).encode() + b"\n" + np.packbits(known[0]).tobytes())
    return known


def _unpacked(data: bytes | None, size: tuple[int, int]) -> tuple[Mask, str] | None:
    if data is None:
        return None
    head, _, bits = data.partition(b"\n")
    try:
        mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=size[0] * size[1]).reshape(size)
        return mask, str(json.loads(head))
    except ValueError:
        return None
