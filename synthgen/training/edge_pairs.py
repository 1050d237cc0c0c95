"""The pictures that an edge-to-image generator learns from, with their edges, which are worked out once and kept on disk."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen import cache
from synthgen.builder.backends import open_loky, usable_cores
from synthgen.datasets import NormalSource, read_normal
from synthgen.edges.detector import EdgeDetector
from synthgen.errors import InputDataError
from synthgen.runs.held_out import OF_GENERATORS, choose_held_out
from synthgen.samples import Size
from synthgen.terminal.callbacks import OnMessage

VERSION = 2
"""Raised whenever the edges change; part of the cache's key."""

_AT_ONCE = 16


class ReadPair(NamedTuple):
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
    on_message: OnMessage,
) -> Pairs:
    """Read normal images and find their edges.

    Args:
        sources: which ones.
        size: (height, width) to read them at.
        bit_depth: of 16-bit files.
        detector: finds the edges.
        on_gpu: whether the detector is on a GPU: then this process does it all, else one per core.
        on_message: hears how far it is, and what could not be read.

    Raises:
        InputDataError: none can be read.
    """
    batches = [sources[start : start + _AT_ONCE] for start in range(0, len(sources), _AT_ONCE)]
    pairs: list[ReadPair] = []
    problems: list[str] = []
    for batch in _each(batches, size, bit_depth, detector, on_gpu):
        pairs += [pair for pair in batch if isinstance(pair, ReadPair)]
        problems += [problem for problem in batch if isinstance(problem, str)]
        on_message(f"pictures and edges: {len(pairs)} of {len(sources)}")
    for problem in problems:
        on_message(f"not used: {problem}")
    if not pairs:
        raise InputDataError("none of the normal images can be read; `synthgen plan` says which there are.")
    digest = hashlib.sha256("\n".join(pair.sha256 for pair in pairs).encode()).hexdigest()
    return Pairs(np.stack([pair.picture for pair in pairs]), np.stack([pair.edges for pair in pairs]), digest)


def split(sources: Sequence[NormalSource]) -> tuple[list[NormalSource], list[NormalSource]]:
    """Pictures to learn from, and held-out ones by the hashes of their names; of few pictures none."""
    names = [f"{source.category}/{source.stem}" for source in sources]
    numbers = choose_held_out(names, OF_GENERATORS)
    held_out = {names[number] for number in numbers}
    learned = [source for name, source in zip(names, sources, strict=True) if name not in held_out]
    return learned, [sources[number] for number in numbers]


def _each(
    batches: Sequence[Sequence[NormalSource]], size: Size, bit_depth: int, detector: EdgeDetector, on_gpu: bool
) -> Iterator[list[ReadPair | str]]:
    """What `_read` makes of each batch, in order."""
    if on_gpu:
        yield from (_read(batch, size, bit_depth, detector) for batch in batches)
        return
    with open_loky(min(usable_cores(), max(len(batches), 1))) as workers:
        for future in [workers.submit(_read, batch, size, bit_depth, detector) for batch in batches]:
            yield future.result()


def _read(sources: Sequence[NormalSource], size: Size, bit_depth: int, detector: EdgeDetector) -> list[ReadPair | str]:
    """The pictures; where one cannot be used, why."""
    pairs: list[ReadPair | str] = []
    key = f"{VERSION}-{detector.name}-{detector.sha256}-{size[0]}x{size[1]}"
    for source in sources:
        try:
            normal = read_normal(source, size, bit_depth)
        except InputDataError as error:
            pairs.append(str(error))
            continue
        place = cache.entry("edges", key, normal)
        data = cache.load(place)
        if data is None or len(data) != size[0] * size[1]:
            (edges,) = detector.detect([normal.pixels])
            data = edges.fine.tobytes()
            cache.store(place, data)
        pairs.append(ReadPair(normal.pixels, np.frombuffer(data, np.uint8).reshape(size), normal.sha256))
    return pairs
