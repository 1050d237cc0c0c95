"""Trains an edge-to-image generator on pairs of a picture and its edges (pix2pixHD; DeepSIM's warps; LogicAL, section 3.1)."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from synthgen.edges.config import GeneratorConfig
from synthgen.edges.generator import Generator, PatchDiscriminator
from synthgen.edges.losses import (
    EdgeLoss,
    Perceptual,
    VggLoss,
    adversarial_loss,
    discriminator_loss,
    matching_loss,
    pixel_loss,
)
from synthgen.edges.model import ModelCard, save_generator, to_condition
from synthgen.edges.truth import structural_difference
from synthgen.edges.warping import warp, warp_grid
from synthgen.errors import UsageError
from synthgen.report.sheet import save_sheet
from synthgen.runs.devices import Compute, memory_errors
from synthgen.runs.folder import CHECKPOINT, MODEL, Board, RunFolder, below, board, pack_optimizer, unpack_optimizer
from synthgen.runs.pictures import to_pictures
from synthgen.runs.steps import Clock, DivergedError, check_finite, generator, order
from synthgen.samples import Image
from synthgen.terminal.training import Interrupted
from synthgen.training.edge_pairs import Pairs

SHEET = "samples.png"
_SHOWN, _CELL = 6, 192
_SHEETS = 20  # in all
_CHECKPOINT_SECONDS = 60.0
_FEWEST = 2

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Called after each epoch with the run's name, the epoch from 1, their count, and what was measured."""


def choose_perceptual(config: GeneratorConfig, vgg: Path | None, pidinet: Path | None) -> GeneratorConfig:
    """The settings with `auto` replaced by what there are weights for.

    Raises:
        UsageError: a loss was asked for whose weights are missing.
    """
    have = {"vgg": vgg is not None, "pidinet": pidinet is not None, "none": True}
    wanted = config.perceptual
    if wanted == "auto":
        return replace(config, perceptual=next(name for name, there in have.items() if there))
    if not have[wanted]:
        raise UsageError(f"perceptual={wanted} needs its weights: --weights {wanted}=PATH. perceptual=none does without.")
    return config


def load_perceptual(config: GeneratorConfig, weights: dict[str, Path], device: torch.device) -> Perceptual:
    """The loss that the settings name (no longer `auto`), with the weights of its network, by name (`vgg`, `pidinet`).

    Raises:
        InputDataError, IntegrityError: the weights are missing or not what they should be.
    """
    if config.perceptual == "none":
        return pixel_loss
    return (VggLoss if config.perceptual == "vgg" else EdgeLoss)(weights[config.perceptual], device)


def train_generator(
    training: Pairs,
    held_out: Pairs,
    card: ModelCard,
    run: RunFolder,
    compute: Compute,
    seed: int,
    perceptual: Perceptual,
    watch: Watch = lambda name, epoch, epochs, measured: None,
) -> ModelCard:
    """Train a generator, from the run's checkpoint where there is one, and write the run's model.

    Args:
        training: what it learns.
        held_out: what it is measured on, at the end and for the sheets.
        card: what the model file will say, without what was measured.
        run: where to.
        compute: device and precision.
        seed: of first weights, order and warps.
        perceptual: of `load_perceptual`.
        watch: hears of every epoch.

    Returns:
        The finished card.

    Raises:
        DivergedError: a loss was no number; the checkpoint of the last good epoch is kept.
        UsageError: there are too few pictures, or the device has too little memory.
        StorageError: the folder cannot be written.
    """
    if len(training) < _FEWEST:
        raise UsageError(f"{len(training)} pictures to learn from: at least {_FEWEST} are needed, and some dozens are better.")
    with memory_errors("while training", "give --set batch_size or --size a smaller value"), board(run.path) as events:
        return _Training(training, held_out, card, run, compute, seed, perceptual).go(watch, events)


def train_step(
    network: Generator,
    judge: PatchDiscriminator,
    optimizers: Sequence[torch.optim.Optimizer],
    perceptual: Perceptual,
    compute: Compute,
    condition: Tensor,
    real: Tensor,
) -> Tensor:
    """One step of the generator, then of the discriminator.

    Args:
        network: the generator.
        judge: the discriminator.
        optimizers: of the generator and of the discriminator.
        perceptual: the loss beside those of the discriminator.
        compute: device and precision.
        condition: (B, 1, h, w) float32 edge maps in [-1, 1].
        real: (B, 3, h, w) float32 pictures in [-1, 1].

    Returns:
        (4,) float32: discriminator's, adversarial, matching and perceptual loss.
    """
    with compute.autocast():
        fake = network(condition)
        known = judge(condition, real)
        judge.requires_grad_(False)
        made = judge(condition, fake)
        judge.requires_grad_(True)
    adversarial, matching = adversarial_loss(_float(made)), matching_loss(_float(made), _float(known))
    likeness = perceptual(fake, real)
    _descend(optimizers[0], adversarial + matching + likeness)
    with compute.autocast():
        made = judge(condition, fake.detach())
    judged = discriminator_loss(_float(known), _float(made))
    _descend(optimizers[1], judged)
    return torch.stack([judged, adversarial, matching, likeness]).detach()


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _Training:
    """One training in the works."""

    def __init__(
        self, training: Pairs, held_out: Pairs, card: ModelCard, run: RunFolder, compute: Compute, seed: int,
        perceptual: Perceptual,
    ) -> None:  # fmt: skip
        self.pairs, self.held_out, self.card, self.run, self.compute, self.seed = training, held_out, card, run, compute, seed
        self.config = config = card.config
        self.layout = torch.channels_last if compute.device.type == "cuda" else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Generator(1, config.width, config.halvings, config.blocks)
            judge = PatchDiscriminator(4, config.judge_width, config.judge_layers, config.judge_scales)
        for one in (network, judge):
            one.to(compute.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.network, self.judge = network, judge
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizers = [
            torch.optim.Adam(one.parameters(), config.learning_rate, (config.beta1, config.beta2), fused=True)
            for one in (self.network, self.judge)
        ]
        self.perceptual = perceptual
        self.epochs = config.epochs_of(len(training))
        self.epoch = self.step = 0
        self.clock = Clock()

    def go(self, watch: Watch, events: Board) -> ModelCard:
        self._resume()
        self.run.cut_log(self.epoch + 1)
        saved, good = time.monotonic(), (self._tensors(copied=True), self._facts())
        try:
            while self.epoch < self.epochs:
                measured = self._epoch(self.epoch + 1)
                check_finite(measured, self.epoch + 1)
                self.epoch += 1
                good = self._tensors(copied=True), self._facts()
                if self.epoch % max(1, self.epochs // _SHEETS) == 0 and self.epoch < self.epochs:
                    measured |= self._look(events)
                self.run.log({"epoch": self.epoch, "seconds": round(self.clock.seconds, 3)} | measured)
                for name, value in measured.items():
                    events.add_scalar(name, value, self.epoch)
                if time.monotonic() - saved > _CHECKPOINT_SECONDS and self.epoch < self.epochs:
                    self.run.save(CHECKPOINT, *good)
                    saved = time.monotonic()
                watch(self.run.path.name, self.epoch, self.epochs, measured)
        except (DivergedError, Interrupted):
            if good[1]["epoch"]:
                self.run.save(CHECKPOINT, *good)
            raise
        card = replace(self.card, measured=self._look(events))
        save_generator(self.run.path / MODEL, self.average, card)
        (self.run.path / CHECKPOINT).unlink(missing_ok=True)
        return card

    def _epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the pictures; the mean losses."""
        random = generator(self.seed, "warp", epoch)
        rows = torch.split(order(len(self.pairs), self.seed, epoch), self.config.batch_size)
        sums = torch.zeros(4, device=self.compute.device)
        for number, some in enumerate(rows):
            progress = (epoch - 1 + number / len(rows)) / self.epochs
            for optimizer in self.optimizers:
                optimizer.param_groups[0]["lr"] = self.config.learning_rate * min(1.0, 2 * (1 - progress))
            sums += self._step(*self._augmented(some.numpy(), random))
        means = (sums / len(rows)).tolist()
        return dict(zip(("loss_judge", "loss_adversarial", "loss_matching", "loss_perceptual"), means, strict=True))

    def _augmented(self, rows: NDArray[np.int64], random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs, warped and mirrored together."""
        condition, real = _tensors_of(self.pairs, rows)
        grid = warp_grid(len(rows), self.config.size, self.config.warp_amount, random, self.config.warp_share)
        mirrored = torch.rand(len(rows), generator=random) < self.config.flip
        grid[mirrored, ..., 0] *= -1
        both = torch.cat([condition, real], 1).to(self.compute.device, non_blocking=True)
        both = warp(both, grid).contiguous(memory_format=self.layout)
        return both[:, :1], both[:, 1:]

    def _step(self, condition: Tensor, real: Tensor) -> Tensor:
        """One step of both networks, and of the average; their losses."""
        losses = train_step(self.network, self.judge, self.optimizers, self.perceptual, self.compute, condition, real)
        self._average()
        return losses

    def _average(self) -> None:
        """The average forgets faster while it is young."""
        decay = min(self.config.averaging, (1 + self.step) / (10 + self.step))
        self.step += 1
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    @torch.inference_mode()
    def _look(self, events: Board) -> dict[str, float]:
        """How well the averaged generator draws held-out pictures; writes the sheet."""
        network = Generator(1, self.config.width, self.config.halvings, self.config.blocks)
        network.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        network.to(self.compute.device).eval()
        pairs = self.held_out
        drawn: list[Image] = []
        for start in range(0, len(pairs), 8):
            condition, _ = _tensors_of(pairs, np.arange(start, min(start + 8, len(pairs))))
            drawn += list(to_pictures(network(condition.to(self.compute.device))))
        sheet = _sheet(pairs, drawn)
        save_sheet(self.run.path / SHEET, sheet)
        events.add_image("held out: edges, generated, real", sheet, self.epoch, dataformats="HWC")
        return measure(drawn, pairs.pictures)

    def _tensors(self, copied: bool = False) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        tensors = {f"generator.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"judge.{name}": value for name, value in self.judge.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= pack_optimizer(optimizer, f"optimizer{number}")
        return {name: value.detach().clone() for name, value in tensors.items()} if copied else tensors

    def _facts(self) -> dict[str, float]:
        return {"epoch": self.epoch, "step": self.step, "seconds": self.clock.seconds}

    def _resume(self) -> None:
        """Go back to the checkpoint, if there is one."""
        loaded = self.run.load(CHECKPOINT)
        if loaded is None:
            return
        tensors, facts = loaded
        self.network.load_state_dict(below(tensors, "generator."))
        self.judge.load_state_dict(below(tensors, "judge."))
        self.average = {name: value.to(self.compute.device) for name, value in below(tensors, "average.").items()}
        for number, optimizer in enumerate(self.optimizers):
            unpack_optimizer(optimizer, f"optimizer{number}", tensors)
        self.epoch, self.step, self.clock = facts["epoch"], facts["step"], Clock(facts["seconds"])


def measure(drawn: Iterable[Image], real: Iterable[Image]) -> dict[str, float]:
    """Mean absolute difference (0..1) and mean structural similarity of generated to real (h, w, 3) uint8 pictures."""
    l1, ssim = [], []
    for one, other in zip(drawn, real, strict=True):
        l1.append(float(np.abs(one.astype(np.float32) - other).mean()) / 255)
        ssim.append(1 - float(structural_difference(one, other).mean()))
    return {"l1": round(float(np.mean(l1)), 5), "ssim": round(float(np.mean(ssim)), 5)}


def _tensors_of(pairs: Pairs, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Conditions (B, 1, h, w) and pictures (B, 3, h, w), float32 in [-1, 1]."""
    conditions = to_condition(torch.from_numpy(pairs.edges[rows]).float() / 255)
    return conditions, torch.from_numpy(pairs.pictures[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1


def _float(judged: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[one.float() for one in scale] for scale in judged]


def _sheet(pairs: Pairs, drawn: list[Image]) -> Image:
    """Edges, generated and real pictures, a row of each, at least `_CELL` pixels large."""
    rows = []
    times = max(1, _CELL // min(pairs.edges.shape[1:]))
    shown = list(zip(pairs.edges, drawn, pairs.pictures, strict=True))[:_SHOWN]
    for title, row in zip(("edges", "generated", "real"), zip(*shown, strict=True), strict=True):
        cells = [np.repeat(one[..., None], 3, 2) if one.ndim == 2 else one for one in row]
        picture = PillowImage.fromarray(np.concatenate(cells, 1).repeat(times, 0).repeat(times, 1))
        ImageDraw.Draw(picture).text((4, 2), title, (255, 40, 60), ImageFont.load_default(13))
        rows.append(np.asarray(picture))
    return np.concatenate(rows)
