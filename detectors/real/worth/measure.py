"""The measurement: which samples are compared, how often, and what comes out."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.data.backbones import load_backbone
from detectors.real.defects import NORMAL, read_real
from detectors.real.objects import SIMILAR, objects_of
from detectors.real.worth.head import GRID, LEVELS, SIDE, Features, embed, nearest_maps, shrink_mask
from detectors.real.worth.shots import learning_curve
from detectors.real.worth.trial import Row, Trial
from synthgen.datasets import dataset_info, dataset_names
from synthgen.errors import InputDataError, suggest
from synthgen.foreground import Method
from synthgen.samples import Image
from synthgen.shards import ShardDataset
from synthgen.terminal.callbacks import OnMessage

WHOLE = "all types"
NEAREST = "no anomalies"
REAL = "half of the real ones"
_HELD_OUT = 5  # one normal image of this many is a test image where no others are given
_FEWEST = 8  # samples, or real defects for the row that learns from half of them


@dataclass(frozen=True, slots=True)
class WorthOptions:
    """How worth is measured.

    Attributes:
        category: of the shards; None if they hold one alone.
        backbone: whose features the detector has; the figures of two backbones cannot be compared.
        weights: file of the backbone's weights; None for torchvision's own.
        samples: at most so many of each set.
        normals: at most so many normal images.
        seeds: the detector is trained once for each.
        steps: of its training.
        objects: how photographs of the same object are told, see `objects_of`: they are never on both sides of a split.
        shots: for a learning curve, how many real defects of each kind are shown; none for no such curve.
    """

    category: str | None = None
    backbone: str = "resnet18"
    weights: str | None = None
    samples: int = 300
    normals: int = 320
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 200
    objects: str = SIMILAR
    shots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Worth:
    """A finished measurement.

    Attributes:
        rows: one for each set and seed.
        category: what it was measured on.
        facts: what must be known to compare figures.
        options: how it was measured.
    """

    rows: tuple[Row, ...]
    category: str
    facts: dict[str, str]
    options: WorthOptions = field(default_factory=WorthOptions)

    def names(self, shots: int = 0) -> list[str]:
        """The sets, in order; those of a learning curve where so many defects of each kind were shown."""
        return list(dict.fromkeys(row.name for row in self.rows if row.shots == shots))

    def values(self, name: str, metric: str, kind: str | None = None, shots: int = 0) -> list[float]:
        """A metric of one set, one value for each seed that has it."""
        rows = [row for row in self.rows if (row.name, row.shots) == (name, shots)]
        metrics = (row.metrics if kind is None else row.kinds.get(kind, {}) for row in rows)
        return [values[metric] for values in metrics if metric in values]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "format": "synthgen-worth",
            "format_version": 1,
            "category": self.category,
            "facts": self.facts,
            "options": asdict(self.options) | {"weights": None},
            "rows": [asdict(row) for row in self.rows],
            "suggested_weights": suggested_weights(self),
        }


def measure_worth(
    shards: Path, real: Path, options: WorthOptions, device: torch.device, on_message: OnMessage = lambda _: None
) -> Worth:
    """Train the fixed detector on each type of a dataset and on all of them, and test it on real defects.

    The normal images it learns from are those that the samples were made from. Where there are no normal test images, every
    fifth of them is kept for the test, and no sample made from it is learned from.

    Args:
        shards: a dataset of one or more categories.
        real: the real defects, see `read_real`.
        options: how.
        device: where to.
        on_message: hears what happens.

    Raises:
        InputDataError: too few samples, or no real defects.
    """
    dataset = ShardDataset(shards)
    category = _category(dataset, options.category)
    size = dataset.headers[0].image_size
    test = read_real(real, size)
    backbone = load_backbone(options.backbone, LEVELS, options.weights).to(device)
    normals = [normal for normal in dataset.normals() if normal.category == category]
    held_out = set() if NORMAL in test.kinds else {n.source for n in normals if _digest(n.source) % _HELD_OUT == 0}
    used = [normal for normal in normals if normal.source not in held_out]
    if len(used) < 2:
        raise InputDataError(f"{shards}: {len(used)} normal images of {category} to learn from; at least 2 are needed.")
    chosen = _spread(used, options.normals)
    on_message(f"features of {len(chosen)} normal and {len(test.images)} real images")
    good = embed(backbone, (normal.pixels for normal in chosen), len(chosen), device)
    extra = [normal.pixels for normal in normals if normal.source in held_out][:100]
    seen = embed(backbone, [*test.images, *extra], len(test.images) + len(extra), device)
    masks = [None if mask is None else shrink_mask(mask, SIDE) for mask in test.masks] + [
        np.zeros((SIDE, SIDE), np.uint8)
    ] * len(extra)
    kinds = [*test.kinds, *[NORMAL] * len(extra)]
    objects = objects_of(options.objects, test.names, test.images, [normal.pixels for normal in chosen])
    objects = [*objects, *range(len(kinds), len(kinds) + len(extra))]
    trial = Trial(
        backbone=backbone, device=device, good=good, seen=seen, masks=masks, kinds=kinds, objects=objects, steps=options.steps
    )
    rows: list[Row] = []
    for name, indices in _sets(dataset, category, held_out, options.samples):
        on_message(f"{name}: {len(indices)} samples")
        synthetic, targets = _embedded(backbone, dataset, indices, device)
        for seed in options.seeds:
            rows.append(trial.row(name, seed, len(indices), trial.learned(synthetic, targets, seed), trial.everything))
        if name == WHOLE:
            whole = synthetic, targets
    on_message("references")
    rows += _references(trial, options.seeds)
    if options.shots:
        on_message(f"learning curve: {', '.join(map(str, options.shots))} of each kind")
        method = _method(dataset, category)
        rows += learning_curve(trial, test, chosen, method, whole, shots=options.shots, seeds=options.seeds)
    facts = {
        "real images": f"{sum(kind != NORMAL for kind in test.kinds)} defects, {kinds.count(NORMAL)} normal",
        "objects": f"{len({o for o, k in zip(objects, kinds, strict=True) if k != NORMAL})} in the photographs of defects",
        "normal test images": "kept from those of the shards" if held_out else "given",
        "normal images learned from": str(len(chosen)),
        "mixture": _mixture_of(dataset, category),
        "backbone": f"{options.backbone}, weights {backbone.weights_sha256[:12]}",
        "training": f"{options.steps} steps, seeds {', '.join(map(str, options.seeds))}",
    }
    return Worth(tuple(rows), category, facts, options)


def _references(trial: Trial, seeds: Sequence[int]) -> Iterator[Row]:
    """No anomalies at all, and half of the real ones."""
    marked = trial.marked
    for seed in seeds:
        yield trial.row(NEAREST, seed, 0, nearest_maps(trial.good, trial.seen, seed, trial.device), trial.everything)
        if len(marked) >= 2 * _FEWEST:
            for half in _halves(trial, seed):
                targets = np.stack([shrink_mask(mask, 2 * GRID) for i in half if (mask := trial.masks[i]) is not None])
                maps = trial.learned(trial.seen[half], targets, seed)
                yield trial.row(REAL, seed, len(half), maps, trial.without(half))


def _halves(trial: Trial, seed: int) -> list[NDArray[np.intp]]:
    """The marked defects in two halves, every other object; empty halves are left out."""
    objects = np.array(trial.objects)[trial.marked]
    order = np.random.default_rng(seed).permutation(np.unique(objects))
    halves = (trial.marked[np.isin(objects, part)] for part in (order[::2], order[1::2]))
    return [half for half in halves if len(half)]


def _method(dataset: ShardDataset, category: str) -> Method:
    """How the objects were found that the dataset's samples lie on; by our network where that needs the user's files."""
    header = next(header for header in dataset.headers if header.category == category)
    name = str(json.loads(header.config_json)["foreground_methods"][f"{header.dataset}/{category}"]).partition(" ")[0]
    return Method(name if name in ("object", "none") else "object")


def _mixture_of(dataset: ShardDataset, category: str) -> str:
    """What the weights of the dataset's types go by, for people: a benchmark must not know the names of the test's defects."""
    header = next(header for header in dataset.headers if header.category == category)
    config = json.loads(header.config_json)
    if not config.get("mixtures"):
        return "none: each type was asked for by itself"
    if config.get("mixture", "known") == "surface":
        return "by the surface alone"
    if config["datasets"][header.dataset].get("mixtures", {}).get(category):
        return "mostly by weights of the user's (--mixture)"
    known = header.dataset in dataset_names() and dataset_info(header.dataset).category(category).mixture
    return "mostly by the published names of the test defects" if known else "by the surface alone"


def suggested_weights(worth: Worth) -> dict[str, float]:
    """Weights for a mixture: for each kind of defect the types that find it better than detecting without anomalies does.

    A type's share of a kind of defect grows with what it is ahead of the median type there, and each kind counts the same.
    They are chosen on these real defects: no figure measured on the same ones is a benchmark.
    """
    types = [name for name in worth.names() if name not in (WHOLE, NEAREST, REAL)]
    kinds = sorted({kind for row in worth.rows if not row.shots for kind in row.kinds})
    total = dict.fromkeys(types, 0.0)
    for kind in kinds:
        metric = "pixel_ap" if all(worth.values(name, "pixel_ap", kind) for name in types) else "image_auroc"
        score = {name: float(np.mean(worth.values(name, metric, kind) or [0.0])) for name in types}
        middle = float(np.median(list(score.values()))) if score else 0.0
        ahead = {name: max(value - middle, 0.0) for name, value in score.items()}
        whole = sum(ahead.values())
        for name in types:
            total[name] += ahead[name] / whole if whole > 0 else 1 / len(types)
    return {name: round(value / max(len(kinds), 1), 3) for name, value in total.items()}


def _category(dataset: ShardDataset, category: str | None) -> str:
    there = sorted({header.category for header in dataset.headers})
    if category is None and len(there) > 1:
        raise InputDataError(f"--category is needed: the shards hold {', '.join(there)}.")
    if category is not None and category not in there:
        raise InputDataError(f"--category {category}: the shards have no such category.{suggest(category, there)}")
    return category or there[0]


def _sets(dataset: ShardDataset, category: str, held_out: set[str], most: int) -> Iterator[tuple[str, list[int]]]:
    """All types together as they are, then each type alone: names and numbers of accepted samples, in order."""
    labels, types = dataset.column("label"), dataset.column("type")
    categories, sources = dataset.column("category"), dataset.column("source")
    usable = [i for i in range(len(dataset)) if labels[i] and categories[i] == category and str(sources[i]) not in held_out]
    names = sorted({str(types[i]) for i in usable})
    if len(usable) < _FEWEST:
        raise InputDataError(f"{len(usable)} samples of {category} to learn from; at least {_FEWEST} are needed.")
    yield WHOLE, _spread(usable, most)
    for name in names if len(names) > 1 else []:
        of_type = [i for i in usable if types[i] == name]
        if len(of_type) >= _FEWEST:
            yield name, _spread(of_type, most)


def _embedded(
    backbone: Any, dataset: ShardDataset, indices: Sequence[int], device: torch.device
) -> tuple[Features, NDArray[np.uint8]]:
    targets = []

    def images() -> Iterator[Image]:
        for i in indices:
            sample = dataset[i]
            targets.append(shrink_mask(sample.mask, 2 * GRID))
            yield sample.image

    features = embed(backbone, images(), len(indices), device)
    return features, np.stack(targets)


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the values, in order, chosen evenly at random but always in the same way."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.sort(np.random.default_rng(0).permutation(len(values))[:most])]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
