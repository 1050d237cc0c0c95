"""Training PBAS on cached features (paper, III-C to III-E)."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectors.caching import FeatureCache, batches
from detectors.data import TrainingData
from detectors.metrics import all_metrics
from detectors.pbas.config import PBASConfig
from detectors.pbas.losses import losses
from detectors.pbas.model import PBAS, Head, feature_side, initial_centre
from detectors.results import ScoredImage
from detectors.training import (
    Best,
    Options,
    Watch,
    limits_from,
    selection_score,
)
from synthgen.samples import Image, Mask
from synthgen.training.devices import Compute, memory_errors
from synthgen.training.folder import CHECKPOINT, MODEL, Board, RunFolder, below, board, pack_optimizer, unpack_optimizer
from synthgen.training.steps import Clock, DivergedError, check_finite, generator, order

_SELECTED_BY = ("image_auroc", "pixel_auroc", "pixel_ap")
_PEEKED_BY = ("image_auroc", "pixel_auroc")  # what the authors' code takes the best epoch of
_FEATURE_BATCH = 16

Peek = Callable[[PBAS], dict[str, float]]
"""Evaluates on the test split, for `test-best` alone; `detectors eval` does it otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An image that is evaluated again and again while training."""

    name: str
    label: int
    kind: str
    image: Image
    mask: Mask | None


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A category's features, computed once for all seeds.

    Attributes:
        train: of the training images: (K, E) rows.
        watched: of held-out images and of the anomalies made of them.
        images: what `watched` are of.
    """

    train: FeatureCache
    watched: FeatureCache
    images: tuple[Kept, ...]


@contextmanager
def embed(model: PBAS, data: TrainingData, compute: Compute, options: Options, folder: Path) -> Iterator[Embedded]:
    """Embed a category's images; what is kept in files is removed when the block is left."""
    config = model.config
    shape = (feature_side(config.levels[0], config.size) ** 2, config.embedding_length)
    kept = [_normal(data, one) for one in data.held_out] + [_anomaly(data, one) for one in data.anomalies]
    train = FeatureCache(len(data.normals), shape, compute.device, options.cache, folder)
    watched = FeatureCache(len(kept), shape, compute.device, options.cache, folder)
    try:
        with memory_errors("while embedding"):
            fill(train, model, (data.reading.fit(one.pixels) for one in data.normals), compute)
            fill(watched, model, (one.image for one in kept), compute)
        yield Embedded(train, watched, tuple(kept))
    finally:
        train.close()
        watched.close()


def fill(cache: FeatureCache, model: PBAS, images: Iterable[Image], compute: Compute) -> None:
    """Write the features of (S, S, 3) uint8 images."""
    with torch.inference_mode(), compute.autocast():
        for batch in batches((torch.from_numpy(image) for image in images), _FEATURE_BATCH):
            features = model.features(to_input(batch, compute))
            cache.append(features.flatten(2).transpose(1, 2).float())


def to_input(images: Tensor, compute: Compute) -> Tensor:
    """(B, S, S, 3) uint8 as the network takes it: (B, 3, S, S) float32 on the device, channels last in memory."""
    return images.to(compute.device, non_blocking=True).permute(0, 3, 1, 2).float()


def train(
    model: PBAS,
    embedded: Embedded,
    run: RunFolder,
    options: Options,
    watch: Watch = lambda epoch, epochs, measured: None,
    peek: Peek | None = None,
) -> None:
    """Train `model.head`, from the run's checkpoint where there is one, and write the run's model.

    Args:
        model: the detector; its head is initialised here.
        embedded: its training data.
        run: where to.
        options: how.
        watch: hears of every epoch.
        peek: measures the test split, if `options.selection` is `test-best`.

    Raises:
        DivergedError: a loss was no number; the checkpoint of the last good epoch is kept.
        StorageError: the folder cannot be written.
        UsageError: the device has too little memory.
    """
    with memory_errors("while training"), board(run.path, options.tensorboard) as events:
        _Training(model, embedded, run, options, peek).go(watch, events)


class _Training:
    """One training in the works."""

    def __init__(self, model: PBAS, embedded: Embedded, run: RunFolder, options: Options, peek: Peek | None) -> None:
        self.model, self.config, self.options, self.embedded, self.run, self.peek = (
            model,
            model.config,
            options,
            embedded,
            run,
            peek,
        )
        self.device = options.compute.device
        torch.manual_seed(options.seed)
        model.head = Head(self.config, len(model.head.centre)).to(self.device)
        self.optimizers = make_optimizers(model.head, self.config)
        self.best = Best()
        self.epoch = 0
        self.clock = Clock()

    def go(self, watch: Watch, events: Board) -> None:
        epochs = self.config.epochs
        if not self._resume():
            with torch.no_grad(), self.options.compute.autocast():
                first = order(len(self.embedded.train), self.options.seed, 0)
                features = (self.embedded.train[rows] for rows in torch.split(first, self.config.batch_size))
                self.model.head.centre.copy_(initial_centre(features, self.config, self.model.head.projector))
        self.run.cut_log(self.epoch + 1)
        saved = time.monotonic()
        good: dict[str, Tensor] = self._tensors() if self.epoch else {}
        step = torch.compile(losses) if self.options.compute.compile else losses
        while self.epoch < epochs:
            measured = self._epoch(self.epoch + 1, step)
            try:
                check_finite(measured, self.epoch + 1)
            except DivergedError:
                if self.epoch:
                    self.run.save(CHECKPOINT, good, self._facts())
                raise
            self.epoch += 1
            good = {name: value.detach().clone() for name, value in self._tensors().items()}
            if self.options.evaluates(self.epoch, epochs):
                measured |= self._evaluate()
            self.run.log({"epoch": self.epoch, "seconds": round(self.clock.seconds, 3)} | measured)
            for name, value in measured.items():
                events.add_scalar(name, value, self.epoch)
            watch(self.epoch, epochs, measured)
            if time.monotonic() - saved > self.options.checkpoint_seconds and self.epoch < epochs:
                self._save()
                saved = time.monotonic()
        self._finish()

    def _epoch(self, epoch: int, step: Callable[..., Any]) -> dict[str, float]:
        """One pass over the training images; the mean losses."""
        head, compute = self.model.head, self.options.compute
        head.train()
        noise = generator(self.options.seed, "noise", epoch, self.device) if self.config.synthesis == "noise" else None
        sums = torch.zeros(3, device=self.device)
        rows = torch.split(order(len(self.embedded.train), self.options.seed, epoch), self.config.batch_size)
        for some in rows:
            features = self.embedded.train[some].flatten(0, 1)
            with compute.autocast():
                terms = step(head, features, self.config, noise)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            terms.total.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            sums += torch.stack([terms.centre, terms.normal, terms.anomaly]).detach()
        means = (sums / len(rows)).tolist()
        return {"loss_centre": means[0], "loss_normal": means[1], "loss_anomaly": means[2]}

    def _evaluate(self) -> dict[str, float]:
        """Metrics on held-out images, and on the test split where it was asked for; keeps the best state."""
        measured, _ = all_metrics(score_watched(self.model, self.embedded, self.options.compute))
        state = self.model.head.state_dict()
        if self.options.selection == "val":
            self.best.offer(selection_score(measured, _SELECTED_BY), self.epoch, state)
        named = {f"val_{name}": value for name, value in measured.items()}
        if self.peek is not None:
            seen = self.peek(self.model)
            self.best.offer(selection_score(seen, _PEEKED_BY), self.epoch, state)
            named |= {f"test_{name}": value for name, value in seen.items()}
        return named

    def _tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        tensors = {f"head.{name}": value for name, value in self.model.head.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.state.items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= pack_optimizer(optimizer, f"optimizer{number}")
        return tensors

    def _facts(self) -> dict[str, Any]:
        best = [self.best.score, self.best.epoch] if self.best.epoch else None
        return {"epoch": self.epoch, "best": best, "seconds": self.clock.seconds}

    def _save(self) -> None:
        self.run.save(CHECKPOINT, self._tensors(), self._facts())

    def _resume(self) -> bool:
        """Go back to the checkpoint, if there is one."""
        loaded = self.run.load(CHECKPOINT)
        if loaded is None:
            return False
        tensors, state = loaded
        self.model.head.load_state_dict(below(tensors, "head."))
        for number, optimizer in enumerate(self.optimizers):
            unpack_optimizer(optimizer, f"optimizer{number}", tensors)
        if state["best"] is not None:
            kept = {name: value.to(self.device) for name, value in below(tensors, "best.").items()}
            self.best = Best(state["best"][0], state["best"][1], kept)
        self.epoch, self.clock = state["epoch"], Clock(state["seconds"])
        return True

    def _finish(self) -> None:
        """Take the selected state, choose thresholds, and write the model; the checkpoint is no longer needed."""
        chosen = self.epoch
        if self.best.epoch:
            self.model.head.load_state_dict(self.best.state)
            chosen = self.best.epoch
        scored = score_watched(self.model, self.embedded, self.options.compute)
        limits = limits_from([one for one in scored if one.label == 0])
        measured, missing = all_metrics(scored)
        facts = {"epoch": chosen, "seconds": round(self.clock.seconds, 3)}
        self.run.write("validation.json", {"metrics": measured, "missing": missing, **facts})
        state = {**facts, "limits": asdict(limits)}
        self.run.save(MODEL, self.model.head.state_dict(), state)
        (self.run.path / CHECKPOINT).unlink(missing_ok=True)


def score_watched(model: PBAS, embedded: Embedded, compute: Compute) -> list[ScoredImage]:
    """What the detector says about the held-out images and their anomalies."""
    side = feature_side(model.config.levels[0], model.config.size)
    model.head.eval()
    scored: list[ScoredImage] = []
    with torch.inference_mode(), compute.autocast():
        for start in range(0, len(embedded.watched), _FEATURE_BATCH):
            features = embedded.watched[slice(start, start + _FEATURE_BATCH)]
            patches = model.head(features.flatten(0, 1)).float().reshape(len(features), side, side)
            maps, scores = model.spread_out(patches)
            for k, (map_, score) in enumerate(zip(maps.cpu().numpy(), scores.tolist(), strict=True)):
                one = embedded.images[start + k]
                scored.append(ScoredImage(one.name, one.label, one.kind, score, map_.astype(np.float32), one.image, one.mask))
    return scored


def make_optimizers(head: Head, config: PBASConfig) -> list[torch.optim.Optimizer]:
    """Adam for the projector; Adam or AdamW for the discriminator, each with its decay."""
    decay = config.projector_decay + config.shared_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(head.projector.parameters(), config.projector_rate, weight_decay=decay, fused=True)
    ]
    if head.discriminator is not None:
        kind = torch.optim.AdamW if config.discriminator_optimizer == "adamw" else torch.optim.Adam
        optimizers.append(
            kind(
                head.discriminator.parameters(), config.discriminator_rate, weight_decay=config.discriminator_decay, fused=True
            )
        )
    return optimizers


def _normal(data: TrainingData, one: Any) -> Kept:
    image = data.reading.fit(one.pixels)
    return Kept(one.source, 0, "good", image, np.zeros(image.shape[:2], np.uint8))


def _anomaly(data: TrainingData, one: Any) -> Kept:
    return Kept(one.spec.sample_id, 1, one.spec.type, data.reading.fit(one.image), data.reading.fit_mask(one.mask))
