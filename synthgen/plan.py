"""From what was decided to the list of samples: pure, in a fixed order, with ids that decide every draw.

A plan is a list of shards; a shard is a contiguous run of normal images of one category, each with all its samples. The id
of a sample (`dataset/category/stem/type/replica`) and the recipe's seed are all that its random numbers depend on, so that
categories, types, workers and shard sizes may change without changing any other sample.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from synthgen.anomalies.registry import TYPES
from synthgen.datasets import CategoryScan, DatasetScan, NormalSource, dataset_info
from synthgen.decisions import Decisions, Place
from synthgen.edges.pipeline import CategoryEdges, EdgeAssets
from synthgen.errors import UsageError
from synthgen.foreground import Method
from synthgen.recipe import Recipe, canonical_json
from synthgen.refine.refiner import RefinementTools, Refiner, refiner
from synthgen.samples import SampleSpec
from synthgen.shards.quality import QualityLimit

_MOST_NORMALS_PER_SHARD = 64  # 50 MB of normal images at 512 pixels, and work for several workers in one category
_OF_THE_USER = "Copied defects: that of your photographs of them"
_LONGEST_NAME = 80  # characters of a category in a file name
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Allotment:
    """Which types the normal images of a category get.

    Attributes:
        shares: (type, how many) of each image; of a mixture (type, weight), the weights adding up to 1.
        drawn: samples of each image of a mixture; 0 if it is none.
    """

    shares: tuple[tuple[str, float], ...]
    drawn: int = 0

    @property
    def types(self) -> tuple[str, ...]:
        """The types, in order."""
        return tuple(name for name, _ in self.shares)

    @property
    def per_source(self) -> int:
        """Samples of one normal image."""
        return self.drawn or sum(int(count) for _, count in self.shares)

    def of(self, source: NormalSource, seed: int) -> list[tuple[str, int]]:
        """(type, replica) of one normal image's samples, in order.

        A mixture's types depend on the image's identity, the seed and the category's weights alone. Steps of the golden
        ratio from a random start spread the samples of an image evenly over the weights, however few they are.
        """
        if not self.drawn:
            return [(name, replica) for name, count in self.shares for replica in range(int(count))]
        key = f"{seed}\n{source.dataset}/{source.category}/{source.stem}"
        start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
        ends = np.cumsum([weight for _, weight in self.shares])
        at = (start + _GOLDEN * np.arange(self.drawn)) % 1.0 * ends[-1]
        return [(self.types[int(k)], replica) for replica, k in enumerate(np.searchsorted(ends, at, side="right"))]


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard to be written.

    Attributes:
        name: its file name.
        index: its number within its dataset and category, from 0.
        dataset, category: of its normal images.
        sources: its normal images, in order.
        allotment: which types each normal image gets.
        left_out: ids of samples that the recipe or the limit of quality leaves out.
        refined: what refines its samples, as recorded with each; empty for nothing.
    """

    name: str
    index: int
    dataset: str
    category: str
    sources: tuple[NormalSource, ...]
    allotment: Allotment
    left_out: frozenset[str] = frozenset()
    refined: str = ""

    def __len__(self) -> int:
        return self.allotment.per_source * len(self.sources) - len(self.left_out)


@dataclass(frozen=True)
class Plan:
    """What a recipe makes of the images there are.

    Attributes:
        decisions: all that it follows from.
        shards: the shards, in order; their samples one after the other are the samples of the plan.
        quality: which samples are left out for their quality; None for no such limit.
    """

    decisions: Decisions
    shards: tuple[PlannedShard, ...]
    quality: QualityLimit | None = None

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def recipe(self) -> Recipe:
        """What is to be made."""
        return self.decisions.recipe

    @property
    def scans(self) -> tuple[DatasetScan, ...]:
        """What was found of each dataset, in the recipe's order."""
        return self.decisions.scans

    @property
    def methods(self) -> Mapping[Place, Method]:
        """How the foreground is found, by (dataset, category)."""
        return {place: choice.method for place, choice in self.decisions.foregrounds.items()}

    @property
    def edges(self) -> EdgeAssets | None:
        """What edge edits need of the user, or None where there are none."""
        return self.decisions.edges.assets if self.decisions.edges is not None else None

    @property
    def refinement(self) -> RefinementTools:
        """The networks that refine samples."""
        return self.decisions.tools

    @property
    def below_quality(self) -> int:
        """Number of samples that are left out for their quality."""
        return sum(len(shard.left_out & self.quality.below) for shard in self.shards) if self.quality is not None else 0

    def specs(self) -> Iterator[SampleSpec]:
        """All samples, in order."""
        for shard in self.shards:
            for source in shard.sources:
                yield from specs_of(self.recipe, shard, source)

    def licence(self, dataset: DatasetScan) -> str:
        """What the samples of a dataset may be used for."""
        copied = _OF_THE_USER if any(name == dataset.dataset for name, _ in self.decisions.exemplars) else ""
        return ". ".join(filter(None, (dataset.licence, self._edges_licence, copied)))

    def commercial_use(self, dataset: DatasetScan) -> bool | None:
        """Whether the samples of a dataset may be used commercially; None where that is the user's to know."""
        if self._edges_licence:
            return False
        known = dataset_info(dataset.dataset).commercial_use
        return None if known and any(name == dataset.dataset for name, _ in self.decisions.exemplars) else known

    @property
    def _edges_licence(self) -> str:
        return self.decisions.edges.licence if self.decisions.edges is not None else ""

    def category_edges(self, dataset: str, category: str) -> CategoryEdges | None:
        """What the edge edits of a category work with; None where there are none."""
        return self._edges_by_category.get((dataset, category))

    @cached_property
    def _edges_by_category(self) -> dict[Place, CategoryEdges]:
        if self.edges is None:
            return {}
        depths = {name: dataset.bit_depth for name, dataset in self.recipe.datasets.items()}
        return {
            place: CategoryEdges(self.edges, category.used, self.recipe.size, depths[place[0]])
            for place, category in self._categories.items()
        }

    def refiner(self, dataset: str) -> Refiner | None:
        """What refines a dataset's samples; None where nothing does."""
        return refiner(self.recipe.refine, self.refinement, dataset, self.recipe.size)

    @property
    def _categories(self) -> dict[Place, CategoryScan]:
        return {(dataset.dataset, category.name): category for dataset in self.scans for category in dataset.categories}

    @cached_property
    def config_json(self) -> str:
        """All that decides the bytes of the build, as canonical JSON: the recipe, foregrounds, and the list of images."""
        decided = self.decisions
        values = self.recipe.resolved() | {
            "mixtures": {"/".join(place): [list(share) for share in shares] for place, shares in decided.mixtures.items()},
            "foreground_methods": {"/".join(place): method.identity for place, method in self.methods.items()},
            "materials": {"/".join(place): self.recipe.material(*place) for place in self._categories},
            "sources_sha256": {"/".join(place): _digest(category) for place, category in self._categories.items()},
        }
        if decided.exemplars:
            values["exemplars"] = {"/".join(place): source.identity for place, source in decided.exemplars.items()}
        if decided.edges is not None:
            values["edges"] = dict(decided.edges.identity)
        if decided.refinements:
            values["refinement"] = {name: dict(refines.identity) for name, refines in decided.refinements.items()}
        if self.quality is not None:
            values["quality"] = {"minimum": self.quality.minimum, "sha256": self.quality.sha256}
        return canonical_json(values)

    @property
    def scored_otherwise(self) -> bool:
        """Whether the scores are of samples of another recipe, seed or size, whose ids may mean other pictures."""
        if self.quality is None or not self.quality.configs:
            return False
        unscored = canonical_json({name: value for name, value in json.loads(self.config_json).items() if name != "quality"})
        return hashlib.sha256(unscored.encode()).hexdigest() not in self.quality.configs

    @property
    def unscored(self) -> int:
        """Number of samples of the plan without a score."""
        return sum(spec.sample_id not in self.quality.known for spec in self.specs()) if self.quality is not None else 0


def make_plan(decisions: Decisions, quality: QualityLimit | None = None) -> Plan:
    """Lay out the samples.

    Args:
        decisions: all that was looked at, see `decide`.
        quality: leaves out the samples that were scored below a limit; those without a score stay.

    Raises:
        UsageError: the limit of quality leaves nothing.
    """
    low = quality.below if quality is not None else frozenset()
    shards = tuple(
        shard
        for dataset in decisions.scans
        for category in dataset.categories
        for shard in _shards(decisions, dataset.dataset, category, low)
    )
    plan = Plan(decisions, shards, quality)
    if quality is not None and not len(plan):
        raise UsageError(f"--min-quality {quality.minimum:g}: leaves out all {plan.below_quality} samples. Give a lower one.")
    return plan


def specs_of(recipe: Recipe, shard: PlannedShard, source: NormalSource) -> list[SampleSpec]:
    """The samples of one normal image, in order."""
    return [
        SampleSpec(
            sample_id=sample_id,
            dataset=source.dataset,
            category=source.category,
            source=source.source,
            type=name,
            replica=replica,
            size=recipe.size,
            generator=TYPES[name].generator + (shard.refined if TYPES[name].refined else ""),
        )
        for name, replica in shard.allotment.of(source, recipe.seed)
        if (sample_id := _sample_id(source, name, replica)) not in shard.left_out
    ]


def _sample_id(source: NormalSource, type_name: str, replica: int) -> str:
    return f"{source.dataset}/{source.category}/{source.stem}/{type_name}/{replica}"


def _allotment(decisions: Decisions, dataset: str, category: str) -> Allotment:
    """What a category's normal images get."""
    recipe = decisions.recipe
    if not recipe.mixed:
        return Allotment(tuple((name, recipe.replicas(dataset, name)) for name in recipe.types))
    return Allotment(decisions.mixtures[dataset, category], recipe.samples_per_normal(dataset))


def _shards(decisions: Decisions, dataset: str, category: CategoryScan, low: frozenset[str]) -> list[PlannedShard]:
    """The shards of a category; `low` are ids of samples that are left out for their quality."""
    if not category.used:
        return []
    recipe, allotment = decisions.recipe, _allotment(decisions, dataset, category.name)
    refines = decisions.refinements.get(dataset)
    sources_per_shard = max(1, min(recipe.samples_per_shard // allotment.per_source, _MOST_NORMALS_PER_SHARD))
    sources = _part(category, recipe.share)
    left_out = _left_out(recipe, dataset, category) | low
    count = -(-len(sources) // sources_per_shard)
    # even runs: several workers end together
    runs = [sources[len(sources) * k // count : len(sources) * (k + 1) // count] for k in range(count)]
    prefix = _file_prefix(dataset, category.name)
    shards = []
    for index, run in enumerate(runs):
        omitted = frozenset(
            sample_id
            for source in run
            for name, replica in (allotment.of(source, recipe.seed) if left_out else ())
            if (sample_id := _sample_id(source, name, replica)) in left_out
        )
        name = f"{prefix}-{index:05d}-of-{len(runs):05d}.h5"
        shards.append(
            PlannedShard(
                name=name,
                index=index,
                dataset=dataset,
                category=category.name,
                sources=run,
                allotment=allotment,
                left_out=omitted,
                refined="" if refines is None else f" > {refines.name}",
            )
        )
    return shards


def _file_prefix(dataset: str, category: str) -> str:
    """How the shards of a category are called; a name that no file may have is told apart by its hash."""
    plain = "".join(c if c.isalnum() or c in "_.-" else "_" for c in category)
    if plain != category or len(plain) > _LONGEST_NAME:
        plain = plain[:_LONGEST_NAME]
        plain += f"-{hashlib.sha256(category.encode()).hexdigest()[:8]}"
    return f"{dataset}-{plain}"


def _part(category: CategoryScan, share: float) -> tuple[NormalSource, ...]:
    """The normal images to use: those whose names have the smallest hashes, in the order they were in."""
    count = max(1, round(share * len(category.used)))
    by_hash = sorted(category.used, key=lambda source: hashlib.sha256(source.stem.encode()).digest())
    chosen = {source.stem for source in by_hash[:count]}
    return tuple(source for source in category.used if source.stem in chosen)


def _left_out(recipe: Recipe, dataset: str, category: CategoryScan) -> frozenset[str]:
    """Ids of the samples that the recipe leaves out of a category: the last ones of a type."""
    ids: list[str] = []
    for name in recipe.types:
        count = recipe.datasets[dataset].leave_out.get(f"{category.name}/{name}", 0)
        of_type = [_sample_id(s, name, replica) for s in category.used for replica in range(recipe.replicas(dataset, name))]
        ids += of_type[max(len(of_type) - count, 0) :] if count else []
    return frozenset(ids)


def _digest(category: CategoryScan) -> str:
    """SHA-256 of the category's list of images: their paths, not their contents, which each sample records."""
    return hashlib.sha256("\n".join(source.source for source in category.used).encode()).hexdigest()
