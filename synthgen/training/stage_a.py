"""The samples that a refinement network learns from: stage A, from shards or made on the fly, without the held-out sources."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from synthgen.anomalies.registry import TYPES
from synthgen.errors import InputDataError, UsageError
from synthgen.plan import Plan
from synthgen.recipe import Recipe
from synthgen.runs.held_out import OF_GENERATORS, choose_held_out
from synthgen.samples import Sample, Size
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset


@dataclass(frozen=True, slots=True)
class SampleSubset(Sequence[Sample]):
    """Some samples of a dataset, by number; as picklable as the dataset."""

    samples: Sequence[Sample]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Sample `index` of the chosen ones."""
        if isinstance(index, slice):
            return [self.samples[number] for number in self.numbers[index]]
        return self.samples[self.numbers[index]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StageA:
    """Samples of one dataset to learn from.

    Attributes:
        training, held_out: samples; of no source both. Of few sources none is held out, and both are the same.
        holds_out: whether some are held out.
        dataset, categories, types, styles, licence: what they are.
        size: (height, width) in pixels.
        digest: SHA-256 of all that decides them.
    """

    training: SampleSubset
    held_out: SampleSubset
    holds_out: bool
    dataset: str
    categories: tuple[str, ...]
    types: tuple[str, ...]
    styles: tuple[str, ...]
    licence: str
    size: Size
    digest: str


def from_plan(plan: Plan) -> StageA:
    """The samples of a plan of one dataset, made when they are asked for."""
    (scan,) = plan.scans
    specs = list(plan.specs())
    training, held_out, holds_out = _split(
        SynthesisDataset(plan), list(range(len(specs))), [f"{spec.category}/{spec.source}" for spec in specs]
    )
    return StageA(
        training=training,
        held_out=held_out,
        holds_out=holds_out,
        dataset=scan.dataset,
        categories=tuple(category.name for category in scan.categories),
        types=_ordered(spec.type for spec in specs),
        styles=_styles(plan.recipe),
        licence=plan.licence(scan),
        size=plan.recipe.size,
        digest=hashlib.sha256(plan.config_json.encode()).hexdigest(),
    )


def from_shards(path: Path) -> StageA:
    """The accepted samples of shards.

    Raises:
        InputDataError: there are none.
        UsageError: they are of several datasets or sizes, or refined already.
        IntegrityError: a shard is damaged.
    """
    shards = ShardDataset(path)
    if not len(shards):
        raise InputDataError(f"{path}: there are no samples in it.")
    configs: list[dict[str, Any]] = [json.loads(text) for text in sorted({header.config_json for header in shards.headers})]
    refined = [config["refine"] for config in configs if config.get("refine", "none") != "none"]
    if refined:
        raise UsageError(f"--shards {path}: its samples are refined already ({refined[0]}); build some with --refine none.")
    unfit = [name for header in shards.headers for name in header.types if not TYPES[name].refined]
    if unfit:
        raise UsageError(f"--shards {path}: {unfit[0]} is none of the types that are refined; build a set without it.")
    datasets = _ordered(header.dataset for header in shards.headers)
    sizes = _ordered(header.image_size for header in shards.headers)
    if len(datasets) > 1 or len(sizes) > 1:
        several = ", ".join(datasets) if len(datasets) > 1 else ", ".join("{}x{}".format(*size) for size in sizes)
        raise UsageError(f"--shards {path}: holds {several}. A network learns one dataset at one size: build each apart.")
    accepted = [number for number, label in enumerate(shards.column("label").tolist()) if label]
    keys = [f"{category}/{source}" for category, source in zip(shards.column("category"), shards.column("source"), strict=True)]
    training, held_out, holds_out = _split(shards, accepted, keys)
    digest = hashlib.sha256("\n".join(sorted(header.config_sha256 for header in shards.headers)).encode()).hexdigest()
    return StageA(
        training=training,
        held_out=held_out,
        holds_out=holds_out,
        dataset=datasets[0],
        categories=_ordered(header.category for header in shards.headers),
        types=_ordered(kind for header in shards.headers for kind in header.types),
        styles=_ordered(kind["settings"]["style"] for config in configs for kind in config["types"].values()),
        licence=shards.headers[0].licence,
        size=sizes[0],
        digest=digest,
    )


def _split(samples: Sequence[Sample], numbers: Sequence[int], keys: Sequence[str]) -> tuple[SampleSubset, SampleSubset, bool]:
    """Samples to learn from and held-out ones, by the hashes of their sources.

    Args:
        samples: the whole dataset.
        numbers: which of them.
        keys: the source of each sample of the dataset.
    """
    sources = sorted({keys[number] for number in numbers})
    held_out = {sources[number] for number in choose_held_out(sources, OF_GENERATORS)}
    if not held_out:
        every = SampleSubset(samples, tuple(numbers))
        return every, every, False
    training = tuple(number for number in numbers if keys[number] not in held_out)
    return SampleSubset(samples, training), SampleSubset(samples, tuple(n for n in numbers if keys[n] in held_out)), True


def _styles(recipe: Recipe) -> tuple[str, ...]:
    return _ordered(recipe.settings(name).style for name in recipe.types)


def _ordered(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
