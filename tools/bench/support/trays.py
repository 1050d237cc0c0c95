"""How well masks of removed parts agree with the truth, on the demo set's tray, whose scenes say where every part lies."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from synthgen.anomalies.edge_edit import params_of, render, steps
from synthgen.anomalies.logical import LogicalSettings
from synthgen.datasets import scan
from synthgen.datasets.demo import generator
from synthgen.datasets.demo.tray import render_tray, tray_scene
from synthgen.decisions import decide
from synthgen.edges.editing import Edit
from synthgen.edges.pipeline import EdgeAssets, fit_mask
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.synthesis import prepare
from tools.bench.support.tables import Column, Table

_ONE_PART, _MOST_OF_IT = 0.6, 0.5  # a region is a part if the part fills most of it, and it most of the part


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks of 0 and 1."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def parts_of(labels, owners):
    """(label, owner) of each region that is one part."""
    for label in range(1, labels.max() + 1):
        inside = labels == label
        counts = np.bincount(owners[inside], minlength=1)
        owner = int(counts[1:].argmax()) + 1 if len(counts) > 1 else 0
        if owner and counts[owner] >= _ONE_PART * inside.sum() and counts[owner] >= _MOST_OF_IT * (owners == owner).sum():
            yield label, owner


def removals(assets, size, trays):
    """For each part that is a region by itself, taken away: (surface, params, rendered, truth (size, size), kind of part)."""
    recipe = make_recipe({"datasets": {"demo": {"categories": ["tray"]}}, "types": ["logical"], "size": size})
    plan = make_plan(decide(recipe, {}, edges=assets))
    for source in scan("demo", None, ("tray",)).categories[0].used[:trays]:
        surface = prepare(source, recipe, plan.methods["demo", "tray"], plan.category_edges("demo", "tray")).surface
        scene = tray_scene(generator("tray", "train", int(source.stem)))
        owners = render_tray(scene)[1]
        for label, owner in parts_of(fit_mask(surface.edit_context.scene.regions.labels, owners.shape), owners):
            params = params_of(Edit("remove", "semantic", (label,)), LogicalSettings())
            truth = fit_mask((owners == owner).astype(np.uint8), (size, size))
            yield surface, params, render([surface], [params])[0], truth, scene.parts[owner - 1].kind


def whole_mask(rendered, size):
    """(size, size) uint8 {0, 1}."""
    mask, (y0, x0, y1, x1) = np.zeros((size, size), np.uint8), rendered.box
    mask[y0:y1, x0:x1] = rendered.mask
    return mask


def truth(generator: Path, weights: Path | None, *, size: int, count: int) -> Table:
    """Mean intersection over union by kind of part, of the sample's mask and of the change before it is put in."""
    overlaps: dict[str, list[tuple[float, float]]] = defaultdict(list)
    refused = 0
    for surface, params, rendered, truth_mask, kind in removals(EdgeAssets(generator, weights), size, count):
        if rendered.refused:
            refused += 1
            continue
        drawn = fit_mask(steps(surface, params).truth.mask, truth_mask.shape)
        overlaps[kind].append((overlap(whole_mask(rendered, size), truth_mask), overlap(drawn, truth_mask)))
    everything = [pair for pairs in overlaps.values() for pair in pairs]
    rows = [[kind, len(pairs), *np.mean(pairs, 0).tolist()] for kind, pairs in [*sorted(overlaps.items()), ("all", everything)]]
    rows.append(["refused", refused, None, None])
    two = ("{:.2f}",)
    return Table([Column(""), Column("parts"), Column("mean IoU", two), Column("as drawn, before it is put in", two)], rows)
