"""From what was typed to what will be done: the recipe, the plan and the networks that options add up to."""

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.cli.mixtures import read_mixtures
from synthgen.cli.options import EdgeRequest, PlanRequest, RefinementRequest
from synthgen.errors import UsageError, suggest, to_install
from synthgen.terminal.arguments import assignments, names_of, share_of, size_of, value_of, weights_of
from synthgen.terminal.console import console

if TYPE_CHECKING:
    from synthgen.builder.backends import Opener
    from synthgen.edges.pipeline import EdgeAssets
    from synthgen.plan import Plan
    from synthgen.recipe import Recipe
    from synthgen.refine.refiner import RefinementTools
    from synthgen.shards import QualityLimit

NO_EDGES, NO_REFINEMENT = EdgeRequest(), RefinementRequest()

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
"""Options that are fields of a recipe, by the same name."""
_FOR_ALL = ("per_image", "style", "strength")
"""Those that a recipe may also have for a single dataset or type: an option holds for all of them."""
_SURFACE = Path("surface")  # in place of a file, for --mixture
_OF_ONE_DATASET = ("categories", "material", "bit_depth", "mixtures", "from_real")
_EXPECTED_SETTING = "TYPE.FIELD=VALUE, such as crack.contrast_range=10,40"


def plan_from(
    request: PlanRequest,
    *,
    edges: EdgeRequest = NO_EDGES,
    refinement: RefinementRequest = NO_REFINEMENT,
    device: str = "auto",
) -> "Plan":
    """The plan that the options describe.

    Raises:
        UsageError: the options contradict each other or the recipe's rules.
        InputDataError: a dataset is not where or what it should be.
    """
    from synthgen.decisions import decide
    from synthgen.plan import make_plan
    from synthgen.recipe import make_recipe

    values = _values(request)
    assets = edge_assets(edges, device)
    recipe = make_recipe(values, _option_names(request))
    if assets is not None and not recipe.edits_edges:
        raise UsageError("--edge-generator goes with --types logical,structural.")
    if assets is not None and "size" not in values:
        recipe = _drawn_size(recipe, assets)
    _check_sam(recipe, request, edges)
    limit = _quality_limit(request)
    decisions = decide(
        recipe,
        roots(request.root, list(recipe.datasets), request.recipe is not None),
        foreground_masks=request.foreground_masks,
        sam_checkpoint=edges.sam_checkpoint if recipe.foreground == "sam" else None,
        edges=assets,
        refinement=refinement_tools(refinement, device),
    )
    plan = make_plan(decisions, limit)
    if assets is not None:
        _tell_size(recipe, assets)
    if limit is not None:
        _tell_quality(plan, request.quality)
    return plan


def _values(request: PlanRequest) -> dict[str, Any]:
    """The recipe that the options describe, before it is checked."""
    from synthgen.anomalies.registry import AUTO, canonical_type

    if (request.dataset is None) == (request.recipe is None):
        raise UsageError("give either --dataset NAME or --recipe NAME. `synthgen list` shows what there is.")
    values = _of_dataset(request) if request.recipe is None else _of_recipe(request, request.recipe)
    given = {name: getattr(request, name) for name in _PLAIN if getattr(request, name) is not None}
    for inner in (*values["datasets"].values(), *values.get("types", {}).values()):
        for name in given.keys() & set(_FOR_ALL):
            inner.pop(name, None)
    values |= given
    if request.types is not None:
        known = values.pop("types", {})
        names = names_of(request.types) or []
        values["types"] = {name: None if name == AUTO else known.get(canonical_type(name)) for name in names}
    if request.from_real is not None:
        values["types"] = _with_copies(values.get("types"))
    if request.size is not None:
        values["size"] = size_of(request.size)
    if request.sample is not None:
        values["share"] = share_of(request.sample)
    if request.settings:
        values["types"] = _with_settings(values.get("types") or {AUTO: None}, request.settings)
    return values


def _with_copies(types: Any) -> Any:
    """The types, with copies of real defects where they are a mixture or nobody named any."""
    from synthgen.anomalies.real import REAL
    from synthgen.anomalies.registry import AUTO

    types = {AUTO: None} if types is None else types
    return types | {REAL.name: types.get(REAL.name)} if AUTO in types else types


def _of_dataset(request: PlanRequest) -> dict[str, Any]:
    """What `--dataset` and the options that hold for one dataset say."""
    dataset = {
        "categories": names_of(request.categories),
        "material": request.material,
        "bit_depth": request.bit_depth,
        "mixtures": read_mixtures([path for path in request.mixtures if path != _SURFACE]) or None,
        "from_real": None if request.from_real is None else str(request.from_real),
    }
    name = request.dataset
    if name == "folder" and request.root is not None:
        name = request.root.resolve().name  # one's own folders go by their names
    given = {key: value for key, value in dataset.items() if value is not None}
    mixture = {"mixture": "surface"} if _SURFACE in request.mixtures else {}
    return {"name": name or request.dataset, "datasets": {request.dataset: given}} | mixture


def _of_recipe(request: PlanRequest, name: str) -> dict[str, Any]:
    """What `--recipe` says."""
    from synthgen.recipe import load_recipe

    if any(getattr(request, option) for option in _OF_ONE_DATASET):
        raise UsageError(
            "--categories, --material, --bit-depth, --mixture and --from-real belong to --dataset; in a recipe they "
            "stand in the file."
        )
    values: dict[str, Any] = load_recipe(name).model_dump(exclude_unset=True, mode="json")
    if request.only is not None:
        values["datasets"] = _only(values["datasets"], names_of(request.only) or [])
    return values


def _only(datasets: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    for name in names:
        if name not in datasets:
            raise UsageError(f"--only {name}: the recipe has no such dataset.{suggest(name, list(datasets))}")
    return {name: dataset for name, dataset in datasets.items() if name in names}


def _with_settings(types: Any, settings: Collection[str]) -> dict[str, dict[str, Any]]:
    """The types with `TYPE.FIELD=VALUE` entries put in."""
    from synthgen.anomalies.registry import AUTO, canonical_type

    named = {
        name if name == AUTO else canonical_type(name): dict(values or {})
        for name, values in (types if isinstance(types, dict) else dict.fromkeys(types)).items()
    }
    for setting, text in assignments("--set", settings, _EXPECTED_SETTING):
        name, dot, field = setting.partition(".")
        if not dot:
            raise UsageError(f"--set {setting}={text}: expected {_EXPECTED_SETTING}.")
        plain = canonical_type(name)
        if plain not in named and AUTO not in named:
            raise UsageError(f"--set {setting}={text}: {plain} is not among the --types.")
        named.setdefault(plain, {})[field] = value_of("--set", setting, text)
    return named


def _option_names(request: PlanRequest) -> dict[tuple[str, ...], str]:
    """What each field of the recipe is called on the command line."""
    from synthgen.anomalies.registry import canonical_type

    names: dict[tuple[str, ...], str] = {(name,): "--" + name.replace("_", "-") for name in (*_PLAIN, "types", "size")}
    names |= {("share",): "--sample", ("datasets",): "--dataset"}
    for name in ("categories", "material", "bit_depth"):
        names["datasets", request.dataset or "", name] = "--" + name.replace("_", "-")
    names["datasets", request.dataset or "", "mixtures"] = "--mixture"
    names["datasets", request.dataset or "", "from_real"] = "--from-real"
    for place, _ in assignments("--set", request.settings, _EXPECTED_SETTING):
        kind, _, field = place.partition(".")
        names["types", canonical_type(kind), field] = f"--set {place}"
    return names


def _quality_limit(request: PlanRequest) -> "QualityLimit | None":
    """What `--quality` and `--min-quality` ask for."""
    if request.quality is None and request.min_quality is None:
        return None
    if request.quality is None or request.min_quality is None:
        raise UsageError("--quality FILE and --min-quality NUMBER go together: the scores, and the lowest one to keep.")
    from synthgen.shards import QualityLimit

    return QualityLimit.read(request.quality, request.min_quality)


def _tell_quality(plan: "Plan", scores: Path | None) -> None:
    """Say what a limit of quality leaves out. Raises a UsageError if nothing of the plan was scored."""
    assert plan.quality is not None
    unscored = plan.unscored
    if unscored == len(plan) and not plan.below_quality:
        raise UsageError(f"--quality {scores}: scores none of these {len(plan)} samples.")
    without = f", {unscored} of them without a score" if unscored else ""
    console().print(
        f"{plan.below_quality} samples are left out: {scores} scores them below {plan.quality.minimum:g}; "
        f"{len(plan)} are kept{without}",
        markup=False,
    )
    if plan.scored_otherwise:
        doubt = "the scores are of samples of another recipe, seed or size: the same ids may mean other pictures"
        console().print(f"warning: {doubt}", markup=False)


def _drawn_size(recipe: "Recipe", assets: "EdgeAssets") -> "Recipe":
    """The recipe at the size that the generator draws, unless other types are made too."""
    from synthgen.anomalies.registry import TYPES
    from synthgen.edges.model import read_card

    if all(TYPES[name].edits_edges for name in recipe.types):
        return recipe.model_copy(update={"size": read_card(assets.generator).config.size})
    return recipe


def _tell_size(recipe: "Recipe", assets: "EdgeAssets") -> None:
    """Say it where samples have another size than the generator draws."""
    from synthgen.edges.model import read_card

    drawn = read_card(assets.generator).config.size
    if recipe.size != drawn:
        sizes = "{}x{} pixels, and samples have {}x{}".format(*drawn, *recipe.size)
        console().print(f"the generator draws {sizes}: what is new in them is enlarged or shrunk", markup=False)


def _check_sam(recipe: "Recipe", request: PlanRequest, edges: EdgeRequest) -> None:
    """Say what SAM on a CPU means before it begins; refuse a checkpoint that nothing asks for."""
    if recipe.foreground == "sam" and request.foreground_masks is None:
        from synthgen.foreground import sam

        sam.locate(edges.sam_checkpoint)
        if sam.device() == "cpu":
            slow = "warning: SAM runs on the CPU, minutes for each image whose foreground is not in the cache yet."
            console().print(slow, markup=False)
    elif edges.sam_checkpoint is not None and not recipe.edits_edges:
        raise UsageError("--sam-checkpoint goes with --foreground sam (without --foreground-masks), or with edge edits.")


def edge_assets(request: EdgeRequest, device: str) -> "EdgeAssets | None":
    """What `--edge-generator` and the options beside it ask for; None without it.

    Raises:
        UsageError: they make no sense, or PyTorch is missing.
    """
    paths = weights_of(request.weights, ("pidinet",))
    if request.edge_generator is None:
        if paths:
            raise UsageError("--weights goes with --edge-generator, which draws logical and structural anomalies.")
        return None
    require_torch("--edge-generator")
    from synthgen.edges.pipeline import EdgeAssets
    from synthgen.runs.devices import choose_compute

    return EdgeAssets(
        request.edge_generator,
        pidinet=paths.get("pidinet"),
        sam=request.sam_checkpoint,
        device=str(choose_compute(device).device),
    )


def refinement_tools(request: RefinementRequest, device: str) -> "RefinementTools":
    """What `--npcf` and `--npcfpp` ask for.

    Raises:
        UsageError: PyTorch is missing, or there is no such device.
    """
    from synthgen.refine.refiner import NO_NETWORKS, RefinementTools

    if not request.npcf and not request.npcfpp:
        return NO_NETWORKS
    require_torch("--npcf", "refine")
    from synthgen.runs.devices import choose_compute

    return RefinementTools(request.npcf, request.npcfpp, str(choose_compute(device).device))


def require_torch(what: str, extra: str = "edges") -> None:
    """Raise a UsageError unless PyTorch is installed; imports nothing."""
    if find_spec("torch") is None:
        raise UsageError(f"{what} needs PyTorch: {to_install(extra)}.")


def opener_of(backend: str, scheduler: str | None) -> "Opener":
    """What `--backend` and `--scheduler` ask for."""
    from synthgen.builder import dask_opener, open_loky

    if backend not in ("loky", "dask"):
        raise UsageError(f"--backend {backend}: there is no such backend.{suggest(backend, ['loky', 'dask'])}")
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together.")
    return open_loky if scheduler is None else dask_opener(scheduler)


def refuse_inside(folder: Path, root: Path | None) -> None:
    """A user's dataset is only ever read: raise a UsageError if `folder` lies in it."""
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--out {folder}: lies inside the dataset {root}, which is only read. Choose another folder.")


def roots(root: Path | None, datasets: list[str], in_recipe: bool) -> dict[str, Path]:
    """The folder of each dataset: `root` itself, or for a recipe the folder in it that has the dataset's name."""
    if root is None:
        return {}
    within = {name: root / name for name in datasets}
    if in_recipe and (len(datasets) > 1 or within[datasets[0]].is_dir()):
        return within
    return {datasets[0]: root}
