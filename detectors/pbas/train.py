"""Training PBAS on cached features (paper, III-C to III-E)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectors.data.feature_cache import FeatureCache, batches
from detectors.data.held_out import HeldOutImage, held_out, scored
from detectors.data.training_data import TrainingData
from detectors.pbas.config import PBASConfig
from detectors.pbas.losses import losses
from detectors.pbas.model import PBAS, Head, feature_side, initial_centre
from detectors.results import ScoredImage
from detectors.training.loop import Peek, train_epochs
from detectors.training.options import Options, Watch
from synthgen.runs.devices import Compute, memory_errors
from synthgen.runs.folder import RunFolder, below, pack_optimizer, unpack_optimizer
from synthgen.runs.steps import generator, order
from synthgen.samples import Image

_FEATURE_BATCH = 16


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
    images: tuple[HeldOutImage, ...]


@contextmanager
def embed(model: PBAS, data: TrainingData, compute: Compute, options: Options, folder: Path) -> Iterator[Embedded]:
    """Embed a category's images; what is kept in files is removed when the block is left."""
    config = model.config
    shape = (feature_side(config.levels[0], config.size) ** 2, config.embedding_length)
    kept = held_out(data)
    train = FeatureCache(len(data.normals), shape, compute.device, options.cache, folder)
    watched = FeatureCache(len(kept), shape, compute.device, options.cache, folder)
    try:
        with memory_errors("while embedding"):
            fill(train, model, (data.preprocessing.fit(one.pixels) for one in data.normals), compute)
            fill(watched, model, (one.image for one in kept), compute)
        yield Embedded(train, watched, kept)
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
    """Train `model.head`, which is initialised here; see `train_epochs`."""
    train_epochs(_Training(model, embedded, options), model.config.epochs, run, options, watch, peek)


class _Training:
    """One training in the works, see `detectors.training.loop.Work`."""

    def __init__(self, model: PBAS, embedded: Embedded, options: Options) -> None:
        self.model, self.config, self.options, self.embedded = model, model.config, options, embedded
        self.device = options.compute.device
        torch.manual_seed(options.seed)
        model.head = Head(self.config, len(model.head.centre)).to(self.device)
        self.optimizers = make_optimizers(model.head, self.config)
        self.step: Callable[..., Any] = torch.compile(losses) if options.compute.compile else losses

    def begin(self) -> None:
        with torch.no_grad(), self.options.compute.autocast():
            first = order(len(self.embedded.train), self.options.seed, 0)
            features = (self.embedded.train[rows] for rows in torch.split(first, self.config.batch_size))
            self.model.head.centre.copy_(initial_centre(features, self.config, self.model.head.projector))

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; the mean losses."""
        head, compute = self.model.head, self.options.compute
        head.train()
        noise = generator(self.options.seed, "noise", epoch, self.device) if self.config.synthesis == "noise" else None
        sums = torch.zeros(3, device=self.device)
        rows = torch.split(order(len(self.embedded.train), self.options.seed, epoch), self.config.batch_size)
        for some in rows:
            features = self.embedded.train[some].flatten(0, 1)
            with compute.autocast():
                terms = self.step(head, features, self.config, noise)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            terms.total.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            sums += torch.stack([terms.centre, terms.normal, terms.anomaly]).detach()
        means = (sums / len(rows)).tolist()
        return {"loss_centre": means[0], "loss_normal": means[1], "loss_anomaly": means[2]}

    def scored(self) -> list[ScoredImage]:
        return score_watched(self.model, self.embedded, self.options.compute)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"head.{name}": value for name, value in self.model.head.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= pack_optimizer(optimizer, f"optimizer{number}")
        return tensors

    def facts(self) -> dict[str, Any]:
        return {}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.model.head.load_state_dict(below(tensors, "head."))
        for number, optimizer in enumerate(self.optimizers):
            unpack_optimizer(optimizer, f"optimizer{number}", tensors)

    def selectable(self) -> dict[str, Tensor]:
        return self.model.head.state_dict()

    def select(self, state: dict[str, Tensor]) -> None:
        self.model.head.load_state_dict(state)

    def state_of_run(self) -> dict[str, Tensor]:
        return self.model.head.state_dict()

    def finish(self, run: RunFolder) -> None:
        pass


def score_watched(model: PBAS, embedded: Embedded, compute: Compute) -> list[ScoredImage]:
    """What the detector says about the held-out images and their anomalies."""
    side = feature_side(model.config.levels[0], model.config.size)
    model.head.eval()
    every: list[ScoredImage] = []
    with torch.inference_mode(), compute.autocast():
        for start in range(0, len(embedded.watched), _FEATURE_BATCH):
            some = slice(start, start + _FEATURE_BATCH)
            features = embedded.watched[some]
            patches = model.head(features.flatten(0, 1)).float().reshape(len(features), side, side)
            maps, scores = model.spread_out(patches)
            every += scored(embedded.images[some], maps.cpu().numpy(), scores.tolist())
    return every


def make_optimizers(head: Head, config: PBASConfig) -> list[torch.optim.Optimizer]:
    """Adam for the projector; Adam or AdamW for the discriminator, each with its decay."""
    decay = config.projector_decay + config.shared_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(head.projector.parameters(), config.projector_learning_rate, weight_decay=decay, fused=True)
    ]
    if head.discriminator is not None:
        kind = torch.optim.AdamW if config.discriminator_optimizer == "adamw" else torch.optim.Adam
        optimizers.append(
            kind(
                head.discriminator.parameters(),
                config.discriminator_learning_rate,
                weight_decay=config.discriminator_decay,
                fused=True,
            )
        )
    return optimizers
