"""Training and scoring with PBAS, per image, ours against the authors' way, in one run."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from detectors.data.backbones import load_backbone
from detectors.pbas.config import PBASConfig
from detectors.pbas.detector import assemble
from detectors.pbas.losses import losses
from detectors.pbas.model import FeatureDiscriminator, Projector
from detectors.pbas.train import make_optimizers
from synthgen.runs.devices import Compute, choose_compute
from tests.reference import pbas as reference
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import Variant, one_thread, take_turns, wall_clock


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
        loss = radius + sum(F.binary_cross_entropy(score, label) for score, label in halves)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def score(self, images):
        """Anomaly maps."""
        self.discriminator.eval()
        with torch.no_grad():
            scores = torch.sigmoid(self.discriminator(self.projector(self.embed(images))))
        self.discriminator.train()
        patches = scores.reshape(len(images), 1, self.config.size // 8, -1)
        large = F.interpolate(patches, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return [gaussian_filter(anomaly_map, sigma=4) for anomaly_map in large.cpu().numpy()]


def ours(config: PBASConfig, raw: torch.Tensor, compute: Compute) -> dict[str, Callable[[], Any]]:
    """What our code does, by name."""
    torch.manual_seed(0)
    model = assemble(config, load_backbone(config.backbone, config.levels, "random"), compute)
    model.head.centre.normal_()
    with torch.inference_mode():
        features = model.features(raw).flatten(2).transpose(1, 2).flatten(0, 1)
    features = features.clone()
    optimizers = list(make_optimizers(model.head, config).values())

    def train():
        model.head.train()
        with compute.autocast():
            terms = losses(model.head, features, config)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        for optimizer in optimizers:
            optimizer.step()

    def score(images):
        model.head.eval()
        with torch.inference_mode(), compute.autocast():
            maps, _ = model(images)
        return maps.cpu()

    return {
        "embedding, once": lambda: model.features(raw),
        "training": train,
        "scoring": lambda: score(raw),
        "scoring one": lambda: score(raw[:1]),
    }


def theirs(config: PBASConfig, raw: torch.Tensor, compute: Compute) -> dict[str, Callable[[], Any]]:
    """What the authors' code does, by the same names."""
    path = ReferencePath(config, compute.device)
    images = ((raw / 255) - 0.45) / 0.226
    return {
        "training": lambda: path.train(images),
        "scoring": lambda: path.score(images),
        "scoring one": lambda: path.score(images[:1]),
    }


def measure(options: argparse.Namespace) -> Table:
    """Milliseconds per image: CPU time on a CPU, wall time on a GPU."""
    compute = choose_compute(options.device, options.precision)
    config = PBASConfig(size=options.size, backbone=options.backbone)
    raw = torch.randint(0, 256, (options.batch, 3, options.size, options.size), device=compute.device).float()
    runs = {("ours", name): run for name, run in ours(config, raw, compute).items()}
    runs |= {("reference", name): run for name, run in theirs(config, raw, compute).items()}
    if compute.device.type == "cpu":
        torch.set_num_threads(1)
        with one_thread():
            timings = take_turns({name: Variant(lambda _, run=run: run()) for name, run in runs.items()}, options.rounds)
        taken = {name: timing.median for name, timing in timings.items()}
    else:
        taken = {name: wall_clock(run, rounds=options.rounds) for name, run in runs.items()}
    rows = []
    for name in ("embedding, once", "training", "scoring", "scoring one"):
        images = 1 if name.endswith("one") else options.batch
        mine, other = taken["ours", name] / images, taken.get(("reference", name), 0) / images
        rows.append([name, other or None, mine, other / mine or None, 1000 / mine])
    columns = [Column(""), Column("reference path, ms", ("{:.1f}",)), Column("ours, ms", ("{:.1f}",))]
    return Table([*columns, Column("times faster", ("{:.1f}",)), Column("ours, images/s", ("{:,.1f}",))], rows)
