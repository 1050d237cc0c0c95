"""Training LogicAL's localizer (LogicAL, section 3.2): both sub-networks at once, end to end."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from detectors.contract import MeasureTest, TrainingOptions
from detectors.data.held_out import scored
from detectors.inference.scoring import score_pixels
from detectors.logical.augmentation import augmented
from detectors.logical.config import LogicalConfig
from detectors.logical.data import LogicalData, StepImages, batches
from detectors.logical.losses import NAMES, Targets, Terms, losses
from detectors.logical.model import LogicAL
from detectors.results import ScoredImage
from detectors.training.loop import EpochTraining, train_epochs
from synthgen.runs.devices import Compute
from synthgen.runs.folder import RunFolder
from synthgen.runs.steps import generator
from synthgen.training.loop import OnUnit

_SLOWER = (0.8, 0.9)  # shares of the epochs after which the learning rate falls


def train(
    model: LogicAL,
    data: LogicalData,
    run: RunFolder,
    options: TrainingOptions,
    on_epoch: OnUnit = lambda epoch, epochs, measured: None,
    measure_test: MeasureTest | None = None,
) -> None:
    """Train `model`, which is initialised here; see `train_epochs`."""
    torch.manual_seed(options.seed)
    model.load_state_dict(LogicAL(model.config).state_dict())
    optimizer = torch.optim.Adam(model.parameters(), model.config.learning_rate, fused=True)
    if options.compute.compile:
        model.compile()
    training = EpochTraining(
        train_epoch=lambda epoch: train_epoch(model, data, options, optimizer, epoch),
        scored=lambda: score_held_out(model, data, options.compute),
        state=model.state_dict,
        load_state=model.load_state_dict,
        optimizers={"localizer": optimizer},
    )
    train_epochs(training, model.config.epochs, run, options, on_epoch, measure_test)


def train_epoch(
    model: LogicAL, data: LogicalData, options: TrainingOptions, optimizer: torch.optim.Optimizer, epoch: int
) -> dict[str, float]:
    """One pass over the training images; the mean losses."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(model.config, epoch)
    random = generator(options.seed, "augmentation", epoch)
    sums, count = torch.zeros(len(NAMES), device=options.compute.device), 0
    for batch in _ahead(batches(data, model.config, options.seed, epoch)):
        inputs, targets = augmented(*tensors_of(batch, data, options.compute.device), model.config, random)
        sums += train_step(model, optimizer, inputs, targets, options.compute).parted()
        count += 1
    return dict(zip(NAMES, (sums / count).tolist(), strict=True))


def train_step(model: LogicAL, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Targets, compute: Compute) -> Terms:
    """One step.

    Args:
        model: what is trained.
        optimizer: of its parameters.
        inputs: (B, 3, H, W) float32 RGB, 0 to 1, on the device.
        targets: what should come of them.
        compute: precision.
    """
    with compute.autocast():
        made, logits = model.both(inputs)
    terms = losses(made, logits, targets, model.config)
    optimizer.zero_grad(set_to_none=True)
    terms.total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return terms


def learning_rate_at(config: LogicalConfig, epoch: int) -> float:
    """The learning rate of an epoch, counted from 1."""
    return config.learning_rate * config.decay ** sum(epoch > share * config.epochs for share in _SLOWER)


def tensors_of(batch: StepImages, data: LogicalData, device: torch.device) -> tuple[Tensor, Targets]:
    """A batch as the networks take it, on the device."""

    def scaled(values: Tensor) -> Tensor:
        return values.to(device, non_blocking=True).float() / 255

    rows = batch.rows.numpy()
    images, jnd, edges = (
        torch.from_numpy(np.ascontiguousarray(planes[rows])) for planes in (data.normals, data.jnd, data.edges)
    )
    targets = Targets(
        scaled(images.permute(0, 3, 1, 2)), scaled(jnd[:, None]), scaled(edges[:, None]),
        batch.masks.to(device, non_blocking=True) > 0,
    )  # fmt: skip
    return scaled(batch.inputs.permute(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last), targets


def score_held_out(model: LogicAL, data: LogicalData, compute: Compute) -> list[ScoredImage]:
    """What the detector says about the held-out images and their anomalies."""
    _, maps, scores = zip(*score_pixels(model, (image.image for image in data.images), compute), strict=True)
    return scored(data.images, maps, scores)


T = TypeVar("T")


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made while one is worked with."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
