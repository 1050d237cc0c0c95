"""What BiSQAD's training costs: a step, an epoch, and what the outer loop adds to it, on features made up at random.

    python tools/bench/bisqad_speed.py [--preset lite] [--backbone resnet18] [--size 128] [--device cpu] [--images 64]

The outer loop's share is its time over that of `outer_every` epochs; the goal is at most 40 % at 5.
"""

import argparse
import time

import numpy as np
import torch

from detectors.bisqad.config import make_config
from detectors.bisqad.data import CachedFeatures
from detectors.bisqad.detector import assemble
from detectors.bisqad.train import BilevelTraining
from detectors.contract import TrainingOptions
from detectors.data.backbones import load_backbone
from detectors.data.feature_cache import FeatureCache
from detectors.data.held_out import HeldOutImage
from synthgen.runs.devices import choose_compute


def made_up(model, images, device):
    """As many normal images as anomalies, and held-out ones, of random features."""
    size, generator = model.config.size, torch.Generator().manual_seed(0)
    with torch.inference_mode():
        levels = model.features(torch.zeros(1, 3, size, size, device=device))
    shapes = tuple(tuple(level.shape[1:]) for level in levels)
    length = sum(int(np.prod(shape)) for shape in shapes)
    caches = [FeatureCache(images, (length,), device) for _ in range(3)]
    for cache in caches:
        for _ in range(images):
            cache.append(torch.rand(1, length, generator=generator))
    masks = torch.rand(images, size, size, generator=generator) > 0.95
    pooled = torch.rand(images, sum(model.features.backbone.channels), generator=generator)
    picture = np.zeros((size, size, 3), np.uint8)
    kept = tuple(
        HeldOutImage(str(k), k % 2, "random", str(k // 2), picture, np.full((size, size), k % 2, np.uint8))
        for k in range(images)
    )
    ids = tuple(str(k) for k in range(images))
    return CachedFeatures(
        shapes=shapes,
        normals=caches[0],
        learned=caches[1],
        normal_of=torch.arange(images),
        masks=masks,
        pooled=pooled,
        ids=ids,
        held_out=caches[2],
        images=kept,
    )


def seconds(run, device):
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.process_time() if device.type == "cpu" else time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.process_time() if device.type == "cpu" else time.perf_counter()) - start


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--preset", default="lite")
    options.add_argument("--backbone", default="resnet18")
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", default="fp32")
    options.add_argument("--images", type=int, default=64)
    given = options.parse_args()
    if given.device == "cpu":
        torch.set_num_threads(1)
    compute = choose_compute(given.device, given.precision)
    changes = {"backbone": given.backbone, "size": given.size, "warm_up": 0, "outer_every": 5, "data_weight": 0.5}
    config = make_config(given.preset, "", "", changes)
    model = assemble(config, load_backbone(given.backbone, config.levels, "random"), compute)
    data = made_up(model, given.images, compute.device)
    training = BilevelTraining(model, data, TrainingOptions(compute=compute, tensorboard=False))
    training.inner_loop(1)
    epoch = min(seconds(lambda: training.inner_loop(2), compute.device) for _ in range(2))
    outer = min(seconds(training.outer_loop, compute.device) for _ in range(2))
    steps = -(-given.images // (config.batch_size // 2))
    parameters = sum(value.numel() for value in model.base.parameters())
    print(f"{given.preset}, {given.backbone}, {given.size} px, batch {config.batch_size}: {parameters / 1e6:.1f} M parameters")
    print(f"step {1000 * epoch / steps:.0f} ms, epoch of {given.images} images {epoch:.1f} s, outer loop {outer:.1f} s")
    print(f"outer loop over {config.outer_every} epochs: {outer / (config.outer_every * epoch):.0%}")


if __name__ == "__main__":
    main()
