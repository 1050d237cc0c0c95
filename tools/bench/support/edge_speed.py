"""Milliseconds of the parts of an edge edit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from synthgen.datasets import read_normal, scan
from synthgen.decisions import decide
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
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import Timing, Variant, take_turns

_IMAGES = 4
_SPEEDS = (Column(""), Column("ms", ("{:,.1f}",)), Column("a second", ("{:.3g}",)))


def speeds(timings: Mapping[str, Timing]) -> Table:
    """A row for each variant."""
    return Table(_SPEEDS, [[name, timing.pair, 1000 / timing.median] for name, timing in timings.items()])


def maps(weights: Sequence[Path], rounds: int) -> Table:
    """Edge maps of the demo set's trays by each detector, and regions by the watershed."""
    trays = scan("demo", None, ("tray",)).categories[0].used
    images = [read_normal(source, (256, 256)).pixels for source in trays[:_IMAGES]]
    detectors = {"image gradients": SoftDetector()} | {path.stem: PidinetDetector(path) for path in weights}
    fused = [1 - SoftDetector().detect([image])[0].fused.astype(np.float32) / 255 for image in images]

    def regions(i):
        masks, foreground = edge_segments(fused[i % _IMAGES])
        return refine(masks, images[i % _IMAGES], foreground)

    variants = {
        f"edge map, 256 px: {name}": Variant(lambda i, detector=detector: detector.detect([images[i % _IMAGES]]))
        for name, detector in detectors.items()
    }
    return speeds(take_turns(variants | {"regions, 256 px: watershed and refinement": Variant(regions)}, rounds))


def networks(rounds: int) -> Table:
    """The generator and a step of its training; channels last and bf16 beside the plain way."""
    timings: dict[str, Timing] = {}
    for name in ("cpu64", "cpu"):
        variants = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            for half in (False, True):
                variants |= _network(name, layout, half)
        timings |= take_turns(variants, rounds)
    return speeds(timings)


def _network(preset: str, layout: torch.memory_format, half: bool) -> dict[str, Variant]:
    config = PRESETS[preset]
    height, width = config.size
    torch.manual_seed(0)
    network = Generator(1, config.width, config.halvings, config.blocks).to(memory_format=layout)
    judge = PatchDiscriminator(4, config.judge_width).to(memory_format=layout)
    edges = torch.rand(4, 1, height, width).contiguous(memory_format=layout)
    real = torch.rand(4, 3, height, width).contiguous(memory_format=layout)
    optimizers = [torch.optim.Adam(part.parameters(), config.learning_rate, fused=True) for part in (network, judge)]
    both = Adversaries(network, judge, *optimizers)
    compute = Compute(torch.device("cpu"), "bf16" if half else "fp32")

    def draw(_):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            network(edges[:1])

    def step(_, parts=(both, pixel_loss, compute, edges, real)):
        train_step(*parts)

    way = f"`{preset}`, {height} px, {'channels last' if layout == torch.channels_last else 'plain'}{', bf16' if half else ''}"
    return {f"a picture, {way}": Variant(draw), f"a training step of 4, {way}": Variant(step)}


def samples(generator: Path, weights: Path | None, rounds: int) -> Table:
    """A whole sample of the demo set's trays at 256 px, redraws included."""
    recipe = make_recipe({"datasets": {"demo": {"categories": ["tray"]}}, "types": ["logical", "structural"], "size": 256})
    plan = make_plan(decide(recipe, {}, edges=EdgeAssets(generator, weights)))
    shard = plan.shards[0]
    edges = plan.category_edges("demo", "tray")
    prepared = [prepare(source, recipe, plan.methods["demo", "tray"], edges) for source in shard.sources[:_IMAGES]]
    specs = list(plan.specs())
    per_source = shard.allotment.per_source
    variants = {}
    for mode in ("composite", "paper"):
        for kind in ("logical", "structural"):
            settings = recipe.settings(kind).model_copy(update={"mode": mode})
            of_sources = [specs[k * per_source : (k + 1) * per_source] for k in range(_IMAGES)]
            first = [[spec for spec in of_source if spec.type == kind][:1] for of_source in of_sources]

            def make(i, first=first, settings=settings):
                jobs = [Job(spec, prepared[i % _IMAGES], settings) for spec in first[i % _IMAGES]]
                make_samples(jobs, recipe.seed)

            variants[f"a whole sample at 256 px: {kind}, {mode}"] = Variant(make)
    return speeds(take_turns(variants, rounds))
