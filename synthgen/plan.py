"""From a recipe and the images there are to the list of samples: pure, in a fixed order, with ids that decide every draw.

A plan is a list of shards; a shard is a contiguous run of normal images of one category, each with all its samples. The id
of a sample (`dataset/category/stem/type/replica`) and the recipe's seed are all that its random numbers depend on, so that
categories, types, workers and shard sizes may change without changing any other sample.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from synthgen.anomalies import TYPES
from synthgen.datasets import CategoryScan, DatasetScan, NormalSource, dataset_info, read_normal, scan
from synthgen.errors import InputDataError
from synthgen.foreground import Method, choose_method
from synthgen.recipe import Recipe, canonical_json
from synthgen.samples import SampleSpec

_MOST_NORMALS_PER_SHARD = 256  # 200 MB of normal images at 512 pixels
_VOTERS = 10  # images that decide whether a category shows an object


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard to be written.

    Attributes:
        name: its file name.
        index: its number within its dataset and category, from 0.
        dataset, category: of its normal images.
        sources: its normal images, in order.
        types: (type, replicas) of each normal image, in order.
    """

    name: str
    index: int
    dataset: str
    category: str
    sources: tuple[NormalSource, ...]
    types: tuple[tuple[str, int], ...]

    @property
    def per_source(self) -> int:
        """Samples of one normal image."""
        return sum(replicas for _, replicas in self.types)

    def __len__(self) -> int:
        return self.per_source * len(self.sources)


@dataclass(frozen=True)
class Plan:
    """What a recipe makes of the images there are.

    Attributes:
        recipe: what is to be made.
        scans: what was found of each dataset, in the recipe's order.
        shards: the shards, in order; their samples one after the other are the samples of the plan.
        foreground_masks: folder of the user's foreground masks, or None.
    """

    recipe: Recipe
    scans: tuple[DatasetScan, ...]
    shards: tuple[PlannedShard, ...]
    foreground_masks: Path | None = None

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def specs(self) -> Iterator[SampleSpec]:
        """All samples, in order."""
        for shard in self.shards:
            for source in shard.sources:
                yield from specs_of(self.recipe, shard, source)

    @cached_property
    def methods(self) -> Mapping[tuple[str, str], Method]:
        """How the foreground is found, by (dataset, category); reads some images of each category."""
        return {
            (scan.dataset, category.name): self._method(scan, category) for scan in self.scans for category in scan.categories
        }

    def _method(self, scan: DatasetScan, category: CategoryScan) -> Method:
        hint = dataset_info(scan.dataset).category(category.name).foreground
        asks = self.recipe.foreground == "auto" and hint != "whole" and self.foreground_masks is None
        images = []
        if asks:
            step = max(len(category.used) // _VOTERS, 1)
            for source in category.used[::step][:_VOTERS]:
                try:
                    images.append(read_normal(source, self.recipe.size).pixels)
                except InputDataError:
                    continue  # the build reports it where its samples are missing
        return choose_method(self.recipe.foreground, hint, self.foreground_masks, images)

    @cached_property
    def config_json(self) -> str:
        """All that decides the bytes of the build, as canonical JSON: the recipe, foregrounds, and the list of images."""
        return canonical_json(
            self.recipe.resolved()
            | {
                "foreground_methods": {"/".join(key): method.name for key, method in self.methods.items()},
                "materials": {
                    f"{scan.dataset}/{category.name}": self.recipe.material(scan.dataset, category.name)
                    for scan in self.scans
                    for category in scan.categories
                },
                "sources_sha256": {
                    f"{scan.dataset}/{category.name}": _digest(category) for scan in self.scans for category in scan.categories
                },
            }
        )


def make_plan(recipe: Recipe, roots: Mapping[str, Path], foreground_masks: Path | None = None) -> Plan:
    """Look at the recipe's datasets and lay out its samples.

    Args:
        recipe: what is to be made.
        roots: folder of each dataset by name; one that is not named is looked for in `$SYNTHGEN_DATA`.
        foreground_masks: folder of the user's foreground masks.

    Raises:
        InputDataError: a dataset, category or the folder of masks is missing or not what it should be.
    """
    if foreground_masks is not None and not foreground_masks.is_dir():
        raise InputDataError(f"--foreground-masks {foreground_masks}: there is no such folder.")
    scans = tuple(scan(name, roots.get(name), own.categories) for name, own in recipe.datasets.items())
    shards = tuple(
        shard for found in scans for category in found.categories for shard in _shards(recipe, found.dataset, category)
    )
    return Plan(recipe, scans, shards, foreground_masks)


def specs_of(recipe: Recipe, shard: PlannedShard, source: NormalSource) -> list[SampleSpec]:
    """The samples of one normal image, in order."""
    return [
        SampleSpec(
            sample_id=f"{source.dataset}/{source.category}/{source.stem}/{name}/{replica}",
            dataset=source.dataset,
            category=source.category,
            source=source.source,
            type=name,
            replica=replica,
            size=recipe.size,
            generator=TYPES[name].generator,
        )
        for name, replicas in shard.types
        for replica in range(replicas)
    ]


def _shards(recipe: Recipe, dataset: str, category: CategoryScan) -> list[PlannedShard]:
    types = tuple((name, recipe.replicas(dataset, name)) for name in recipe.types)
    per_source = sum(replicas for _, replicas in types)
    sources_per_shard = max(1, min(recipe.samples_per_shard // per_source, _MOST_NORMALS_PER_SHARD))
    runs = [category.used[at : at + sources_per_shard] for at in range(0, len(category.used), sources_per_shard)]
    prefix = "-".join("".join(c if c.isalnum() or c in "_." else "_" for c in part) for part in (dataset, category.name))
    return [
        PlannedShard(f"{prefix}-{index:05d}-of-{len(runs):05d}.h5", index, dataset, category.name, run, types)
        for index, run in enumerate(runs)
    ]


def _digest(category: CategoryScan) -> str:
    """SHA-256 of the category's list of images: their paths, not their contents, which each sample records."""
    return hashlib.sha256("\n".join(source.source for source in category.used).encode()).hexdigest()
