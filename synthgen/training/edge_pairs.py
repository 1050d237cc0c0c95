"""The pictures that an edge-to-image generator learns from, with their edges, which are worked out once and kept on disk."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen import cache
from synthgen.builder.backends import open_loky, usable_cores
from synthgen.datasets import NormalSource, read_normal
from synthgen.edges.detector import EdgeDetector
from synthgen.errors import InputDataError
from synthgen.samples import Size

VERSION = 2
"""Raised whenever the edges change; part of the cache's key."""

_HELD_OUT, _FEWEST_HELD_OUT, _MOST_HELD_OUT = 0.05, 2, 50
_FEWEST = 8  # pictures, from which on some are held out
_AT_ONCE = 16


class Found(NamedTuple):
    """One picture: (h, w, 3) uint8 RGB, its edges (h, w) uint8, and the hash of its file."""

    picture: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pictures and their edge maps.

    Attributes:
        pictures: (N, h, w, 3) uint8 RGB.
        edges: (N, h, w) uint8, 255 where there is no edge.
        sha256: of all the pictures' files together.
    """

    pictures: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.pictures)


def read_pairs(
    sources: Sequence[NormalSource],
    size: Size,
    bit_depth: int,
    detector: EdgeDetector,
    on_gpu: bool,
    say: Callable[[str], None],
) -> Pairs:
    """Read normal images and find their edges.

    Args:
        sources: which ones.
        size: (height, width) to read them at.
        bit_depth: of 16-bit files.
        detector: finds the edges.
        on_gpu: whether the detector is on a GPU: then this process does it all, else one per core.
        say: hears how far it is, and what could not be read.

    Raises:
        InputDataError: none can be read.
    """
    batches = [sources[start : start + _AT_ONCE] for start in range(0, len(sources), _AT_ONCE)]
    found: list[Found] = []
    problems: list[str] = []
    for some in _each(batches, size, bit_depth, detector, on_gpu):
        found += [one for one in some if isinstance(one, Found)]
        problems += [one for one in some if isinstance(one, str)]
        say(f"pictures and edges: {len(found)} of {len(sources)}")
    for problem in problems:
        say(f"not used: {problem}")
    if not found:
        raise InputDataError("none of the normal images can be read; `synthgen plan` says which there are.")
    digest = hashlib.sha256("\n".join(one.sha256 for one in found).encode()).hexdigest()
    return Pairs(np.stack([one.picture for one in found]), np.stack([one.edges for one in found]), digest)


def split(sources: Sequence[NormalSource]) -> tuple[list[NormalSource], list[NormalSource]]:
    """Pictures to learn from, and held-out ones: some 5 %, those whose names have the smallest hashes; of few pictures none."""
    if len(sources) < _FEWEST:
        return list(sources), []
    count = int(np.clip(round(_HELD_OUT * len(sources)), _FEWEST_HELD_OUT, _MOST_HELD_OUT))
    by_hash = sorted(sources, key=lambda one: hashlib.sha256(f"{one.category}/{one.stem}".encode()).digest())
    held = {(one.category, one.stem) for one in by_hash[:count]}
    return [one for one in sources if (one.category, one.stem) not in held], by_hash[:count]


def _each(
    batches: Sequence[Sequence[NormalSource]], size: Size, bit_depth: int, detector: EdgeDetector, on_gpu: bool
) -> Iterator[list[Found | str]]:
    """What `_read` makes of each batch, in order."""
    if on_gpu:
        yield from (_read(batch, size, bit_depth, detector) for batch in batches)
        return
    with open_loky(min(usable_cores(), max(len(batches), 1))) as workers:
        for future in [workers.submit(_read, batch, size, bit_depth, detector) for batch in batches]:
            yield future.result()


def _read(sources: Sequence[NormalSource], size: Size, bit_depth: int, detector: EdgeDetector) -> list[Found | str]:
    """The pictures; where one cannot be used, why."""
    found: list[Found | str] = []
    key = f"{VERSION}-{detector.name}-{detector.sha256}-{size[0]}x{size[1]}"
    for source in sources:
        try:
            normal = read_normal(source, size, bit_depth)
        except InputDataError as error:
            found.append(str(error))
            continue
        place = cache.entry("edges", key, normal)
        data = cache.load(place)
        if data is None or len(data) != size[0] * size[1]:
            (edges,) = detector.detect([normal.pixels])
            data = edges.fine.tobytes()
            cache.store(place, data)
        found.append(Found(normal.pixels, np.frombuffer(data, np.uint8).reshape(size), normal.sha256))
    return found
