"""What must be looked at before a plan can be laid out: folders, some images of each category, networks' files.

The result is data. A plan follows from it without another look at anything.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from synthgen.anomalies.registry import TYPES
from synthgen.datasets import CategoryScan, DatasetScan, NormalSource, dataset_info, read_normal, scan
from synthgen.datasets.listing import printable
from synthgen.edges.pipeline import EdgeAssets, edge_pipeline
from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.exemplars.source import OPTION, ExemplarSource, exemplar_source, folder_of
from synthgen.foreground import Choice, Method, choose_method, find_foreground
from synthgen.foreground.sam import Checkpoint, read_checkpoint
from synthgen.painting.surface import Surface
from synthgen.recipe import Recipe
from synthgen.recipe.mixtures import mixture, traits_of, with_copies
from synthgen.refine.refiner import AUTO, NO_NETWORKS, NONE, NPCF, NPCFPP, STAGES, RefinementTools, refiner
from synthgen.samples import NormalImage

_SIZED = 50  # images whose sizes photographs of defects are held against
_VOTERS = 10  # images that decide whether a category shows an object, and what a mixture is made of

Place = tuple[str, str]
"""Dataset and category."""


@dataclass(frozen=True, slots=True)
class DecidedEdges:
    """What draws edge edits.

    Attributes:
        assets: what the user brought, its files' digests taken.
        identity: what decides the pictures besides the images, as JSON types.
        licence: what the edges' weights allow; empty for everything.
    """

    assets: EdgeAssets
    identity: Mapping[str, str]
    licence: str


@dataclass(frozen=True, slots=True)
class DecidedRefinement:
    """What refines a dataset's samples.

    Attributes:
        name: what is recorded with every sample.
        identity: what decides the refined pixels besides the sample, as JSON types.
    """

    name: str
    identity: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """All that a plan depends on.

    Attributes:
        recipe: what is to be made; its refinement is one that can be done.
        scans: what was found of each dataset, in the recipe's order.
        foregrounds: how the foreground of each category is found, and why.
        mixtures: (type, weight) of each category, in the recipe's order, the weights adding up to 1; empty where the types
            are no mixture.
        edges: what draws edge edits, or None where there are none.
        tools: the networks that refine samples, their files' digests taken.
        refinements: what refines the samples, by dataset; empty where nothing does.
        exemplars: the real defects to copy, of the categories that have some.
        told: what a person should know of them.
    """

    recipe: Recipe
    scans: tuple[DatasetScan, ...]
    foregrounds: Mapping[Place, Choice]
    mixtures: Mapping[Place, tuple[tuple[str, float], ...]]
    edges: DecidedEdges | None
    tools: RefinementTools
    refinements: Mapping[str, DecidedRefinement]
    exemplars: Mapping[Place, ExemplarSource] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def decide(
    recipe: Recipe,
    roots: Mapping[str, Path],
    *,
    foreground_masks: Path | None = None,
    sam_checkpoint: Path | None = None,
    edges: EdgeAssets | None = None,
    refinement: RefinementTools = NO_NETWORKS,
) -> Decisions:
    """Look at the recipe's datasets and networks.

    Args:
        recipe: what is to be made.
        roots: folder of each dataset by name; one that is not named is looked for in `$SYNTHGEN_DATA`.
        foreground_masks: folder of the user's foreground masks.
        sam_checkpoint: SAM's weights, for the foreground `sam`; None looks into `$SYNTHGEN_SAM`.
        edges: what edge edits need, where the recipe has some.
        refinement: the networks that refine samples, where the recipe asks for them.

    Raises:
        InputDataError: a dataset, category or the folder of masks is missing or not what it should be.
        UsageError: the recipe's foregrounds are SAM's, and there is no checkpoint or no package for it; or networks do not
            fit what is to be made.
    """
    if foreground_masks is not None and not foreground_masks.is_dir():
        raise InputDataError(f"--foreground-masks {foreground_masks}: there is no such folder.")
    _check_left_out(recipe)
    sam = read_checkpoint(sam_checkpoint) if recipe.foreground == "sam" and foreground_masks is None else None
    scans = tuple(scan(name, roots.get(name), dataset.categories) for name, dataset in recipe.datasets.items())
    _check_counts(recipe, scans)
    _check_mixtures(recipe, scans)
    drawn = _decide_edges(edges, scans) if recipe.edits_edges else None
    recipe, tools, refinements = _decide_refinement(recipe, scans, refinement)
    foregrounds: dict[Place, Choice] = {}
    mixtures: dict[Place, tuple[tuple[str, float], ...]] = {}
    exemplars: dict[Place, ExemplarSource] = {}
    told: list[str] = []
    for dataset in scans:
        for category in dataset.categories:
            look = _Look(recipe, dataset.dataset, category, foreground_masks, sam)
            foregrounds[dataset.dataset, category.name] = choice = look.foreground()
            folder = _real_folder(recipe.datasets[dataset.dataset].from_real, dataset, category)
            if folder is not None and category.used:
                exemplars[dataset.dataset, category.name], lines = look.exemplars(folder, choice.method)
                told += lines
            if recipe.mixed and category.used:
                place = dataset.dataset, category.name
                mixtures[place] = look.mixture(choice.method, exemplars.get(place))
    return Decisions(
        recipe=recipe,
        scans=scans,
        foregrounds=foregrounds,
        mixtures=mixtures,
        edges=drawn,
        tools=tools,
        refinements=refinements,
        exemplars=exemplars,
        told=tuple(told),
    )


def _real_folder(given: str | None, dataset: DatasetScan, category: CategoryScan) -> Path | None:
    """Where the real defects of a category are; None where there are none. Raises an InputDataError where none has any."""
    if given is None:
        return None
    alone = len(dataset.categories) == 1
    if not any(folder_of(Path(given), each.name, alone) for each in dataset.categories):
        names = ", ".join(each.name for each in dataset.categories[:5])
        raise InputDataError(
            f"{OPTION} {printable(given)}: of several categories each has its defects in a folder of its own name "
            f"({names}), and there is none. Or choose one category by --categories."
        )
    return folder_of(Path(given), category.name, alone)


class _Look:
    """A look at one category; its images are read once, and only if they are asked for."""

    def __init__(
        self, recipe: Recipe, dataset: str, category: CategoryScan, foreground_masks: Path | None, sam: Checkpoint | None
    ) -> None:
        self._recipe, self._dataset, self._category = recipe, dataset, category
        self._masks, self._sam = foreground_masks, sam
        self._info = dataset_info(dataset).category(category.name)
        self._read: list[NormalImage] | None = None

    @property
    def _normals(self) -> list[NormalImage]:
        if self._read is None:
            self._read = voters(self._recipe, self._category)
        return self._read

    def foreground(self) -> Choice:
        """How the category's foreground is found; its images vote where nobody says it."""
        mode, hint = self._recipe.foreground, self._info.foreground
        looks = self._masks is None and (mode == "object" or (mode == "auto" and hint != "whole"))
        return choose_method(mode, hint, self._masks, self._normals if looks else [], self._sam)

    def exemplars(self, folder: Path, method: Method) -> tuple[ExemplarSource, tuple[str, ...]]:
        """The category's real defects, and what a person should know of them."""
        return exemplar_source(
            folder,
            (self._dataset, self._category.name),
            normals=self._surfaces(method),
            normal_files=[source.path for source in self._category.used[:_SIZED] if source.path is not None],
            method=method,
            size=self._recipe.size,
            bit_depth=self._recipe.datasets[self._dataset].bit_depth,
        )

    def mixture(self, method: Method, exemplars: ExemplarSource | None) -> tuple[tuple[str, float], ...]:
        """How often each type is made of the category; its images and what is known of it say where the recipe does not.

        Args:
            method: how its foreground is found.
            exemplars: the real defects to copy, if any.
        """
        types = self._recipe.types
        weights = {name: type_recipe.weight for name, type_recipe in types.items() if isinstance(type_recipe.weight, float)}
        if len(weights) < len(types):
            known = self._recipe.known_mixture(self._dataset, self._category.name)
            traits = traits_of(self._surfaces(method), method.name != "none")
            suited = mixture(traits, self._recipe.known_material(self._dataset, self._category.name), known)
            suited = suited if exemplars is None else with_copies(suited, exemplars.load())
            weights = {name: weights.get(name, suited.get(name, 0.0)) for name in types}
        total = sum(weights.values())
        return tuple((name, weights[name] / total) for name in types if weights[name] > 0)

    def _surfaces(self, method: Method) -> list[Surface]:
        """The images with their foregrounds, without those whose mask file cannot be read: the build reports these."""
        surfaces = []
        for normal in self._normals:
            with suppress(InputDataError):
                surfaces.append(Surface(normal.pixels, find_foreground(normal, method).mask))
        return surfaces


def voters(recipe: Recipe, category: CategoryScan, most: int = _VOTERS) -> list[NormalImage]:
    """Some normal images of a category, evenly spread, as a build sees them; those that cannot be read are left out."""
    chosen = category.used[:: max(len(category.used) // most, 1)][:most]

    def normal(source: NormalSource) -> NormalImage | None:
        try:
            return read_normal(source, recipe.size, recipe.datasets[source.dataset].bit_depth)
        except InputDataError:
            return None  # the build reports it where its samples are missing

    with ThreadPoolExecutor() as threads:  # decoding is most of it, and does not hold the interpreter
        return [image for image in threads.map(normal, chosen) if image is not None]


def _decide_edges(assets: EdgeAssets | None, scans: tuple[DatasetScan, ...]) -> DecidedEdges:
    """What draws edge edits, if it fits what is to be made."""
    if assets is None:
        raise UsageError(
            "logical and structural anomalies are drawn by a network: --edge-generator RUN. "
            "`synthgen train edge-generator --dataset ...` trains one."
        )
    assets = assets.seal()
    pipeline = edge_pipeline(assets)
    for dataset in scans:
        pipeline.check(dataset.dataset, [category.name for category in dataset.categories])
    return DecidedEdges(assets, pipeline.identity, pipeline.generator.card.edges_licence)


def _decide_refinement(
    recipe: Recipe, scans: tuple[DatasetScan, ...], tools: RefinementTools
) -> tuple[Recipe, RefinementTools, dict[str, DecidedRefinement]]:
    """The recipe with a stage that can be done, the networks that it takes, and what refines each dataset."""
    stage = tools.reach if recipe.refine == AUTO else recipe.refine
    if all(TYPES[name].edits_edges for name in recipe.types):
        if stage != NONE:
            raise UsageError("--refine: logical and structural are drawn by a network of their own, and are not refined.")
    elif STAGES.index(stage) < STAGES.index(tools.reach):
        raise UsageError(f"--refine {stage} takes no network of {tools.reach}: leave that out, or --refine.")
    if stage in (NPCF, NPCFPP):
        tools = tools.seal()
    refinements = {}
    for dataset in scans:
        refines = refiner(stage, tools, dataset.dataset, recipe.size)
        if refines is not None:
            refines.check([category.name for category in dataset.categories])
            refinements[dataset.dataset] = DecidedRefinement(refines.name, refines.identity)
    return recipe.model_copy(update={"refine": stage}), tools, refinements


def _check_left_out(recipe: Recipe) -> None:
    """Raise a UsageError where the recipe leaves out what it does not make."""
    for name, dataset in recipe.datasets.items():
        for entry in dataset.leave_out:
            category, _, type_name = entry.rpartition("/")
            if not category or type_name not in TYPES:
                raise UsageError(f"datasets.{name}.leave_out: {entry!r} is not CATEGORY/TYPE with one of {', '.join(TYPES)}.")
            if dataset.normals and category not in dataset.normals:
                known = suggest(category, sorted(dataset.normals))
                raise UsageError(f"datasets.{name}.leave_out: there is no category {category!r}.{known}")


def _check_mixtures(recipe: Recipe, scans: tuple[DatasetScan, ...]) -> None:
    """Raise a UsageError where weights are given for a category that is not there."""
    for dataset in scans:
        names = [category.name for category in dataset.categories]
        for name in recipe.datasets[dataset.dataset].mixtures:
            if name not in names:
                what = f"there are weights (--mixture, or `mixtures` in a recipe) for {name}"
                raise UsageError(f"{what}, but {dataset.dataset} has no category {name!r} here.{suggest(name, names)}")


def _check_counts(recipe: Recipe, scans: tuple[DatasetScan, ...]) -> None:
    """Raise an InputDataError that names every category with fewer usable normal images than the recipe asks for."""
    wrong = []
    for dataset in scans:
        asked = recipe.datasets[dataset.dataset]
        categories = {category.name: category for category in dataset.categories}
        for name, needed in asked.normals.items():
            if asked.categories is not None and name not in asked.categories:
                continue
            usable = len(categories[name].used) if name in categories else 0
            if usable < needed:
                rejected = categories[name].rejected[:3] if name in categories else ()
                reasons = "".join(f"; {file.path}: {file.reason}" for file in rejected)
                wrong.append(f"  {dataset.dataset}/{name}: {needed} normal images needed, {usable} usable{reasons}")
    if wrong:
        raise InputDataError("the recipe needs images that are not there:\n" + "\n".join(wrong))
