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
from synthgen.samples import Sample, Size
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset

_HELD_OUT, _FEWEST_HELD_OUT, _MOST_HELD_OUT = 0.05, 2, 50
_FEWEST = 8  # sources, from which on some are held out


@dataclass(frozen=True, slots=True)
class Chosen(Sequence[Sample]):
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


@dataclass(frozen=True, slots=True, eq=False)
class StageA:
    """Samples of one dataset to learn from.

    Attributes:
        training, held_out: samples; of no source both. Of few sources none is held out, and both are the same.
        holds_out: whether some are held out.
        dataset, categories, types, styles, licence: what they are.
        size: (height, width) in pixels.
        digest: SHA-256 of all that decides them.
    """

    training: Chosen
    held_out: Chosen
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
        training,
        held_out,
        holds_out,
        scan.dataset,
        tuple(category.name for category in scan.categories),
        _ordered(spec.type for spec in specs),
        _styles(plan.recipe),
        plan.licence(scan),
        plan.recipe.size,
        hashlib.sha256(plan.config_json.encode()).hexdigest(),
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
    edits = [name for header in shards.headers for name in header.types if TYPES[name].edits_edges]
    if edits:
        raise UsageError(f"--shards {path}: {edits[0]} is drawn by a network of its own, and is not refined.")
    datasets = _ordered(header.dataset for header in shards.headers)
    sizes = _ordered(header.image_size for header in shards.headers)
    if len(datasets) > 1 or len(sizes) > 1:
        found = ", ".join(datasets) if len(datasets) > 1 else ", ".join("{}x{}".format(*size) for size in sizes)
        raise UsageError(f"--shards {path}: holds {found}. A network learns one dataset at one size: build each apart.")
    accepted = [number for number, label in enumerate(shards.column("label").tolist()) if label]
    keys = [f"{category}/{source}" for category, source in zip(shards.column("category"), shards.column("source"), strict=True)]
    training, held_out, holds_out = _split(shards, accepted, keys)
    styles = _ordered(own["settings"]["style"] for config in configs for own in config["types"].values())
    digest = hashlib.sha256("\n".join(sorted(header.config_sha256 for header in shards.headers)).encode()).hexdigest()
    return StageA(
        training, held_out, holds_out, datasets[0],
        _ordered(header.category for header in shards.headers),
        _ordered(kind for header in shards.headers for kind in header.types),
        styles, shards.headers[0].licence, sizes[0], digest,
    )  # fmt: skip


def _split(samples: Sequence[Sample], numbers: Sequence[int], keys: Sequence[str]) -> tuple[Chosen, Chosen, bool]:
    """Samples to learn from and held-out ones, some 5 % of the sources: those whose keys have the smallest hashes.

    Args:
        samples: the whole dataset.
        numbers: which of them.
        keys: the source of each sample of the dataset.
    """
    sources = sorted({keys[number] for number in numbers}, key=lambda key: hashlib.sha256(key.encode()).digest())
    if len(sources) < _FEWEST:
        every = Chosen(samples, tuple(numbers))
        return every, every, False
    count = min(max(round(_HELD_OUT * len(sources)), _FEWEST_HELD_OUT), _MOST_HELD_OUT)
    held = set(sources[:count])
    training = tuple(number for number in numbers if keys[number] not in held)
    return Chosen(samples, training), Chosen(samples, tuple(n for n in numbers if keys[n] in held)), True


def _styles(recipe: Recipe) -> tuple[str, ...]:
    return _ordered(recipe.settings(name).style for name in recipe.types)


def _ordered(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
