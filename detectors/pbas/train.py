"""Training PBAS on cached features (paper, III-C to III-E)."""

from collections.abc import Callable

import torch
from torch import Tensor

from detectors.contract import MeasureTest, TrainingOptions
from detectors.data.held_out import scored
from detectors.pbas.config import PBASConfig
from detectors.pbas.data import FEATURE_BATCH, Embedded
from detectors.pbas.losses import Losses, losses
from detectors.pbas.model import PBAS, Head, feature_side, initial_centre
from detectors.results import ScoredImage
from detectors.training.loop import EpochTraining, train_epochs
from synthgen.runs.devices import Compute
from synthgen.runs.folder import RunFolder
from synthgen.runs.steps import generator, order
from synthgen.training.loop import OnUnit

Step = Callable[[Head, Tensor, PBASConfig, torch.Generator | None], Losses]


def train(
    model: PBAS,
    embedded: Embedded,
    run: RunFolder,
    options: TrainingOptions,
    on_epoch: OnUnit = lambda epoch, epochs, measured: None,
    measure_test: MeasureTest | None = None,
) -> None:
    """Train `model.head`, which is initialised here; see `train_epochs`."""
    torch.manual_seed(options.seed)
    head = model.head = Head(model.config, len(model.head.centre)).to(options.compute.device)
    optimizers = make_optimizers(head, model.config)
    step: Step = torch.compile(losses) if options.compute.compile else losses
    training = EpochTraining(
        begin=lambda: set_centre(model, embedded, options),
        train_epoch=lambda epoch: train_epoch(model, embedded, options, optimizers, step, epoch),
        scored=lambda: score_held_out(model, embedded, options.compute),
        state=head.state_dict,
        load_state=head.load_state_dict,
        optimizers=optimizers,
    )
    train_epochs(training, model.config.epochs, run, options, on_epoch, measure_test)


def set_centre(model: PBAS, embedded: Embedded, options: TrainingOptions) -> None:
    """The centre of the projected normal features, before anything is trained."""
    with torch.no_grad(), options.compute.autocast():
        rows = torch.split(order(len(embedded.normals), options.seed, 0), model.config.batch_size)
        features = (embedded.normals[batch] for batch in rows)
        model.head.centre.copy_(initial_centre(features, model.config, model.head.projector))


def train_epoch(
    model: PBAS,
    embedded: Embedded,
    options: TrainingOptions,
    optimizers: dict[str, torch.optim.Optimizer],
    step: Step,
    epoch: int,
) -> dict[str, float]:
    """One pass over the training images; the mean losses."""
    head, config, device = model.head, model.config, options.compute.device
    head.train()
    noise = generator(options.seed, "noise", epoch, device) if config.synthesis == "noise" else None
    sums = torch.zeros(3, device=device)
    rows = torch.split(order(len(embedded.normals), options.seed, epoch), config.batch_size)
    for batch in rows:
        features = embedded.normals[batch].flatten(0, 1)
        with options.compute.autocast():
            terms = step(head, features, config, noise)
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers.values():
            optimizer.step()
        sums += torch.stack([terms.centre, terms.normal, terms.anomaly]).detach()
    means = (sums / len(rows)).tolist()
    return {"loss_centre": means[0], "loss_normal": means[1], "loss_anomaly": means[2]}


def score_held_out(model: PBAS, embedded: Embedded, compute: Compute) -> list[ScoredImage]:
    """What the detector says about the held-out images and their anomalies."""
    side = feature_side(model.config.levels[0], model.config.size)
    model.head.eval()
    images: list[ScoredImage] = []
    with torch.inference_mode(), compute.autocast():
        for start in range(0, len(embedded.held_out), FEATURE_BATCH):
            batch = slice(start, start + FEATURE_BATCH)
            features = embedded.held_out[batch]
            patches = model.head(features.flatten(0, 1)).float().reshape(len(features), side, side)
            maps, scores = model.spread_out(patches)
            images += scored(embedded.images[batch], maps.cpu().numpy(), scores.tolist())
    return images


def make_optimizers(head: Head, config: PBASConfig) -> dict[str, torch.optim.Optimizer]:
    """Adam for the projector; Adam or AdamW for the discriminator, each with its decay."""
    decay = config.projector_decay + config.shared_decay
    optimizers: dict[str, torch.optim.Optimizer] = {
        "projector": torch.optim.Adam(
            head.projector.parameters(), config.projector_learning_rate, weight_decay=decay, fused=True
        )
    }
    if head.discriminator is not None:
        kind = torch.optim.AdamW if config.discriminator_optimizer == "adamw" else torch.optim.Adam
        optimizers["discriminator"] = kind(
            head.discriminator.parameters(),
            config.discriminator_learning_rate,
            weight_decay=config.discriminator_decay,
            fused=True,
        )
    return optimizers
