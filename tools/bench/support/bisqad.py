"""What BiSQAD's training costs: a step, an epoch, and what the outer loop adds to it, on features made up at random."""

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
from tools.bench.support.tables import Column, Table


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
    held_out = tuple(
        HeldOutImage(str(k), k % 2, "random", str(k // 2), picture, np.full((size, size), k % 2, np.uint8))
        for k in range(images)
    )
    ids = tuple(str(k) for k in range(images))
    return CachedFeatures(
        shapes=shapes, normals=caches[0], learned=caches[1], normal_of=torch.arange(images), masks=masks, pooled=pooled,
        ids=ids, held_out=caches[2], images=held_out,
    )  # fmt: skip


def seconds(run, device):
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.process_time() if device.type == "cpu" else time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.process_time() if device.type == "cpu" else time.perf_counter()) - start


def measure(options: argparse.Namespace) -> Table:
    """Milliseconds of a step and of an epoch; the outer loop's share is its time over that of `outer_every` epochs."""
    if options.device == "cpu":
        torch.set_num_threads(1)
    compute = choose_compute(options.device, options.precision)
    changes = {"backbone": options.backbone, "size": options.size, "warm_up": 0, "outer_every": 5, "data_weight": 0.5}
    config = make_config(options.preset, "", "", changes)
    model = assemble(config, load_backbone(options.backbone, config.levels, "random"), compute)
    training = BilevelTraining(
        model, made_up(model, options.images, compute.device), TrainingOptions(compute=compute, tensorboard=False)
    )
    training.inner_loop(1)
    epoch = min(seconds(lambda: training.inner_loop(2), compute.device) for _ in range(2))
    outer = min(seconds(training.outer_loop, compute.device) for _ in range(2))
    steps = -(-options.images // (config.batch_size // 2))
    parameters = sum(value.numel() for value in model.base.parameters()) / 1e6
    name = f"{options.preset}, {options.backbone}, {options.size} px, batch {config.batch_size}"
    row = [name, parameters, 1000 * epoch / steps, epoch, outer, 100 * outer / (config.outer_every * epoch)]
    columns = [Column(""), Column("parameters, M", ("{:.1f}",)), Column("step, ms", ("{:.0f}",))]
    columns += [Column(f"epoch of {options.images} images, s", ("{:.1f}",)), Column("outer loop, s", ("{:.1f}",))]
    return Table([*columns, Column("outer loop, % of five epochs", ("{:.0f}",))], [row])
