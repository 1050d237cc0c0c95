"""Training LogicAL's localizer (LogicAL, section 3.2): both sub-networks at once, end to end."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from detectors.data.held_out import scored
from detectors.inference.scoring import score_pixels
from detectors.logical.augmentation import augmented
from detectors.logical.config import LogicalConfig
from detectors.logical.data import Batch, Prepared, batches
from detectors.logical.losses import NAMES, Terms, Wanted, losses
from detectors.logical.model import LogicAL
from detectors.results import ScoredImage
from detectors.training.loop import Peek, train_epochs
from detectors.training.options import Options, Watch
from synthgen.runs.devices import Compute
from synthgen.runs.folder import RunFolder, below, pack_optimizer, unpack_optimizer
from synthgen.runs.steps import generator

_SLOWER = (0.8, 0.9)  # shares of the epochs after which the rate falls


def train(
    model: LogicAL,
    prepared: Prepared,
    run: RunFolder,
    options: Options,
    watch: Watch = lambda epoch, epochs, measured: None,
    peek: Peek | None = None,
) -> None:
    """Train `model`, which is initialised here; see `train_epochs`."""
    train_epochs(_Training(model, prepared, options), model.config.epochs, run, options, watch, peek)


def train_step(model: LogicAL, optimizer: torch.optim.Optimizer, inputs: Tensor, wanted: Wanted, compute: Compute) -> Terms:
    """One step.

    Args:
        model: what is trained.
        optimizer: of its parameters.
        inputs: (B, 3, H, W) float32 RGB, 0 to 1, on the device.
        wanted: what should come of them.
        compute: precision.
    """
    with compute.autocast():
        made, logits = model.both(inputs)
    terms = losses(made, logits, wanted, model.config)
    optimizer.zero_grad(set_to_none=True)
    terms.total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return terms


def learning_rate_at(config: LogicalConfig, epoch: int) -> float:
    """The learning rate of an epoch, counted from 1."""
    return config.learning_rate * config.decay ** sum(epoch > share * config.epochs for share in _SLOWER)


class _Training:
    """One training in the works, see `detectors.training.loop.Work`."""

    def __init__(self, model: LogicAL, data: Prepared, options: Options) -> None:
        self.model, self.config, self.data, self.options = model, model.config, data, options
        self.device = options.compute.device
        torch.manual_seed(options.seed)
        model.load_state_dict(LogicAL(self.config).state_dict())
        self.optimizer = torch.optim.Adam(model.parameters(), self.config.learning_rate, fused=True)
        if options.compute.compile:
            model.compile()

    def begin(self) -> None:
        pass

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; the mean losses."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, epoch)
        random = generator(self.options.seed, "augmentation", epoch)
        sums, count = torch.zeros(len(NAMES), device=self.device), 0
        for batch in _ahead(batches(self.data, self.config, self.options.seed, epoch)):
            inputs, wanted = augmented(*self._tensors_of(batch), self.config, random)
            sums += train_step(self.model, self.optimizer, inputs, wanted, self.options.compute).parted()
            count += 1
        return dict(zip(NAMES, (sums / count).tolist(), strict=True))

    def _tensors_of(self, batch: Batch) -> tuple[Tensor, Wanted]:
        """A batch as the networks take it, on the device."""
        rows = batch.rows.numpy()
        images, jnd, edges = (
            torch.from_numpy(np.ascontiguousarray(one[rows])) for one in (self.data.normals, self.data.jnd, self.data.edges)
        )
        wanted = Wanted(
            self._scaled(images.permute(0, 3, 1, 2)), self._scaled(jnd[:, None]), self._scaled(edges[:, None]),
            batch.masks.to(self.device, non_blocking=True) > 0,
        )  # fmt: skip
        inputs = self._scaled(batch.inputs.permute(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
        return inputs, wanted

    def _scaled(self, values: Tensor) -> Tensor:
        """uint8 as float32 0 to 1 on the device."""
        return values.to(self.device, non_blocking=True).float() / 255

    def scored(self) -> list[ScoredImage]:
        _, maps, scores = zip(
            *score_pixels(self.model, (one.image for one in self.data.images), self.options.compute), strict=True
        )
        return scored(self.data.images, maps, scores)

    def tensors(self) -> dict[str, Tensor]:
        model = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return model | pack_optimizer(self.optimizer, "optimizer")

    def facts(self) -> dict[str, Any]:
        return {}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.model.load_state_dict(below(tensors, "model."))
        unpack_optimizer(self.optimizer, "optimizer", tensors)

    def selectable(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def select(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)

    def state_of_run(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def finish(self, run: RunFolder) -> None:
        pass


T = TypeVar("T")


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made while one is worked with."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
