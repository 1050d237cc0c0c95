"""LogicAL's localizer, per image: scoring beside what it would cost to find edges and JND as well, and training steps."""

import argparse

import numpy as np
import torch

from detectors.data.backbones import load_backbone
from detectors.logical.config import make_config
from detectors.logical.detector import assemble
from detectors.logical.jnd import jnd_map
from detectors.logical.losses import Targets
from detectors.logical.train import train_step
from detectors.pbas import config as pbas_config
from detectors.pbas import detector as pbas
from synthgen.edges.pidinet import PiDiNet, edge_maps
from synthgen.runs.devices import choose_compute
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import Variant, one_thread, take_turns, wall_clock


def scene(batch, size, device):
    """Random inputs and targets."""
    random = torch.Generator().manual_seed(0)
    inputs = torch.rand(batch, 3, *size, generator=random).contiguous(memory_format=torch.channels_last).to(device)
    planes = torch.rand(batch, 1, *size, generator=random).to(device)
    return inputs, Targets(inputs.clone(), planes, planes, planes[:, 0] > 0.9)


def runs(config, compute, batch):
    """Scoring and a training step, as functions that take nothing."""
    model = assemble(config, None, compute)
    inputs, targets = scene(batch, config.size, compute.device)
    levels = 255 * inputs

    def score():
        model.eval()
        with torch.inference_mode(), compute.autocast():
            return model(levels)[1].cpu()

    learner = assemble(config, None, compute)
    optimizer = torch.optim.Adam(learner.parameters(), config.learning_rate, fused=True)

    def train():
        learner.train()
        return train_step(learner, optimizer, inputs, targets, compute).total.detach().cpu()

    return score, train


def peers(size, compute, batch):
    """The same, of what it is compared with."""
    side = size[0]
    settings = pbas_config.make_config("reference", "", "", {"backbone": "resnet18", "size": side})
    torch.manual_seed(0)
    other = pbas.assemble(settings, load_backbone("resnet18", settings.levels, "random"), compute)
    network = PiDiNet().to(compute.device).eval()
    images = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(compute.device)
    picture = (255 * images[0].cpu().permute(1, 2, 0).numpy()).astype(np.uint8)

    def score():
        with torch.inference_mode(), compute.autocast():
            return other(255 * images)[1].cpu()

    def edges():
        with torch.inference_mode():
            return edge_maps(network, images)[0].cpu()

    return {"PBAS, resnet18": score, "PiDiNet": edges, "JND map (CPU)": lambda: jnd_map(picture)}


def on_cpu(config, batch):
    """Median CPU milliseconds per image, all variants taking turns in one process."""
    compute = choose_compute("cpu")
    score, train = runs(config, compute, batch)
    every = {"scoring": (score, batch), "training step": (train, batch)}
    every |= {name: (run, 1 if "JND" in name else batch) for name, run in peers(config.size, compute, batch).items()}
    with one_thread():
        torch.set_num_threads(1)
        timings = take_turns({name: Variant(lambda _, run=run: run()) for name, (run, _) in every.items()}, rounds=5)
    return {name: timings[name].median / count for name, (_, count) in every.items()}


def on_gpu(config, batch):
    """Wall-clock milliseconds per image, and the most memory."""
    figures = {}
    for precision in ("fp32", "bf16"):
        compute = choose_compute("cuda", precision)
        for name, run in zip(("scoring", "training step"), runs(config, compute, batch), strict=True):
            figures[f"{name}, {precision}"] = wall_clock(run) / batch
        torch.cuda.empty_cache()
    return figures | {"peak GiB": torch.cuda.max_memory_allocated() / 2**30}


def measure(options: argparse.Namespace) -> Table:
    """Milliseconds per image."""
    config = make_config(options.preset, "", "", {"size": options.size})
    figures = (on_cpu if options.device == "cpu" else on_gpu)(config, options.batch)
    name = f"{options.preset}, {options.size} px, batch {options.batch}"
    return Table([Column("ms per image"), *(Column(title, ("{:,.1f}",)) for title in figures)], [[name, *figures.values()]])
