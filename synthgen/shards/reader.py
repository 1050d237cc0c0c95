"""Shards as one sequence of samples, in one process or in the workers of a PyTorch `DataLoader`."""

import itertools
import operator
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import IntegrityError, UsageError, suggest
from synthgen.samples import NormalImage, Sample
from synthgen.shards.batch import FIELDS, Batch, quality_column
from synthgen.shards.catalog import MANIFEST, find_shards, missing
from synthgen.shards.layout import TEXT, ShardHeader, ShardInfo, columns
from synthgen.shards.quality import QualityTable, read_quality
from synthgen.shards.schema import damaged, digest_problems
from synthgen.shards.shard import Shard

_MOST_OPEN = 64


class ShardDataset(Sequence[Sample]):
    """The samples of one or many shards, in order; a file is opened when it is first needed.

    Indexing gives a whole `Sample`. A PyTorch `DataLoader` with `collate_fn=collate` gets its batches through
    `__getitems__`, which decodes only `fields`, straight into one array per field. Copies for other processes carry no open
    file, so fork, forkserver and spawn workers all do.

    Args:
        path: a shard; a folder of shards (its `manifest.json` says which, where there is one); or a list of both.
        verify: first read every file once, and compare it with its digests.
        fields: the arrays of a batch, of `"image"`, `"mask"` and `"normal"`.
        quality: scores of samples, or the file of them. Samples, batches and `column("quality")` then have those of their ids;
            that they are scores of these very samples is not looked at (`contents` and `shards_digest` tell).

    Raises:
        IntegrityError: from any method; a shard or the file of scores is missing, damaged or not one, named in the message.
    """

    def __init__(
        self,
        path: Path | str | Sequence[Path | str],
        *,
        verify: bool = False,
        fields: Sequence[str] = ("image", "mask"),
        quality: Path | str | QualityTable | None = None,
    ) -> None:
        if unknown := set(fields) - set(FIELDS):
            raise UsageError(f"fields: {', '.join(sorted(unknown))} is not one of {', '.join(FIELDS)}")
        self.fields = tuple(fields)
        self._shards = find_shards(path)
        for file, _ in self._shards:
            if not file.is_file():
                raise missing(file)
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._pid = os.getpid()
        if verify:
            for file, info in self._shards:
                if problems := digest_problems(file, info):
                    raise damaged(file, problems[0])
        counts = [self._count(k) for k in range(len(self._shards))]
        self._ends: list[int] = list(itertools.accumulate(counts))
        self._numbers: dict[str, int] | None = None
        table = read_quality(quality) if isinstance(quality, Path | str) else quality
        self._quality = None if table is None else table.by_id()

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Sample `index`, counted from the end where it is negative. Raises `IndexError` beyond the last."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard, i = self._locate(index)
        sample = shard.sample(i)
        return sample if self._quality is None else replace(sample, quality=self._quality.get(sample.spec.sample_id))

    def __iter__(self) -> Iterator[Sample]:
        """The samples, in order."""
        return (self[i] for i in range(len(self)))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The samples at `indices` as one batch. Raises `UsageError` where they are not of one size."""
        places = [self._locate(index) for index in indices]
        sizes = {shard.header.image_size for shard, _ in places}
        if len(sizes) != 1:
            raise UsageError(f"a batch needs samples of one size, these have {sorted(sizes)}: read each size by itself")
        size = sizes.pop()
        arrays = {field: np.empty((len(places), *size, *((3,) if field != "mask" else ())), np.uint8) for field in self.fields}
        for k, (shard, i) in enumerate(places):
            shard.read_into(i, **{field: array[k] for field, array in arrays.items()})
        ids = [shard.text("meta/sample_id", i) for shard, i in places]
        return Batch(
            arrays=arrays,
            label=np.array([shard.column("label")[i] for shard, i in places], np.uint8),
            type=[shard.header.types[shard.column("type")[i]] for shard, i in places],
            sample_id=ids,
            quality=None if self._quality is None else quality_column(map(self._quality.get, ids)),
        )

    @property
    def ids(self) -> list[str]:
        """The samples' ids, in order."""
        return list(self._by_id())

    def index(self, sample_id: Any, start: int = 0, stop: int | None = None) -> int:
        """The number of the sample with this id. Raises `ValueError` where there is none (between `start` and `stop`)."""
        number = self._by_id().get(sample_id, -1)
        if not start <= number < (len(self) if stop is None else stop):
            raise ValueError(f"{sample_id!r} is not the id of a sample here")
        return number

    def column(self, name: str) -> NDArray[Any]:
        """One column for all samples, such as `"area"`, `"label"`, `"bbox"` or `"rejected"`.

        Texts, `"type"`, `"dataset"` and `"category"` are str. `"quality"`, of a dataset with scores, is float32, NaN where
        unknown.
        """
        if name == "quality" and self._quality is not None:
            return quality_column(map(self._quality.get, self.column("sample_id").tolist()))
        return np.concatenate([_column(self._shard(k), name) for k in range(len(self._shards))])

    @property
    def headers(self) -> list[ShardHeader]:
        """What the samples of each shard have in common, shard by shard."""
        return [self._shard(k).header for k in range(len(self._shards))]

    @property
    def counts(self) -> list[int]:
        """The number of samples in each shard."""
        return [self._count(k) for k in range(len(self._shards))]

    @property
    def contents(self) -> list[str]:
        """The `content_sha256` of each shard: what its samples are, whatever the file that carries them."""
        return [self._shard(k).content_sha256 for k in range(len(self._shards))]

    def normals(self) -> Iterator[NormalImage]:
        """Each normal image that has a sample here, once per shard, in the order of their first samples."""
        for k in range(len(self._shards)):
            shard = self._shard(k)
            sources = shard.column("meta/source")
            for i in np.sort(np.unique(sources, return_index=True)[1]):
                yield shard.normal(int(i))

    def normal(self, index: int) -> NormalImage:
        """The normal image of sample `index`."""
        shard, i = self._locate(index)
        return shard.normal(i)

    def close(self) -> None:
        """Closes the files; a later access opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process takes along: no open files."""
        return {**self.__dict__, "_open": OrderedDict()}

    def _locate(self, index: int) -> tuple[Shard, int]:
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        k = bisect_right(self._ends, number)
        return self._shard(k), number - (self._ends[k - 1] if k else 0)

    def _shard(self, k: int) -> Shard:
        """Shard `k`, open in this process; the one used longest ago makes room."""
        if self._pid != os.getpid():
            # A forked child must not share its parent's files; the parent closes them.
            self._open, self._pid = OrderedDict(), os.getpid()
        if k not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[k] = _checked(Shard(self._shards[k][0]), self._shards[k][1])
        self._open.move_to_end(k)
        return self._open[k]

    def _count(self, k: int) -> int:
        info = self._shards[k][1]
        return info.n if info else len(self._shard(k))

    def _by_id(self) -> dict[str, int]:
        if self._numbers is None:
            self._numbers = {str(name): i for i, name in enumerate(self.column("sample_id"))}
        return self._numbers


def _checked(shard: Shard, info: ShardInfo | None) -> Shard:
    """The shard, if it is the one that the manifest means."""
    if info and (len(shard), shard.content_sha256) != (info.n, info.content_sha256):
        raise IntegrityError(f"{shard.path}: not the shard that {MANIFEST} lists under this name. Remove it and build again.")
    return shard


def _column(shard: Shard, name: str) -> NDArray[Any]:
    paths = columns(shard.layout, shard.extras)
    if name in ("dataset", "category"):
        return np.full(len(shard), getattr(shard.header, name))
    path = name if name in paths else f"meta/{name}"
    if path not in paths:
        raise UsageError(f"there is no column {name!r}." + suggest(name, [path.rpartition("/")[2] for path in paths]))
    if paths[path] == TEXT:
        return np.array(shard.texts(path), np.str_)
    values = shard.column(path)
    if path == "type":
        values = np.array(shard.header.types, np.str_)[values]
    return values
