"""How well masks of removed parts agree with the truth, on the demo set's tray, whose scenes say where every part lies.

    python tools/bench/tray_truth.py --edge-generator RUN [--weights pidinet.pth] [--size 128] [--trays 10]

Every region that is one part is removed by itself; the mask of the sample is compared with the pixels of the part.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from synthgen.anomalies.edge_edit import params_of, render, steps
from synthgen.anomalies.logical import LogicalSettings
from synthgen.datasets import scan
from synthgen.datasets.demo import generator
from synthgen.datasets.demo.tray import render_tray, tray_scene
from synthgen.decide import decide
from synthgen.edges.editing import Edit
from synthgen.edges.pipeline import EdgeAssets, fit_mask
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.synthesis import prepare

_ONE_PART, _MOST_OF_IT = 0.6, 0.5  # a region is a part if the part fills most of it, and it most of the part


def overlap(one, other):
    return float((one & other).sum() / max((one | other).sum(), 1))


def parts_of(labels, owners):
    """(label, owner) of each region that is one part."""
    for label in range(1, labels.max() + 1):
        inside = labels == label
        counts = np.bincount(owners[inside], minlength=1)
        owner = int(counts[1:].argmax()) + 1 if len(counts) > 1 else 0
        if owner and counts[owner] >= _ONE_PART * inside.sum() and counts[owner] >= _MOST_OF_IT * (owners == owner).sum():
            yield label, owner


def removals(tools, size, trays):
    """For each part that is a region by itself, taken away: (surface, params, rendered, truth (size, size), kind of part)."""
    recipe = make_recipe({"datasets": {"demo": {"categories": ["tray"]}}, "types": ["logical"], "size": size})
    plan = make_plan(decide(recipe, {}, edges=tools))
    for source in scan("demo", None, ("tray",)).categories[0].used[:trays]:
        surface = prepare(source, recipe, plan.methods["demo", "tray"], plan.stage("demo", "tray")).surface
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge-generator", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="PiDiNet's, if the generator learned from them")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--trays", type=int, default=10)
    args = parser.parse_args()
    found, refused = defaultdict(list), 0
    for surface, params, rendered, truth, kind in removals(
        EdgeAssets(args.edge_generator, args.weights), args.size, args.trays
    ):
        if rendered.refused:
            refused += 1
            continue
        drawn = fit_mask(steps(surface, params).truth.mask, truth.shape)
        found[kind].append((overlap(whole_mask(rendered, args.size), truth), overlap(drawn, truth)))
    everything = [value for one in found.values() for value in one]
    print(f"{len(everything) + refused} parts removed, {refused} refused")
    for kind, values in [*sorted(found.items()), ("all", everything)]:
        mask, drawn = np.mean(values, 0)
        median = np.median([value[0] for value in values])
        print(f"{kind:10s} {len(values):4d}  IoU {mask:.3f}, median {median:.3f} (as drawn, before it is put in: {drawn:.3f})")


if __name__ == "__main__":
    main()
