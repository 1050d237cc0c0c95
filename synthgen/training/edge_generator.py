"""Trains an edge-to-image generator on pairs of a picture and its edges (pix2pixHD; DeepSIM's warps; LogicAL, section 3.1)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
from synthgen.runs.devices import Compute
from synthgen.runs.folder import MODEL, Board, RunFolder, below
from synthgen.runs.pictures import to_pictures
from synthgen.runs.steps import generator, order
from synthgen.samples import Image
from synthgen.terminal.callbacks import OnProgress
from synthgen.training.edge_pairs import Pairs
from synthgen.training.loop import Schedule, run_training

SHEET = "samples.png"
_SHOWN, _CELL = 6, 192
_SHEETS = 20  # in all
_FEWEST = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratorTraining:
    """What a generator is trained on, and how.

    Attributes:
        pairs: what it learns.
        held_out: what it is measured on, at the end and for the sheets.
        card: what the model file will say, without what was measured.
        compute: device and precision.
        seed: of first weights, order and warps.
        perceptual: of `load_perceptual`.
    """

    pairs: Pairs
    held_out: Pairs
    card: ModelCard
    compute: Compute
    seed: int
    perceptual: Perceptual


def choose_perceptual(config: GeneratorConfig, vgg: Path | None, pidinet: Path | None) -> GeneratorConfig:
    """The settings with `auto` replaced by what there are weights for.

    Raises:
        UsageError: a loss was asked for whose weights are missing.
    """
    have = {"vgg": vgg is not None, "pidinet": pidinet is not None, "none": True}
    network = config.perceptual
    if network == "auto":
        return replace(config, perceptual=next(name for name, there in have.items() if there))
    if not have[network]:
        raise UsageError(f"perceptual={network} needs its weights: --weights {network}=PATH. perceptual=none does without.")
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
    training: GeneratorTraining, run: RunFolder, on_progress: OnProgress = lambda name, epoch, epochs, measured: None
) -> ModelCard:
    """Train a generator, from the run's checkpoint where there is one, and write the run's model.

    Args:
        training: what to train, and how.
        run: where to.
        on_progress: hears of every epoch.

    Returns:
        The finished card.

    Raises:
        DivergedError: a loss was no number; the checkpoint of the last good epoch is kept.
        UsageError: there are too few pictures, or the device has too little memory.
        StorageError: the folder cannot be written.
    """
    if (count := len(training.pairs)) < _FEWEST:
        raise UsageError(f"{count} pictures to learn from: at least {_FEWEST} are needed, and some dozens are better.")
    work = _GeneratorWork(training, run)
    schedule = Schedule(total=work.epochs, look_every=max(1, work.epochs // _SHEETS))
    run_training(work, run, schedule, lambda epoch, epochs, measured: on_progress(run.path.name, epoch, epochs, measured))
    return work.card


@dataclass(frozen=True, slots=True, eq=False)
class Adversaries:
    """The two networks that learn from each other, each with its optimizer."""

    network: Generator
    judge: PatchDiscriminator
    optimizer: torch.optim.Optimizer
    judge_optimizer: torch.optim.Optimizer


def train_step(both: Adversaries, perceptual: Perceptual, compute: Compute, condition: Tensor, real: Tensor) -> Tensor:
    """One step of the generator, then of the discriminator.

    Args:
        both: what is trained.
        perceptual: the loss beside those of the discriminator.
        compute: device and precision.
        condition: (B, 1, h, w) float32 edge maps in [-1, 1].
        real: (B, 3, h, w) float32 pictures in [-1, 1].

    Returns:
        (4,) float32: discriminator's, adversarial, matching and perceptual loss.
    """
    network, judge = both.network, both.judge
    with compute.autocast():
        fake = network(condition)
        known = judge(condition, real)
        judge.requires_grad_(False)
        made = judge(condition, fake)
        judge.requires_grad_(True)
    adversarial, matching = adversarial_loss(_float(made)), matching_loss(_float(made), _float(known))
    likeness = perceptual(fake, real)
    _descend(both.optimizer, adversarial + matching + likeness)
    with compute.autocast():
        made = judge(condition, fake.detach())
    judged = discriminator_loss(_float(known), _float(made))
    _descend(both.judge_optimizer, judged)
    return torch.stack([judged, adversarial, matching, likeness]).detach()


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _GeneratorWork:
    """One training in the works, see `synthgen.training.loop.Work`."""

    def __init__(self, training: GeneratorTraining, run: RunFolder) -> None:
        self.training, self.run, self.card = training, run, training.card
        self.pairs, self.compute, self.seed = training.pairs, training.compute, training.seed
        self.config = config = training.card.config
        self.layout = torch.channels_last if self.compute.device.type == "cuda" else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Generator(1, config.width, config.halvings, config.blocks)
            judge = PatchDiscriminator(4, config.judge_width, config.judge_layers, config.judge_scales)
        for part in (network, judge):
            part.to(self.compute.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        optimizers = [
            torch.optim.Adam(part.parameters(), config.learning_rate, (config.beta1, config.beta2), fused=True)
            for part in (network, judge)
        ]
        self.both = Adversaries(network, judge, *optimizers)
        self.optimizers = dict(zip(("generator", "judge"), optimizers, strict=True))
        self.epochs = config.epochs_of(len(self.pairs))
        self.step = 0

    def begin(self) -> None:
        pass

    def finish(self, done: int, seconds: float, events: Board) -> None:
        self.card = replace(self.card, measured=self.look(done, events))
        save_generator(self.run.path / MODEL, self.average, self.card)

    def advance(self, done: int, until: int) -> dict[str, float]:
        """One pass over the pictures; the mean losses."""
        epoch = until
        random = generator(self.seed, "warp", epoch)
        rows = torch.split(order(len(self.pairs), self.seed, epoch), self.config.batch_size)
        sums = torch.zeros(4, device=self.compute.device)
        for number, batch in enumerate(rows):
            progress = (epoch - 1 + number / len(rows)) / self.epochs
            for optimizer in self.optimizers.values():
                optimizer.param_groups[0]["lr"] = self.config.learning_rate * min(1.0, 2 * (1 - progress))
            sums += self._step(*self._augmented(batch.numpy(), random))
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
        losses = train_step(self.both, self.training.perceptual, self.compute, condition, real)
        self._average()
        return losses

    def _average(self) -> None:
        """The average forgets faster while it is young."""
        decay = min(self.config.averaging, (1 + self.step) / (10 + self.step))
        self.step += 1
        with torch.no_grad():
            for name, value in self.both.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    @torch.inference_mode()
    def look(self, done: int, events: Board) -> dict[str, float]:
        """How well the averaged generator draws held-out pictures; writes the sheet."""
        network = Generator(1, self.config.width, self.config.halvings, self.config.blocks)
        network.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        network.to(self.compute.device).eval()
        pairs = self.training.held_out
        drawn: list[Image] = []
        for start in range(0, len(pairs), 8):
            condition, _ = _tensors_of(pairs, np.arange(start, min(start + 8, len(pairs))))
            drawn += list(to_pictures(network(condition.to(self.compute.device))))
        sheet = _sheet(pairs, drawn)
        save_sheet(self.run.path / SHEET, sheet)
        events.add_image("held out: edges, generated, real", sheet, done, dataformats="HWC")
        return measure(drawn, pairs.pictures)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"generator.{name}": value for name, value in self.both.network.state_dict().items()}
        tensors |= {f"judge.{name}": value for name, value in self.both.judge.state_dict().items()}
        return tensors | {f"average.{name}": value for name, value in self.average.items()}

    def facts(self) -> dict[str, float]:
        return {"step": self.step}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
        self.both.network.load_state_dict(below(tensors, "generator."))
        self.both.judge.load_state_dict(below(tensors, "judge."))
        self.average = {name: value.to(self.compute.device) for name, value in below(tensors, "average.").items()}
        self.step = int(facts["step"])


def measure(drawn: Iterable[Image], real: Iterable[Image]) -> dict[str, float]:
    """Mean absolute difference (0..1) and mean structural similarity of generated to real (h, w, 3) uint8 pictures."""
    l1, ssim = [], []
    for picture, original in zip(drawn, real, strict=True):
        l1.append(float(np.abs(picture.astype(np.float32) - original).mean()) / 255)
        ssim.append(1 - float(structural_difference(picture, original).mean()))
    return {"l1": round(float(np.mean(l1)), 5), "ssim": round(float(np.mean(ssim)), 5)}


def _tensors_of(pairs: Pairs, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Conditions (B, 1, h, w) and pictures (B, 3, h, w), float32 in [-1, 1]."""
    conditions = to_condition(torch.from_numpy(pairs.edges[rows]).float() / 255)
    return conditions, torch.from_numpy(pairs.pictures[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1


def _float(judged: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[layer.float() for layer in scale] for scale in judged]


def _sheet(pairs: Pairs, drawn: list[Image]) -> Image:
    """Edges, generated and real pictures, a row of each, at least `_CELL` pixels large."""
    rows = []
    times = max(1, _CELL // min(pairs.edges.shape[1:]))
    shown = list(zip(pairs.edges, drawn, pairs.pictures, strict=True))[:_SHOWN]
    for title, row in zip(("edges", "generated", "real"), zip(*shown, strict=True), strict=True):
        cells = [np.repeat(cell[..., None], 3, 2) if cell.ndim == 2 else cell for cell in row]
        picture = PillowImage.fromarray(np.concatenate(cells, 1).repeat(times, 0).repeat(times, 1))
        ImageDraw.Draw(picture).text((4, 2), title, (255, 40, 60), ImageFont.load_default(13))
        rows.append(np.asarray(picture))
    return np.concatenate(rows)
