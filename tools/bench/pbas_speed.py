"""Ours against the reference path, in one run: training and scoring with PBAS, per image.

    python tools/bench/pbas_speed.py                                          on one CPU thread, CPU time
    python tools/bench/pbas_speed.py --backbone wide_resnet50_2 --size 288
    python tools/bench/pbas_speed.py --device cuda --batch 32                 wall-clock time

The reference path is what the authors' code does: a backbone that runs to its last layer, neighbourhoods written out and
averaged twice, everything again in every epoch, and a Gaussian image by image. Ours embeds once. Weights are random: they
change no time. Decoding is left out on both sides.
"""

import argparse
import json
import time

import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from detectors.data.backbones import load_backbone
from detectors.pbas.config import PBASConfig
from detectors.pbas.detector import assemble
from detectors.pbas.losses import losses
from detectors.pbas.model import FeatureDiscriminator, Projector
from detectors.pbas.train import make_optimizers
from synthgen.runs.devices import choose_compute
from tests.reference import pbas as reference
from tools.bench.timing import Variant, one_thread, take_turns


class ReferencePath:
    """PBAS as the authors' code runs it, without its logging."""

    def __init__(self, config, device):
        length = config.embedding_length
        self.config, self.device = config, device
        self.backbone = reference.WholeBackbone(config.backbone, config.levels).to(device)
        self.projector = Projector(length).to(device)
        self.discriminator = FeatureDiscriminator(length, config.discriminator_layers, config.discriminator_width).to(device)
        self.optimizers = [
            torch.optim.Adam(self.projector.parameters(), 1e-4, weight_decay=1e-5),
            torch.optim.AdamW(self.discriminator.parameters(), 2e-4),
        ]
        self.centre = torch.randn((config.size // 8) ** 2, length, device=device)

    def embed(self, images):
        """Rows of features."""
        with torch.no_grad():
            return reference.embedding(self.backbone(images), self.config.embedding_length)

    def train(self, images):
        """One step."""
        u = self.projector(self.embed(images))
        c = self.centre[reference.nearest(u, self.centre, self.config.metric)]
        distance = (u - c).norm(dim=1)
        radius = distance.mean()
        z = u + (self.config.alpha * radius * (u - c) / distance[:, None]).detach()
        scores = torch.sigmoid(self.discriminator(torch.cat([u, z])))[:, 0]
        truth = torch.cat([torch.zeros(len(u), device=self.device), torch.ones(len(u), device=self.device)])
        halves = zip(scores.split(len(u)), truth.split(len(u)), strict=True)
        loss = radius + sum(F.binary_cross_entropy(score, true) for score, true in halves)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def score(self, images):
        """Score maps."""
        self.discriminator.eval()
        with torch.no_grad():
            scores = torch.sigmoid(self.discriminator(self.projector(self.embed(images))))
        self.discriminator.train()
        patches = scores.reshape(len(images), 1, self.config.size // 8, -1)
        large = F.interpolate(patches, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return [gaussian_filter(one, sigma=4) for one in large.cpu().numpy()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    compute = choose_compute(options.device, options.precision)
    config = PBASConfig(size=options.size, backbone=options.backbone)
    torch.manual_seed(0)
    ours = assemble(config, load_backbone(config.backbone, config.levels, "random"), compute)
    ours.head.centre.normal_()
    theirs = ReferencePath(config, compute.device)
    raw = torch.randint(0, 256, (options.batch, 3, options.size, options.size), device=compute.device).float()
    normalised = ((raw / 255) - 0.45) / 0.226
    with torch.inference_mode():
        features = ours.features(raw).flatten(2).transpose(1, 2).flatten(0, 1)
    features = features.clone()
    optimizers = list(make_optimizers(ours.head, config).values())

    def train_ours(_):
        ours.head.train()
        with compute.autocast():
            terms = losses(ours.head, features, config)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        for optimizer in optimizers:
            optimizer.step()

    def score_ours(images):
        ours.head.eval()
        with torch.inference_mode(), compute.autocast():
            maps, _ = ours(images)
        return maps.cpu()

    variants = {
        "train, reference": lambda i: theirs.train(normalised),
        "train, ours": train_ours,
        "embed once, ours": lambda i: ours.features(raw),
        "score, reference": lambda i: theirs.score(normalised),
        "score, ours": lambda i: score_ours(raw),
        "score one, reference": lambda i: theirs.score(normalised[:1]),
        "score one, ours": lambda i: score_ours(raw[:1]),
    }
    per_call = {name: 1 if " one" in name else options.batch for name in variants}
    if compute.device.type == "cpu":
        torch.set_num_threads(1)
        with one_thread():
            timings = take_turns({name: Variant(run) for name, run in variants.items()}, options.rounds)
        taken = {name: timing.median / per_call[name] for name, timing in timings.items()}
    else:
        taken = {name: wall(run, compute.device, options.rounds) / per_call[name] for name, run in variants.items()}
    ratios = {kind: taken[f"{kind}, reference"] / taken[f"{kind}, ours"] for kind in ("train", "score", "score one")}
    for name, milliseconds in taken.items():
        print(f"{name:22} {milliseconds:8.2f} ms per image  {1000 / milliseconds:8.1f} images/s")
    for name, ratio in ratios.items():
        print(f"{name:22} {ratio:8.2f} x the reference path")
    print(json.dumps({"config": asdict_config(config, compute), "ms_per_image": taken, "ratios": ratios}))


def asdict_config(config, compute):
    return {"backbone": config.backbone, "size": config.size, "device": str(compute.device), "precision": compute.precision}


def wall(run, device, rounds, calls=20):
    """Milliseconds of a call, the least mean of some rounds."""
    best = float("inf")
    for _ in range(rounds + 1):  # the first warms up
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for i in range(calls):
            run(i)
        torch.cuda.synchronize(device)
        best = min(best, 1000 * (time.perf_counter() - start) / calls)
    return best


if __name__ == "__main__":
    main()
