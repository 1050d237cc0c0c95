"""From a recipe and the images there are to the list of samples: pure, in a fixed order, with ids that decide every draw.

A plan is a list of shards; a shard is a contiguous run of normal images of one category, each with all its samples. The id
of a sample (`dataset/category/stem/type/replica`) and the recipe's seed are all that its random numbers depend on, so that
categories, types, workers and shard sizes may change without changing any other sample.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.anomalies.registry import TYPES
from synthgen.datasets import CategoryScan, DatasetScan, NormalSource, dataset_info, read_normal, scan
from synthgen.edges.pipeline import CategoryEdges, EdgeAssets, edge_pipeline
from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.foreground import Method, choose_method, find_foreground
from synthgen.foreground.sam import Checkpoint, read_checkpoint
from synthgen.painting.surface import Surface
from synthgen.recipe import Recipe, canonical_json
from synthgen.recipe.mixtures import mixture, traits_of
from synthgen.refine.refiner import AUTO, NO_NETWORKS, NONE, NPCF, NPCFPP, STAGES, RefinementTools, Refiner, refiner
from synthgen.samples import NormalImage, SampleSpec
from synthgen.shards.quality import QualityLimit

_MOST_NORMALS_PER_SHARD = 64  # 50 MB of normal images at 512 pixels, and work for several workers in one category
_LONGEST_NAME = 80  # characters of a category in a file name
_VOTERS = 10  # images that decide whether a category shows an object, and what a mixture is made of
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
        recipe: what is to be made.
        scans: what was found of each dataset, in the recipe's order.
        shards: the shards, in order; their samples one after the other are the samples of the plan.
        foreground_masks: folder of the user's foreground masks, or None.
        sam: SAM's weights where the recipe's foregrounds are its, else None.
        edges: what edge edits need of the user, or None where there are none.
        refinement: the networks that refine samples.
        decided: entries of `methods` that a mixture has needed already.
        quality: which samples are left out for their quality; None for no such limit.
    """

    recipe: Recipe
    scans: tuple[DatasetScan, ...]
    shards: tuple[PlannedShard, ...]
    foreground_masks: Path | None = None
    sam: Checkpoint | None = None
    edges: EdgeAssets | None = None
    refinement: RefinementTools = NO_NETWORKS
    decided: Mapping[tuple[str, str], Method] = field(default_factory=dict)
    quality: QualityLimit | None = None

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def below_quality(self) -> int:
        """Number of samples that are left out for their quality."""
        return sum(len(shard.left_out & self.quality.below) for shard in self.shards) if self.quality is not None else 0

    def specs(self) -> Iterator[SampleSpec]:
        """All samples, in order."""
        for shard in self.shards:
            for source in shard.sources:
                yield from specs_of(self.recipe, shard, source)

    @cached_property
    def methods(self) -> Mapping[tuple[str, str], Method]:
        """How the foreground is found, by (dataset, category); reads some images of each category."""
        return {
            (key := (scan.dataset, category.name)): self.decided.get(key) or self._method(scan, category)
            for scan in self.scans
            for category in scan.categories
        }

    def _method(self, scan: DatasetScan, category: CategoryScan) -> Method:
        hint = dataset_info(scan.dataset).category(category.name).foreground
        asks = self.recipe.foreground == "auto" and hint != "whole" and self.foreground_masks is None
        images = [normal.pixels for normal in voters(self.recipe, category)] if asks else []
        return choose_method(self.recipe.foreground, hint, self.foreground_masks, images, self.sam)

    def licence(self, scan: DatasetScan) -> str:
        """What the samples of a dataset may be used for."""
        return f"{scan.licence}. {self._edges_licence}" if self._edges_licence else scan.licence

    def commercial_use(self, scan: DatasetScan) -> bool | None:
        """Whether the samples of a dataset may be used commercially; None where that is the user's to know."""
        return False if self._edges_licence else dataset_info(scan.dataset).commercial_use

    @cached_property
    def _edges_licence(self) -> str:
        return edge_pipeline(self.edges).generator.card.edges_licence if self.edges is not None else ""

    def stage(self, dataset: str, category: str) -> CategoryEdges | None:
        """What the edge edits of a category work with; None where there are none."""
        return self._stages.get((dataset, category))

    @cached_property
    def _stages(self) -> dict[tuple[str, str], CategoryEdges]:
        if self.edges is None:
            return {}
        depths = {name: own.bit_depth for name, own in self.recipe.datasets.items()}
        return {
            (scan.dataset, category.name): CategoryEdges(self.edges, category.used, self.recipe.size, depths[scan.dataset])
            for scan in self.scans
            for category in scan.categories
        }

    def refiner(self, dataset: str) -> Refiner | None:
        """What refines a dataset's samples; None where nothing does."""
        return refiner(self.recipe.refine, self.refinement, dataset, self.recipe.size)

    @cached_property
    def config_json(self) -> str:
        """All that decides the bytes of the build, as canonical JSON: the recipe, foregrounds, and the list of images."""
        return canonical_json(
            self.recipe.resolved()
            | ({"edges": edge_pipeline(self.edges).identity} if self.edges is not None else {})
            | self._refinement_json
            | self._quality_json
            | {
                "mixtures": {
                    f"{shard.dataset}/{shard.category}": [list(share) for share in shard.allotment.shares]
                    for shard in self.shards
                    if shard.allotment.drawn
                },
                "foreground_methods": {"/".join(key): method.identity for key, method in self.methods.items()},
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

    @property
    def _refinement_json(self) -> dict[str, Any]:
        found = {scan.dataset: self.refiner(scan.dataset) for scan in self.scans}
        identities = {name: one.identity for name, one in found.items() if one is not None}
        return {"refinement": identities} if identities else {}

    @property
    def scored_otherwise(self) -> bool:
        """Whether the scores are of samples of another recipe, seed or size, whose ids may mean other pictures."""
        if self.quality is None or not self.quality.configs:
            return False
        own = canonical_json({name: value for name, value in json.loads(self.config_json).items() if name != "quality"})
        return hashlib.sha256(own.encode()).hexdigest() not in self.quality.configs

    @property
    def unscored(self) -> int:
        """Number of samples of the plan without a score."""
        return sum(spec.sample_id not in self.quality.known for spec in self.specs()) if self.quality is not None else 0

    @property
    def _quality_json(self) -> dict[str, Any]:
        return {"quality": {"minimum": self.quality.minimum, "sha256": self.quality.sha256}} if self.quality is not None else {}


def make_plan(
    recipe: Recipe,
    roots: Mapping[str, Path],
    foreground_masks: Path | None = None,
    sam_checkpoint: Path | None = None,
    edges: EdgeAssets | None = None,
    refinement: RefinementTools | None = None,
    quality: QualityLimit | None = None,
) -> Plan:
    """Look at the recipe's datasets and lay out its samples.

    Args:
        recipe: what is to be made.
        roots: folder of each dataset by name; one that is not named is looked for in `$SYNTHGEN_DATA`.
        foreground_masks: folder of the user's foreground masks.
        sam_checkpoint: SAM's weights, for the foreground `sam`; None looks into `$SYNTHGEN_SAM`.
        edges: what edge edits need, where the recipe has some.
        refinement: the networks that refine samples, where the recipe asks for them.
        quality: leaves out the samples that were scored below a limit; those without a score stay.

    Raises:
        InputDataError: a dataset, category or the folder of masks is missing or not what it should be.
        UsageError: the recipe's foregrounds are SAM's, and there is no checkpoint or no package for it; or the limit of
            quality leaves nothing.
    """
    if foreground_masks is not None and not foreground_masks.is_dir():
        raise InputDataError(f"--foreground-masks {foreground_masks}: there is no such folder.")
    _check_names(recipe)
    sam = read_checkpoint(sam_checkpoint) if recipe.foreground == "sam" and foreground_masks is None else None
    scans = tuple(scan(name, roots.get(name), own.categories) for name, own in recipe.datasets.items())
    _check_counts(recipe, scans)
    _check_mixtures(recipe, scans)
    if recipe.edits_edges:
        edges = _checked(edges, scans)
    recipe, tools = _refined(recipe, scans, refinement or NO_NETWORKS)
    decided: dict[tuple[str, str], Method] = {}
    shards = tuple(
        shard
        for found in scans
        for category in found.categories
        for shard in _shards(
            recipe,
            found.dataset,
            category,
            _allotment(recipe, found.dataset, category, foreground_masks, sam, decided),
            _recorded(refiner(recipe.refine, tools, found.dataset, recipe.size)),
            quality.below if quality is not None else frozenset(),
        )
    )
    plan = Plan(recipe, scans, shards, foreground_masks, sam, edges if recipe.edits_edges else None, tools, decided, quality)
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
            generator=TYPES[name].generator + ("" if TYPES[name].edits_edges else shard.refined),
        )
        for name, replica in shard.allotment.of(source, recipe.seed)
        if (sample_id := _sample_id(source, name, replica)) not in shard.left_out
    ]


def _checked(edges: EdgeAssets | None, scans: tuple[DatasetScan, ...]) -> EdgeAssets:
    """The tools, if they fit what is to be made."""
    if edges is None:
        raise UsageError(
            "logical and structural anomalies are drawn by a network: --edge-generator RUN. "
            "`synthgen train edge-generator --dataset ...` trains one."
        )
    edges = edges.seal()
    for found in scans:
        edge_pipeline(edges).check(found.dataset, [category.name for category in found.categories])
    edge_pipeline(edges).detector  # noqa: B018  refuses other edges than the generator learned from
    return edges


def _refined(recipe: Recipe, scans: tuple[DatasetScan, ...], tools: RefinementTools) -> tuple[Recipe, RefinementTools]:
    """The recipe with a stage that can be done, and the networks that it takes."""
    stage = tools.reach if recipe.refine == AUTO else recipe.refine
    if all(TYPES[name].edits_edges for name in recipe.types):
        if stage != NONE:
            raise UsageError("--refine: logical and structural are drawn by a network of their own, and are not refined.")
    elif STAGES.index(stage) < STAGES.index(tools.reach):
        raise UsageError(f"--refine {stage} takes no network of {tools.reach}: leave that out, or --refine.")
    if stage in (NPCF, NPCFPP):
        tools = tools.seal()
    for found in scans:
        one = refiner(stage, tools, found.dataset, recipe.size)
        if one is not None:
            one.check([category.name for category in found.categories])
    return recipe.model_copy(update={"refine": stage}), tools


def _recorded(found: Refiner | None) -> str:
    """What the samples' `generator` says of their refinement."""
    return "" if found is None else f" > {found.name}"


def _sample_id(source: NormalSource, type_name: str, replica: int) -> str:
    return f"{source.dataset}/{source.category}/{source.stem}/{type_name}/{replica}"


def _allotment(
    recipe: Recipe,
    dataset: str,
    category: CategoryScan,
    foreground_masks: Path | None,
    sam: Checkpoint | None,
    decided: dict[tuple[str, str], Method],
) -> Allotment:
    """What a category's normal images get; a mixture is decided by some of them, and their foreground on the way."""
    if not recipe.mixed:
        return Allotment(tuple((name, recipe.replicas(dataset, name)) for name in recipe.types))
    given = {name: own.weight for name, own in recipe.types.items() if isinstance(own.weight, float)}
    weights = {}
    if len(given) < len(recipe.types):
        info = dataset_info(dataset).category(category.name)
        normals = voters(recipe, category)
        images = [normal.pixels for normal in normals]
        method = choose_method(recipe.foreground, info.foreground, foreground_masks, images, sam)
        decided[dataset, category.name] = method
        weights = mixture(
            traits_of(_subjects(normals, method), method.name != "none"),
            recipe.known_material(dataset, category.name),
            recipe.datasets[dataset].mixtures.get(category.name, info.mixture),
        )
    drawn = {name: given.get(name, weights.get(name, 0.0)) for name in recipe.types}
    total = sum(drawn.values())
    return Allotment(
        tuple((name, weight / total) for name, weight in drawn.items() if weight > 0), recipe.samples_per_normal(dataset)
    )


def _subjects(normals: list[NormalImage], method: Method) -> list[Surface]:
    """The images with their foregrounds, without those whose mask file cannot be read: the build reports these."""
    surfaces = []
    for normal in normals:
        with suppress(InputDataError):
            surfaces.append(Surface(normal.pixels, find_foreground(normal, method).mask))
    return surfaces


def voters(recipe: Recipe, category: CategoryScan) -> list[NormalImage]:
    """Some normal images of a category, evenly spread, as a build sees them; those that cannot be read are left out."""
    chosen = category.used[:: max(len(category.used) // _VOTERS, 1)][:_VOTERS]

    def normal(source: NormalSource) -> NormalImage | None:
        try:
            return read_normal(source, recipe.size, recipe.datasets[source.dataset].bit_depth)
        except InputDataError:
            return None  # the build reports it where its samples are missing

    with ThreadPoolExecutor() as threads:  # decoding is most of it, and does not hold the interpreter
        return [image for image in threads.map(normal, chosen) if image is not None]


def _shards(
    recipe: Recipe, dataset: str, category: CategoryScan, allotment: Allotment, refined: str, low: frozenset[str]
) -> list[PlannedShard]:
    sources_per_shard = max(1, min(recipe.samples_per_shard // allotment.per_source, _MOST_NORMALS_PER_SHARD))
    sources = _part(category, recipe.share)
    left_out = _left_out(recipe, dataset, category) | low
    count = -(-len(sources) // sources_per_shard)
    # even runs: several workers end together
    runs = [sources[len(sources) * k // count : len(sources) * (k + 1) // count] for k in range(count)]
    prefix = _file_prefix(dataset, category.name)
    shards = []
    for index, run in enumerate(runs):
        here = frozenset(
            sample_id
            for source in run
            for name, replica in (allotment.of(source, recipe.seed) if left_out else ())
            if (sample_id := _sample_id(source, name, replica)) in left_out
        )
        name = f"{prefix}-{index:05d}-of-{len(runs):05d}.h5"
        shards.append(PlannedShard(name, index, dataset, category.name, run, allotment, here, refined))
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
        every = [_sample_id(s, name, replica) for s in category.used for replica in range(recipe.replicas(dataset, name))]
        ids += every[max(len(every) - count, 0) :] if count else []
    return frozenset(ids)


def _check_names(recipe: Recipe) -> None:
    for dataset, own in recipe.datasets.items():
        for place in own.leave_out:
            category, _, name = place.rpartition("/")
            if not category or name not in TYPES:
                raise UsageError(
                    f"datasets.{dataset}.leave_out: {place!r} is not CATEGORY/TYPE with one of {', '.join(TYPES)}."
                )
            if own.normals and category not in own.normals:
                raise UsageError(
                    f"datasets.{dataset}.leave_out: there is no category {category!r}.{suggest(category, sorted(own.normals))}"
                )


def _check_mixtures(recipe: Recipe, scans: tuple[DatasetScan, ...]) -> None:
    """Raise a UsageError where weights are given for a category that is not there."""
    for dataset in scans:
        found = [category.name for category in dataset.categories]
        for name in recipe.datasets[dataset.dataset].mixtures:
            if name not in found:
                what = f"there are weights (--mixture, or `mixtures` in a recipe) for {name}"
                raise UsageError(f"{what}, but {dataset.dataset} has no category {name!r} here.{suggest(name, found)}")


def _check_counts(recipe: Recipe, scans: tuple[DatasetScan, ...]) -> None:
    """Raise an InputDataError that names every category with fewer usable normal images than the recipe asks for."""
    wrong = []
    for dataset in scans:
        own = recipe.datasets[dataset.dataset]
        found = {category.name: category for category in dataset.categories}
        for name, wanted in own.normals.items():
            if own.categories is not None and name not in own.categories:
                continue
            usable = len(found[name].used) if name in found else 0
            if usable < wanted:
                reasons = "".join(
                    f"; {file.path}: {file.reason}" for file in (found[name].rejected[:3] if name in found else ())
                )
                wrong.append(f"  {dataset.dataset}/{name}: {wanted} normal images needed, {usable} usable{reasons}")
    if wrong:
        raise InputDataError("the recipe needs images that are not there:\n" + "\n".join(wrong))


def _digest(category: CategoryScan) -> str:
    """SHA-256 of the category's list of images: their paths, not their contents, which each sample records."""
    return hashlib.sha256("\n".join(source.source for source in category.used).encode()).hexdigest()
