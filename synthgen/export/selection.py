"""Which samples are exported, and which split each of them belongs to: all samples of one normal image to the same one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.files import unique_names
from synthgen.samples import Sample
from synthgen.shards import ShardDataset

ALL = "all"
"""The name of the split where nothing is split."""


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One split.

    Attributes:
        name: such as `"train"`; `"all"` where nothing is split.
        samples: numbers of its anomalies in the dataset, in order.
        normals: numbers of samples whose normal images are its normal images, each image once.
    """

    name: str
    samples: tuple[int, ...]
    normals: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported.

    Attributes:
        dataset: the shards.
        parts: the splits.
        names: of the samples, by number: unique, safe in file names, without dots.
        normal_names: likewise of the normal images, by number of the sample that carries one.
        shares: the sizes of the splits that were asked for; empty for none.
        seed: of the split.
    """

    dataset: ShardDataset
    parts: tuple[SplitPart, ...]
    names: dict[int, str]
    normal_names: dict[int, str]
    shares: tuple[float, ...]
    seed: int

    def sample(self, number: int) -> Sample:
        """A sample by its number."""
        return self.dataset[number]


def choose(
    path: Path,
    categories: Sequence[str] = (),
    types: Sequence[str] = (),
    shares: Sequence[float] = (),
    seed: int = 0,
    names: Sequence[str] = ("train", "test"),
) -> Chosen:
    """The accepted samples of a dataset, split by their normal images.

    Args:
        path: a folder of shards, or one shard.
        categories: of these alone; empty for all.
        types: likewise.
        shares: sizes of two or three splits, which add up to 1; empty for no split.
        seed: another one splits otherwise.
        names: of the first and the last split; a third, `val`, lies between them.

    Raises:
        UsageError: no such category or type, or shares that make no sense.
        InputDataError: nothing is left.
        IntegrityError: a shard is damaged.
    """
    dataset = ShardDataset(path)
    if not len(dataset):
        raise InputDataError(f"{path}: holds no samples.")
    column = {name: dataset.column(name) for name in ("dataset", "category", "type", "label", "source", "source_sha256")}
    for option, entries, known in (("--categories", categories, column["category"]), ("--types", types, column["type"])):
        if unknown := sorted(set(entries) - set(known.tolist())):
            raise UsageError(f"{option} {unknown[0]}: {path} has none.{suggest(unknown[0], sorted(set(known.tolist())))}")
    accepted = column["label"] == 1
    matches = accepted & (np.isin(column["category"], list(categories)) if categories else True)
    matches = matches & (np.isin(column["type"], list(types)) if types else True)
    numbers = np.flatnonzero(matches).tolist()
    if not numbers:
        raise InputDataError(f"{path}: no accepted sample of these categories and types.")
    first: dict[tuple[str, ...], int] = {}
    of: dict[int, tuple[str, ...]] = {}
    for number in numbers:
        of[number] = tuple(str(column[name][number]) for name in ("dataset", "category", "source", "source_sha256"))
        first.setdefault(of[number], number)
    split = _split(list(first), checked_shares(shares), seed, len(checked_shares(shares)))
    labels = _names(len(shares), names)
    parts = tuple(
        SplitPart(
            name,
            tuple(number for number in numbers if split[of[number]] == k),
            tuple(number for source, number in first.items() if split[source] == k),
        )
        for k, name in enumerate(labels)
    )
    ids = dataset.ids
    return Chosen(
        dataset,
        parts,
        dict(zip(numbers, unique_names("_".join(ids[number].split("/")[1:]) for number in numbers), strict=True)),
        dict(zip(first.values(), unique_names(f"{source[1]}_{Path(source[2]).stem}" for source in first), strict=True)),
        tuple(shares),
        seed,
    )


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """The shares; one whole where there are none. Raises UsageError if they make no sense."""
    if not shares:
        return (1.0,)
    if len(shares) not in (2, 3) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise UsageError(f"--split {'/'.join(map(str, shares))}: expected two or three shares that add up to 1, as 0.8/0.2.")
    return tuple(shares)


def _names(count: int, names: Sequence[str]) -> tuple[str, ...]:
    return (ALL,) if not count else (names[0], names[-1]) if count == 2 else ("train", "val", "test")


def _split(sources: Sequence[tuple[str, ...]], shares: Sequence[float], seed: int, count: int) -> dict[tuple[str, ...], int]:
    """The split of each normal image: of each category its share, images of the same content together."""
    result = {}
    for category in sorted({source[:2] for source in sources}):
        digests = sorted({source[3] for source in sources if source[:2] == category}, key=lambda digest: _draw(seed, digest))
        ends = np.round(np.cumsum(shares) * len(digests)).astype(int)
        splits = {digest: min(int(np.searchsorted(ends, k, side="right")), count - 1) for k, digest in enumerate(digests)}
        result.update({source: splits[source[3]] for source in sources if source[:2] == category})
    return result


def _draw(seed: int, digest: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{digest}".encode()).digest()
