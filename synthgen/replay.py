"""One sample of a finished dataset, made again from what its shard knows: the proof that it can be, and a look inside."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from synthgen.anomalies.registry import TYPES
from synthgen.datasets import scan
from synthgen.edges.editing import Donors, EdgeScene
from synthgen.edges.pipeline import CategoryEdges, EdgeAssets, EditContext, edge_pipeline, fit_mask
from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.exemplars.exemplar import ExemplarSet
from synthgen.exemplars.source import folder_of, recorded_source
from synthgen.files import write_bytes
from synthgen.foreground import Method, find_foreground
from synthgen.foreground.sam import read_checkpoint
from synthgen.painting.surface import Surface
from synthgen.recipe import Recipe, recipe_from_resolved
from synthgen.refine.refiner import AUTO, NO_NETWORKS, RefinementTools, Refiner, refiner
from synthgen.samples import Mask, NormalImage, Sample
from synthgen.shards import ShardDataset
from synthgen.shards.layout import SUFFIX
from synthgen.synthesis import PreparedNormal, make_sample, replay


@dataclass(frozen=True)
class Replay:
    """A stored sample, and whether making it again gave the same.

    Attributes:
        sample: as stored.
        from_seed: whether drawing and rendering it again gave the same image, mask and parameters.
        from_params: whether rendering its stored parameters gave the same image and mask.
    """

    sample: Sample
    from_seed: bool
    from_params: bool

    @property
    def same(self) -> bool:
        """Whether both gave the same."""
        return self.from_seed and self.from_params

    def to_json(self) -> dict[str, Any]:
        """What `synthgen replay` prints."""
        sample = self.sample
        return {
            "sample_id": sample.spec.sample_id,
            "generator": sample.spec.generator,
            "source": sample.spec.source,
            "source_sha256": sample.source_sha256,
            "attempt": sample.attempt,
            "area": sample.area,
            "contrast": sample.contrast,
            "visible": sample.visible,
            "box": list(sample.box),
            "rejected": sample.rejected,
            "params": sample.params,
            "same_from_seed": self.from_seed,
            "same_from_params": self.from_params,
        }


def replay_from_shards(
    path: Path,
    sample_id: str,
    *,
    foreground_masks: Path | None = None,
    sam_checkpoint: Path | None = None,
    edges: EdgeAssets | None = None,
    root: Path | None = None,
    refinement: RefinementTools | None = None,
    from_real: Path | None = None,
) -> Replay:
    """Make a stored sample again.

    Args:
        path: the dataset, a folder or one shard.
        sample_id: which sample.
        foreground_masks: the user's masks, if the dataset was made with them.
        sam_checkpoint: SAM's weights, if the dataset was made with them; None looks into `$SYNTHGEN_SAM`.
        edges: what the sample's edge edit was made with, if it is one.
        root: the normal images' dataset, for an edge edit whose donors are not in the shards (made with a share).
        refinement: the networks that the dataset was refined with, if it was.
        from_real: the real defects that the sample is copied from, if it is; a folder as for the build.

    Raises:
        InputDataError: there is no such sample.
        UsageError: the dataset was made with foreground masks or SAM's weights, and these are not given.
    """
    dataset = with_neighbours(path)
    if sample_id not in dataset.ids:
        raise InputDataError(f"{path}: has no sample {sample_id!r}.{suggest(sample_id, dataset.ids[:2000])}")
    stored = dataset[dataset.index(sample_id)]
    if stored.rejected.startswith("quarantined"):
        raise InputDataError(f"{sample_id}: was left out: {stored.rejected}. Making it again would kill this process too.")
    prepared = prepare_again(
        dataset,
        stored,
        foreground_masks=foreground_masks,
        sam_checkpoint=sam_checkpoint,
        edges=edges,
        root=root,
        from_real=from_real,
    )
    recipe = recipe_from_resolved(_config(dataset, stored))
    refines = _refiner(recipe, stored, refinement or NO_NETWORKS, _config(dataset, stored))
    again = make_sample(stored.spec, prepared, recipe.settings(stored.spec.type), recipe.seed, refines)
    from_seed = _equal(stored, again.image, again.mask) and json.loads(json.dumps(again.params)) == stored.params
    from_params = bool(stored.rejected) or _equal(stored, *replay(prepared, stored, refines))
    return Replay(stored, from_seed, from_params)


def _refiner(recipe: Recipe, stored: Sample, tools: RefinementTools, config: dict[str, Any]) -> Refiner | None:
    """What refined the sample. Raises a UsageError if it is not what is given now."""
    if recipe.refine == AUTO or not TYPES[stored.spec.type].refined:
        return None
    then = config["refinement"][stored.spec.dataset]
    given = {"npcf": tools.npcf, "npcf++": tools.npcfpp}
    if missing := [f"--npcf{'pp' if '+' in name else ''}" for name in then if name in given and not given[name]]:
        made = ", ".join(f"{name} {then[name][:12]}" for name in then if name in given)
        raise UsageError(f"{' and '.join(missing)}: needed, since the dataset was refined by {made}. Give these very networks.")
    refines = refiner(recipe.refine, tools, stored.spec.dataset, recipe.size)
    if refines is not None and refines.identity != then:
        now = refines.identity
        changed = ", ".join(
            f"{name} (then {then[name][:12]}, now {str(now.get(name))[:12]})" for name in then if now.get(name) != then[name]
        )
        way = f" Give --device {then['device']}." if now.get("device") != then.get("device") else ""
        raise UsageError(f"the dataset was refined with something else: {changed}.{way}")
    return refines


def with_neighbours(path: Path) -> ShardDataset:
    """The dataset; of one shard all that lie beside it, for their normal images may have lent edges to its samples."""
    return ShardDataset(path if path.is_dir() else sorted(path.parent.glob(f"*{SUFFIX}")))


def prepare_again(
    dataset: ShardDataset,
    stored: Sample,
    *,
    foreground_masks: Path | None = None,
    sam_checkpoint: Path | None = None,
    edges: EdgeAssets | None = None,
    root: Path | None = None,
    from_real: Path | None = None,
) -> PreparedNormal:
    """The normal image of a stored sample with all that its types saw of it; see `replay_from_shards`."""
    config = _config(dataset, stored)
    place = f"{stored.spec.dataset}/{stored.spec.category}"
    normal = _normal(stored)
    method = recorded_method(config["foreground_methods"][place], foreground_masks, sam_checkpoint)
    foreground = find_foreground(normal, method).mask
    context = exemplars = None
    if TYPES[stored.spec.type].copies_real:
        exemplars = _exemplars(stored, config, method, from_real)
    if TYPES[stored.spec.type].edits_edges:
        context = _edit_context(dataset, normal, foreground, config, edges, root)
    return PreparedNormal(normal, Surface(normal.pixels, foreground, config["materials"][place], context, exemplars), "")


def _exemplars(stored: Sample, config: dict[str, Any], method: Method, from_real: Path | None) -> ExemplarSet:
    """The real defects that a sample is copied from. Raises a UsageError unless they are given, and as they were."""
    spec = stored.spec
    if from_real is None:
        raise UsageError("--from-real is needed, as for the build: this sample is a copy of a real defect.")
    alone = sum(place.startswith(f"{spec.dataset}/") for place in config["materials"]) == 1
    folder = folder_of(from_real, spec.category, alone) or from_real
    then = config["exemplars"][f"{spec.dataset}/{spec.category}"]
    place, depth = (spec.dataset, spec.category), config["datasets"][spec.dataset]["bit_depth"]
    source = recorded_source(folder, place, then, method=method, size=spec.size, bit_depth=depth)
    if source.identity != then:
        raise UsageError(f"--from-real {from_real}: not the real defects that the dataset was made with, or not all of them.")
    return source.load()


def surface_of_edit(dataset: ShardDataset, stored: Sample, edges: EdgeAssets | None, root: Path | None = None) -> Surface:
    """What rendering a stored edge edit's parameters needs, which is no foreground; see `replay_from_shards`."""
    normal = _normal(stored)
    whole = np.ones(normal.pixels.shape[:2], np.uint8)
    context = _edit_context(dataset, normal, whole, _config(dataset, stored), edges, root)
    return Surface(normal.pixels, whole, edit_context=context)


def _normal(stored: Sample) -> NormalImage:
    spec = stored.spec
    return NormalImage(spec.dataset, spec.category, spec.source, stored.source_sha256, np.ascontiguousarray(stored.normal))


def _config(dataset: ShardDataset, stored: Sample) -> dict[str, Any]:
    """What the dataset says about its making."""
    of = (stored.spec.dataset, stored.spec.category)
    header = next(header for header in dataset.headers if (header.dataset, header.category) == of)
    return dict(json.loads(header.config_json))


def _edit_context(
    dataset: ShardDataset,
    normal: NormalImage,
    foreground: Mask,
    config: dict[str, Any],
    edges: EdgeAssets | None,
    root: Path | None,
) -> EditContext:
    """What an edge edit works with; its donors come from the dataset itself, else from the normal images' folder."""
    if edges is None:
        raise UsageError("--edge-generator is needed (and --weights, as for the build): this sample is an edge edit.")
    pipeline = edge_pipeline(edges)
    if (now := pipeline.identity) != (then := config["edges"]):
        changed = ", ".join(f"{name} (then {then[name]}, now {now[name]})" for name in then if now[name] != then[name])
        way = f" Give --device {then['device']}." if now["device"] != then["device"] else ""
        raise UsageError(f"--edge-generator {edges.generator}: the dataset was made with another: {changed}.{way}")
    if config["share"] < 1 or root is not None:  # any image of the category may have lent its edges
        (category,) = scan(normal.dataset, root, [normal.category]).categories
        bit_depth = config["datasets"][normal.dataset]["bit_depth"]
        size = (normal.pixels.shape[0], normal.pixels.shape[1])
        return CategoryEdges(edges, category.used, size, bit_depth).edit_context(normal, foreground)
    places = dict[str, int]()
    columns = (dataset.column(name).tolist() for name in ("dataset", "category", "source"))
    for number, (name, category, source) in enumerate(zip(*columns, strict=True)):
        if (name, category) == (normal.dataset, normal.category) and source != normal.source:
            places.setdefault(source, number)

    def lent(name: str) -> EdgeScene:
        if name not in places:
            raise UsageError(f"{name}: lent its edges, and is not in these shards. Give the dataset's folder by --root.")
        return pipeline.scene(dataset.normal(places[name]))

    scene = replace(pipeline.scene(normal), foreground=fit_mask(foreground, pipeline.size))
    return EditContext(scene, Donors(tuple(sorted(places)), lent), pipeline)


def recorded_method(identity: str, foreground_masks: Path | None, sam_checkpoint: Path | None) -> Method:
    """The method that `Method.identity` described."""
    name, _, sha256 = identity.partition(" ")
    if name == "masks":
        if foreground_masks is None:
            raise UsageError("--foreground-masks is needed: the dataset was made with masks of your own.")
        return Method(name, foreground_masks)
    if name == "sam":
        checkpoint = read_checkpoint(sam_checkpoint)
        if checkpoint.sha256 != sha256:
            raise UsageError(f"{checkpoint.path}: not the SAM checkpoint that made the dataset (SHA-256 {sha256}).")
        return Method(name, checkpoint=checkpoint)
    method = Method(name)
    if name not in ("object", "none") or method.identity != identity:
        raise UsageError(f"the dataset was made by another synthgen, which found objects in another way ({identity}).")
    return method


def save_pictures(folder: Path, sample: Sample) -> None:
    """Write image, mask (0 and 255) and normal image as PNG files.

    Raises:
        StorageError: they cannot be written.
    """
    name = sample.spec.sample_id.replace("/", "-")
    pictures = {
        "image": cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR),
        "mask": sample.mask * np.uint8(255),
        "normal": cv2.cvtColor(sample.normal, cv2.COLOR_RGB2BGR),
    }
    for kind, pixels in pictures.items():
        write_bytes(folder / f"{name}-{kind}.png", cv2.imencode(".png", pixels)[1].tobytes(), synced=False)


def _equal(stored: Sample, image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> bool:
    return np.array_equal(stored.image, image) and np.array_equal(stored.mask, mask)
