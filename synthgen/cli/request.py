"""From what was typed to what will be done: options, and the recipe, the plan and the tools that they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.cli.mixtures import read_mixtures
from synthgen.errors import UsageError, suggest
from synthgen.terminal.arguments import names_of, size_of, weights_of
from synthgen.terminal.console import console

if TYPE_CHECKING:
    from synthgen.builder import Part
    from synthgen.builder.backends import Opener
    from synthgen.edges.pipeline import EdgeAssets
    from synthgen.plan import Plan
    from synthgen.recipe import Recipe
    from synthgen.refine.refiner import RefinementTools
    from synthgen.shards import QualityLimit


@dataclass(frozen=True)
class Request:
    """The options of `build` and `plan`, as typed; None where nothing was said."""

    dataset: str | None = None
    recipe: str | None = None
    root: Path | None = None
    categories: str | None = None
    material: str | None = None
    foreground: str | None = None
    foreground_masks: Path | None = None
    types: str | None = None
    per_image: int | None = None
    size: str | None = None
    style: str | None = None
    strength: str | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    layout: str | None = None
    base_compression: str | None = None
    samples_per_shard: int | None = None
    max_rejected: float | None = None
    only: str | None = None
    sample: str | None = None
    bit_depth: int | None = None
    sam_checkpoint: Path | None = None
    edge_generator: Path | None = None
    weights: tuple[str, ...] = ()
    device: str = "auto"
    refine: str | None = None
    npcf: tuple[Path, ...] = ()
    npcfpp: tuple[Path, ...] = ()
    quality: Path | None = None
    min_quality: float | None = None
    mixtures: tuple[Path, ...] = ()


_PLAIN = (
    "per_image",
    "style",
    "strength",
    "seed",
    "foreground",
    "refine",
    "layout",
    "base_compression",
    "samples_per_shard",
    "max_rejected",
)


def make_plan_from(request: Request) -> "Plan":
    """The plan that the options describe.

    Raises:
        UsageError: the options contradict each other or the recipe's rules.
        InputDataError: a dataset is not where or what it should be.
    """
    from synthgen.anomalies.registry import AUTO, canonical_type
    from synthgen.plan import make_plan
    from synthgen.recipe import load_recipe, make_recipe

    if (request.dataset is None) == (request.recipe is None):
        raise UsageError("give either --dataset NAME or --recipe NAME. `synthgen list` shows what there is.")
    values: dict[str, Any]
    if request.recipe is not None:
        if request.categories or request.material or request.bit_depth or request.mixtures:  # what holds for one dataset
            raise UsageError(
                "--categories, --material, --bit-depth and --mixture belong to --dataset; in a recipe they stand in the file."
            )
        loaded = load_recipe(request.recipe)
        values = loaded.model_dump(exclude_unset=True, mode="json")
        if request.only is not None:
            values["datasets"] = _only(values["datasets"], names_of(request.only) or [])
    else:
        dataset: dict[str, Any] = {
            "categories": names_of(request.categories),
            "material": request.material,
            "bit_depth": request.bit_depth,
            "mixtures": read_mixtures(request.mixtures) or None,
        }
        known = {name: value for name, value in dataset.items() if value is not None}
        # one's own folders go by their names
        name = request.root.resolve().name if request.dataset == "folder" and request.root is not None else request.dataset
        values = {"name": name or request.dataset, "datasets": {request.dataset: known}}
    given = {name: getattr(request, name) for name in _PLAIN if getattr(request, name) is not None}
    for own in (*values["datasets"].values(), *values.get("types", {}).values()):
        for name in given.keys() & {"per_image", "style", "strength"}:
            own.pop(name, None)  # an option holds for all of them
    values |= given
    if request.types is not None:
        own = values.pop("types", {})
        values["types"] = {
            name: None if name == AUTO else own.get(canonical_type(name)) for name in names_of(request.types) or []
        }
    if request.size is not None:
        values["size"] = size_of(request.size)
    if request.sample is not None:
        values["share"] = _share(request.sample)
    if request.settings:
        values["types"] = _with_settings(values.get("types") or {AUTO: None}, request.settings)
    tools = edge_tools(request.edge_generator, request.weights, request.sam_checkpoint, request.device)
    recipe = make_recipe(values, _option_names(request))
    if tools is not None and recipe.edits_edges:
        recipe = _sized(recipe, tools, values)
    _check_sam(recipe, request)
    places = roots(request.root, list(recipe.datasets), request.recipe is not None)
    if tools is not None and not recipe.edits_edges:
        raise UsageError("--edge-generator goes with --types logical,structural.")
    sam = request.sam_checkpoint if recipe.foreground == "sam" else None
    refinement = refinement_tools(request.npcf, request.npcfpp, request.device)
    limit = _quality_limit(request.quality, request.min_quality)
    plan = make_plan(recipe, places, request.foreground_masks, sam, tools, refinement, limit)
    if limit is not None:
        unscored = plan.unscored
        if unscored == len(plan) and not plan.below_quality:
            raise UsageError(f"--quality {request.quality}: scores none of these {len(plan)} samples.")
        told = f"{plan.below_quality} samples are left out: {request.quality} scores them below {limit.minimum:g}"
        told += f"; {len(plan)} are kept" + (f", {unscored} of them without a score" if unscored else "")
        console().print(told, markup=False)
        if plan.scored_otherwise:
            told = "the scores are of samples of another recipe, seed or size: the same ids may mean other pictures"
            console().print(f"warning: {told}", markup=False)
    return plan


def _quality_limit(scores: Path | None, minimum: float | None) -> "QualityLimit | None":
    """What `--quality` and `--min-quality` ask for."""
    if scores is None and minimum is None:
        return None
    if scores is None or minimum is None:
        raise UsageError("--quality FILE and --min-quality NUMBER go together: the scores, and the lowest one to keep.")
    from synthgen.shards import QualityLimit

    return QualityLimit.read(scores, minimum)


def _sized(recipe: "Recipe", tools: "EdgeAssets", values: dict[str, Any]) -> "Recipe":
    """The recipe at the size that the generator draws, unless another one was asked for, or other types are made too."""
    from synthgen.anomalies.registry import TYPES
    from synthgen.edges.model import read_card

    drawn = read_card(tools.generator).config.size
    if "size" not in values and all(TYPES[name].edits_edges for name in recipe.types):
        recipe = recipe.model_copy(update={"size": drawn})
    if recipe.size != drawn:
        told = "{}x{} pixels, and samples have {}x{}: what is new in them is enlarged or shrunk".format(*drawn, *recipe.size)
        console().print(f"the generator draws {told}", markup=False)
    return recipe


def edge_tools(generator: Path | None, weights: Sequence[str], sam: Path | None, device: str) -> "EdgeAssets | None":
    """What `--edge-generator` and the options beside it ask for; None without it.

    Raises:
        UsageError: they make no sense, or PyTorch is missing.
    """
    paths = weights_of(weights)
    if generator is None:
        if paths:
            raise UsageError("--weights goes with --edge-generator, which draws logical and structural anomalies.")
        return None
    require_torch("--edge-generator")
    from synthgen.edges.pipeline import EdgeAssets
    from synthgen.runs.devices import choose_compute

    return EdgeAssets(generator, paths.get("pidinet"), sam, str(choose_compute(device).device))


def refinement_tools(npcf: Sequence[Path], npcfpp: Sequence[Path], device: str) -> "RefinementTools":
    """What `--npcf` and `--npcfpp` ask for.

    Raises:
        UsageError: PyTorch is missing, or there is no such device.
    """
    from synthgen.refine.refiner import NO_NETWORKS, RefinementTools

    if not npcf and not npcfpp:
        return NO_NETWORKS
    require_torch("--npcf", "refine")
    from synthgen.runs.devices import choose_compute

    return RefinementTools(tuple(npcf), tuple(npcfpp), str(choose_compute(device).device))


def require_torch(what: str, extra: str = "edges") -> None:
    """Raise a UsageError unless PyTorch is installed; imports nothing."""
    if find_spec("torch") is None:
        raise UsageError(f"{what} needs PyTorch: pip install 'synthgen[{extra}]'.")


def _check_sam(recipe: "Recipe", request: Request) -> None:
    """Say what SAM on a CPU means before it begins; refuse a checkpoint that nothing asks for."""
    if recipe.foreground == "sam" and request.foreground_masks is None:
        from synthgen.foreground import sam

        sam.locate(request.sam_checkpoint)
        if sam.device() == "cpu":
            slow = "warning: SAM runs on the CPU, minutes for each image whose foreground is not in the cache yet."
            console().print(slow, markup=False)
    elif request.sam_checkpoint is not None and not recipe.edits_edges:
        raise UsageError("--sam-checkpoint goes with --foreground sam (without --foreground-masks), or with edge edits.")


def _option_names(request: Request) -> dict[tuple[str, ...], str]:
    """What each field of the recipe is called on the command line."""
    from synthgen.anomalies.registry import canonical_type

    names: dict[tuple[str, ...], str] = {(name,): "--" + name.replace("_", "-") for name in (*_PLAIN, "types", "size")}
    names |= {("share",): "--sample", ("datasets",): "--dataset"}
    for name in ("categories", "material", "bit_depth"):
        names["datasets", request.dataset or "", name] = "--" + name.replace("_", "-")
    names["datasets", request.dataset or "", "mixtures"] = "--mixture"
    for entry in request.settings:
        kind, _, field = entry.partition("=")[0].partition(".")
        names["types", canonical_type(kind), field] = f"--set {kind}.{field}"
    return names


def refuse_inside(folder: Path, place: Path | None) -> None:
    """A user's dataset is only ever read: raise a UsageError if `folder` lies in it."""
    if place is not None and folder.resolve().is_relative_to(place.resolve()):
        raise UsageError(f"--out {folder}: lies inside the dataset {place}, which is only read. Choose another folder.")


def opener_of(backend: str, scheduler: str | None) -> "Opener":
    """What `--backend` and `--scheduler` ask for."""
    from synthgen.builder import dask_opener, open_loky

    if backend not in ("loky", "dask"):
        raise UsageError(f"--backend {backend}: there is no such backend.{suggest(backend, ['loky', 'dask'])}")
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together.")
    return open_loky if scheduler is None else dask_opener(scheduler)


def part_of(text: str | None) -> "Part | None":
    """What `--shards` asks for."""
    from synthgen.builder import Part

    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f"--shards {text}: expected a number, or two such as 0-49.")
    return Part(int(first), int(last) if dash else int(first))


def _share(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise UsageError(f"--sample {text}: expected a share such as 1% or 0.01.") from error


def _only(datasets: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        if name not in datasets:
            raise UsageError(f"--only {name}: the recipe has no such dataset.{suggest(name, list(datasets))}")
    return {name: own for name, own in datasets.items() if name in names}


def _with_settings(types: Any, settings: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The types with `TYPE.FIELD=VALUE` entries put in."""
    import yaml

    from synthgen.anomalies.registry import AUTO, canonical_type

    named = {
        name if name == AUTO else canonical_type(name): dict(own or {})
        for name, own in (types if isinstance(types, dict) else dict.fromkeys(types)).items()
    }
    for entry in settings:
        place, equals, text = entry.partition("=")
        name, dot, field = place.partition(".")
        if not equals or not dot:
            raise UsageError(f"--set {entry}: expected TYPE.FIELD=VALUE, such as crack.contrast_range=10,40.")
        plain = canonical_type(name)
        if plain not in named and AUTO not in named:
            raise UsageError(f"--set {entry}: {plain} is not among the --types.")
        try:
            named.setdefault(plain, {})[field] = yaml.safe_load(
                f"[{text}]" if "," in text and not text.startswith("[") else text
            )
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"--set {entry}: {text!r} is not a value.") from error
    return named


def roots(root: Path | None, datasets: list[str], in_recipe: bool) -> dict[str, Path]:
    """The folder of each dataset: `root` itself, or for a recipe the folder in it that has the dataset's name."""
    if root is None:
        return {}
    within = {name: root / name for name in datasets}
    if in_recipe and (len(datasets) > 1 or within[datasets[0]].is_dir()):
        return within
    return {datasets[0]: root}
