"""Speed of edge edits on one CPU thread: edge maps, regions, the generator, its training step, and a whole sample.

    python tools/bench/edges.py [--weights table5_pidinet.pth ...] [--edge-generator RUN] [--rounds 5]

CPU milliseconds, medians of variants that take turns. Edge maps and regions are of the demo set's trays at 256 pixels; with a
generator that was trained on them (`--edge-generator`), a whole sample of each mode, from the draw to image and mask, with
edges and regions in memory. `tools/gpu_check.py` measures the generator on a GPU.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from synthgen.datasets import read_normal, scan
from synthgen.decide import decide
from synthgen.edges.config import PRESETS
from synthgen.edges.detector import PidinetDetector, SoftDetector
from synthgen.edges.generator import Generator, PatchDiscriminator
from synthgen.edges.losses import pixel_loss
from synthgen.edges.pipeline import EdgeAssets
from synthgen.edges.regions import refine
from synthgen.edges.watershed import edge_segments
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.runs.devices import Compute
from synthgen.synthesis import Job, make_samples, prepare
from synthgen.training.edge_generator import Adversaries, train_step
from tools.bench.timing import Variant, one_thread, take_turns

SOURCES = scan("demo", None, ("tray",)).categories[0].used


def show(title, timings):
    print(f"\n{title}")
    for name, timing in timings.items():
        print(f"  {name:44s} {timing.median:9.2f} ms  {1000 / timing.median:8.1f} a second")


def edge_maps(weights, rounds):
    images = [read_normal(source, (256, 256)).pixels for source in SOURCES[:4]]
    detectors = {"image gradients": SoftDetector()} | {path.stem: PidinetDetector(path) for path in weights}
    show("edge maps, 256 px", take_turns({
        name: Variant(lambda i, one=one: one.detect([images[i % 4]])) for name, one in detectors.items()
    }, rounds))  # fmt: skip
    fused = [1 - SoftDetector().detect([image])[0].fused.astype(np.float32) / 255 for image in images]

    def regions(i):
        masks, foreground = edge_segments(fused[i % 4])
        return refine(masks, images[i % 4], foreground)

    show("regions, 256 px", take_turns({"watershed and refinement": Variant(regions)}, rounds))


def networks(rounds):
    """The generator and a step of its training; channels last and bf16 beside the plain way."""
    for name in ("cpu64", "cpu"):
        config = PRESETS[name]
        height, width = config.size
        variants = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            for half in (False, True):
                torch.manual_seed(0)
                network = Generator(1, config.width, config.halvings, config.blocks).to(memory_format=layout)
                judge = PatchDiscriminator(4, config.judge_width).to(memory_format=layout)
                edges = torch.rand(4, 1, height, width).contiguous(memory_format=layout)
                real = torch.rand(4, 3, height, width).contiguous(memory_format=layout)
                optimizers = [torch.optim.Adam(one.parameters(), config.learning_rate, fused=True) for one in (network, judge)]
                both = Adversaries(network, judge, *optimizers)
                told = f"{'channels last' if layout == torch.channels_last else 'plain'}{', bf16' if half else ''}"

                def draw(_, network=network, edges=edges, half=half):
                    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                        network(edges[:1])

                compute = Compute(torch.device("cpu"), "bf16" if half else "fp32")

                def step(_, parts=(both, pixel_loss, compute, edges, real)):
                    train_step(*parts)

                variants |= {f"a picture, {told}": Variant(draw), f"a training step of 4, {told}": Variant(step)}
        show(f"generator `{name}`, {height} px", take_turns(variants, rounds))


def samples(generator, weights, rounds):
    tools = EdgeAssets(generator, weights)
    recipe = make_recipe({"datasets": {"demo": {"categories": ["tray"]}}, "types": ["logical", "structural"], "size": 256})
    plan = make_plan(decide(recipe, {}, edges=tools))
    shard = plan.shards[0]
    prepared = [
        prepare(source, recipe, plan.methods["demo", "tray"], plan.stage("demo", "tray")) for source in shard.sources[:4]
    ]
    specs = list(plan.specs())
    per_source = shard.allotment.per_source
    variants = {}
    for mode in ("composite", "paper"):
        for kind in ("logical", "structural"):
            settings = recipe.settings(kind).model_copy(update={"mode": mode})
            own = [[spec for spec in specs[k * per_source : (k + 1) * per_source] if spec.type == kind] for k in range(4)]

            def make(i, own=own, settings=settings):
                make_samples([Job(spec, prepared[i % 4], settings) for spec in own[i % 4][:1]], recipe.seed)

            variants[f"{kind}, {mode}"] = Variant(make)
    show("a whole sample at 256 px, redraws included", take_turns(variants, rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="PiDiNet's checkpoints to measure")
    parser.add_argument("--edge-generator", type=Path, help="trained on the demo set's tray, without weights")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with one_thread():
        edge_maps(args.weights, args.rounds)
        networks(args.rounds)
        if args.edge_generator:
            samples(args.edge_generator, None, args.rounds)


if __name__ == "__main__":
    main()
