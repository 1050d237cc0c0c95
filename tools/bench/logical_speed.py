"""LogicAL's localizer, per image: scoring beside what it would cost to find edges and JND as well, and training steps.

    python tools/bench/logical_speed.py                                   on one CPU thread, CPU time
    python tools/bench/logical_speed.py --preset small --size 256
    python tools/bench/logical_speed.py --device cuda --batch 15 --preset paper       wall-clock time, fp32 and bf16

Scoring uses the localizer alone; PiDiNet's edges and just noticeable differences are its targets while it learns. Peers in the
same run: PBAS with a ResNet-18 at the same size, PiDiNet, and the JND map. Weights are random: they change no time.
"""

import argparse
import json
import time

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
from tools.bench.timing import Variant, one_thread, take_turns


def scene(batch, size, device):
    """Random inputs and targets."""
    random = torch.Generator().manual_seed(0)
    inputs = torch.rand(batch, 3, *size, generator=random).contiguous(memory_format=torch.channels_last).to(device)
    planes = torch.rand(batch, 1, *size, generator=random).to(device)
    return inputs, Targets(inputs.clone(), planes, planes, planes[:, 0] > 0.9)


def runs(config, compute, batch):
    """What is measured, by name: functions that take nothing."""
    model = assemble(config, None, compute)
    inputs, wanted = scene(batch, config.size, compute.device)
    levels = 255 * inputs

    def score():
        model.eval()
        with torch.inference_mode(), compute.autocast():
            return model(levels)[1].cpu()

    learner = assemble(config, None, compute)
    optimizer = torch.optim.Adam(learner.parameters(), config.learning_rate, fused=True)

    def train():
        learner.train()
        return train_step(learner, optimizer, inputs, wanted, compute).total.detach().cpu()

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
    return {name: round(timings[name].median / count, 1) for name, (_, count) in every.items()}


def on_gpu(config, batch, times=20):
    """Wall-clock milliseconds per image."""
    figures = {}
    for precision in ("fp32", "bf16"):
        compute = choose_compute("cuda", precision)
        for name, run in zip(("scoring", "training step"), runs(config, compute, batch), strict=True):
            for _ in range(3):
                run()
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(times):
                run()
            torch.cuda.synchronize()
            figures[f"{name}, {precision}"] = round(1000 * (time.perf_counter() - start) / times / batch, 3)
        torch.cuda.empty_cache()
    return figures | {"peak GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--preset", default="cpu")
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--device", default="cpu")
    options.add_argument("--batch", type=int, default=4)
    given = options.parse_args()
    config = make_config(given.preset, "", "", {"size": given.size})
    figures = (on_cpu if given.device == "cpu" else on_gpu)(config, given.batch)
    print(json.dumps({"preset": given.preset, "size": given.size, "batch": given.batch, "ms per image": figures}))


if __name__ == "__main__":
    main()
