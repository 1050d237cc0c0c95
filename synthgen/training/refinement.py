"""Trains npcF and npcF++ on stage A samples (MaPhC2F, Algorithms 6 and 7), on one device or several."""

import contextlib
import math
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException
from torch.utils.data import DataLoader

from synthgen.errors import InputDataError, StorageError, SynthgenError, UsageError
from synthgen.refine.batches import Crops, RefinementBatch, cuts, to_batch, together
from synthgen.refine.config import NPCFPP, NpcfConfig, TrainingConfig
from synthgen.refine.features import load_features
from synthgen.refine.losses import Features, npcf_terms, npcfpp_terms
from synthgen.refine.model import Refinement, RefinementCard, load_refinement, save_refinement
from synthgen.refine.npcf import Npcf
from synthgen.refine.stages import coarse, fine, make_network
from synthgen.report.sheet import save_sheet
from synthgen.report.stages import stages_sheet
from synthgen.runs.devices import Compute
from synthgen.runs.folder import MODEL, Board, RunFolder, below
from synthgen.runs.pictures import to_pictures
from synthgen.runs.steps import DivergedError, check_finite
from synthgen.samples import Image, Sample
from synthgen.terminal.callbacks import OnProgress
from synthgen.terminal.training import Interrupted, terminable, training_progress
from synthgen.training.loop import Schedule, run_training

SHEET = "samples.png"
_ROUND = 25  # steps between two lines of the log
_SHEETS = 20  # in all
_PATIENCE_SECONDS = 5.0
_ADVICE = "give --set batch_size or crop a smaller value"
_SHOWN, _MEASURED, _AT_ONCE = 6, 32, 4
_FEWEST = 2


@dataclass(frozen=True, eq=False)
class Training:
    """A training, as it travels to the processes that share it.

    Attributes:
        samples: what is learned from.
        held_out: what the network is measured on, at the end and for the sheets.
        card: what the model file will say, without what was measured.
        run: where to; entered by whoever starts the training.
        compute: device and precision.
        weights: files by name: `encoder`, `vgg16`.
        coarse: of npcf++, the trained npcf whose pictures it refines.
        seed: of first weights, order and windows.
        devices: how many share each step.
        workers: processes that read and cut samples; 0 for none.
    """

    samples: Sequence[Sample]
    held_out: Sequence[Sample]
    card: RefinementCard
    run: RunFolder
    compute: Compute
    weights: Mapping[str, Path]
    coarse: Path | None = None
    seed: int = 0
    devices: int = 1
    workers: int = 0

    @property
    def config(self) -> TrainingConfig:
        """Its settings."""
        return self.card.config


def train(training: Training, on_progress: OnProgress = lambda name, step, steps, measured: None) -> None:
    """Train a network, from the run's checkpoint where there is one, and write the run's model.

    Args:
        training: what to train, and how.
        on_progress: hears how far it is; several processes that share a training tell it themselves.

    Raises:
        DivergedError: a loss was no number; the last good state is kept.
        UsageError: there are too few samples, or the device has too little memory.
        StorageError: the folder cannot be written.
    """
    if len(training.samples) < _FEWEST:
        raise UsageError(f"{len(training.samples)} samples to learn from: at least {_FEWEST} are needed, hundreds are better.")
    if training.config.batch_size % training.devices:
        raise UsageError(
            f"--devices {training.devices}: cannot share the {training.config.batch_size} windows of a step evenly."
        )
    if training.devices == 1:
        _run(_fabric(training), training, on_progress)
        return
    try:
        _fabric(training).launch(partial(_share, training))
    except ProcessException as error:
        raise _error_of(error) from error
    finally:
        for process in multiprocessing.active_children():  # after a signal they save what they have
            process.join(_PATIENCE_SECONDS)
            process.terminate()


def _error_of(error: ProcessException) -> SynthgenError:
    """The error of a process, whose name and text end the traceback that it left."""
    name, _, text = str(error).strip().splitlines()[-1].partition(": ")
    kinds = {f"{kind.__module__}.{kind.__name__}": kind for kind in (DivergedError, UsageError, InputDataError, StorageError)}
    return kinds[name](text) if name in kinds else SynthgenError(f"a process of the training ended: {name} {text}".rstrip())


def _fabric(training: Training) -> Any:
    """Lightning Fabric, for the devices and the precision that were asked for."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    device, several = training.compute.device, training.devices > 1
    kind = "cuda" if device.type == "cuda" else device.type
    devices: Any = training.devices if several or kind == "cpu" else [device.index or 0]
    unused = training.card.model == NPCFPP  # windows without a boundary leave the attention unused
    strategy: Any = DDPStrategy(start_method="spawn", find_unused_parameters=unused) if several else "auto"
    precision: Any = "bf16-mixed" if training.compute.precision == "bf16" else "32-true"
    return Fabric(accelerator=kind, devices=devices, strategy=strategy, precision=precision)


def _share(training: Training, fabric: Any) -> None:
    """What each of several processes does."""
    torch.set_num_threads(max(torch.get_num_threads() // fabric.world_size, 1) if fabric.device.type == "cpu" else 1)
    messages = Console(stderr=True, highlight=False)
    try:
        with terminable(), training_progress(messages, "step") as on_progress:
            _run(fabric, training, on_progress)
    except Interrupted as interrupt:  # whoever started the training says so
        sys.exit(interrupt.exit_status)


def _run(fabric: Any, training: Training, on_progress: OnProgress) -> None:
    """The whole training, or this process' share of it."""
    work = _RefinementWork(fabric, training)
    schedule = Schedule(
        total=work.steps,
        unit="step",
        round=_ROUND,
        look_every=max(1, work.steps // _SHEETS),
        leads=fabric.is_global_zero,
        advice=_ADVICE,
    )
    name = training.run.path.name
    run_training(work, training.run, schedule, lambda step, steps, measured: on_progress(name, step, steps, measured))
    fabric.barrier()


class _RefinementWork:
    """One training in the works, in one process; see `synthgen.training.loop.Work`."""

    def __init__(self, fabric: Any, training: Training) -> None:
        self.fabric, self.training = fabric, training
        self.config = training.config
        self.steps = self.config.steps_of(len(training.samples))
        encoder = training.weights.get("encoder")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            network = make_network(training.card.config)
        if isinstance(network, Npcf) and encoder is not None:
            network.encoder.load_pretrained(encoder)
        if fabric.device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(_groups(network, self.config, encoder is not None), weight_decay=self.config.weight_decay)
        self.model, self.optimizer = fabric.setup(network, optimizer)
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {"network": self.optimizer}
        self.network: nn.Module = network
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.features: Features | None = None
        self.coarse: Refinement | None = None
        if isinstance(self.config, NpcfConfig):
            loaded = load_features(self.config, training.weights)
            self.features = loaded.to(fabric.device) if loaded is not None else None
        else:
            assert training.coarse is not None
            self.coarse = load_refinement(training.coarse, "npcf", str(fabric.device))
        self.batches: Iterator[RefinementBatch] | None = None

    def begin(self) -> None:
        pass

    def advance(self, done: int, until: int) -> dict[str, float]:
        """Some steps; their mean losses, over all processes."""
        if self.batches is None:
            self.batches = self._batches(done)
        sums: dict[str, Tensor] = {}
        for step in range(done, until):
            for name, value in self._step(next(self.batches), step).items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value
        measured = self._means(sums, until - done)
        check_finite(measured | {"weights": self._sum()}, until, "step")
        return measured

    def finish(self, done: int, seconds: float, events: Board) -> None:
        card = replace(self.training.card, measured=self.look(done, events))
        save_refinement(self.training.run.path / MODEL, self.average, card)

    def _batches(self, first: int) -> Iterator[RefinementBatch]:
        """The batches from a step on, each cut by whichever worker is free."""
        training, share = self.training, (self.fabric.global_rank, self.fabric.world_size)
        crops = Crops(training.samples, self.config.crop, training.card.scale, training.seed)
        keys = cuts(self.config, len(training.samples), training.card.size, training.seed, range(first, self.steps), share)
        several: dict[str, Any] = {}
        if training.workers:
            several = {"num_workers": training.workers, "multiprocessing_context": "forkserver", "worker_init_fn": _quiet}
        pinned = self.fabric.device.type == "cuda"
        loader: Any = DataLoader(crops, batch_sampler=keys, collate_fn=together, pin_memory=pinned, **several)  # type: ignore[arg-type]
        for stacked in loader:
            if isinstance(stacked, SynthgenError):
                raise stacked
            both, mask, squares = stacked
            yield to_batch(both, mask, squares, training.card.scale, self.fabric.device)

    def _step(self, batch: RefinementBatch, step: int) -> dict[str, Tensor]:
        """One step, counted from 0; its loss terms."""
        learning_rate = _learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._terms(self.model, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.fabric.backward(loss)
        self.optimizer.step()
        self._average(step)
        return {name: value.detach() for name, value in (terms | {"all": loss}).items()}

    def _terms(self, model: nn.Module, batch: RefinementBatch) -> dict[str, Tensor]:
        if isinstance(self.config, NpcfConfig):
            return npcf_terms(coarse(model, self.config, batch)[0], batch, self.config, self.features)
        b1 = self._b1(batch)
        return npcfpp_terms(fine(model, self.config, batch, b1)[0], (b1 + 1) / 2, batch, self.config)  # type: ignore[arg-type]

    def _b1(self, batch: RefinementBatch) -> Tensor:
        """The frozen npcF's picture."""
        assert self.coarse is not None
        with torch.no_grad(), self.fabric.autocast():
            return coarse(self.coarse.network, self.coarse.card.config, batch)[1].float()  # type: ignore[arg-type]

    def _average(self, step: int) -> None:
        """The average forgets faster while it is young."""
        decay = min(self.config.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)

    def _sum(self) -> float:
        """Of all weights: no number if one of them is none. The losses were worked out before the last step."""
        return float(torch.stack([value.detach().double().sum() for value in self.network.parameters()]).sum())

    def _means(self, sums: dict[str, Tensor], count: int) -> dict[str, float]:
        """The mean losses of a round, over all processes."""
        stacked = torch.stack(list(sums.values())) / count
        values = self.fabric.all_reduce(stacked, reduce_op="mean").tolist()
        return {("loss" if name == "all" else f"loss_{name}"): value for name, value in zip(sums, values, strict=True)}

    @torch.inference_mode()
    def look(self, done: int, events: Board) -> dict[str, float]:
        """What the averaged network makes of held-out samples; writes the sheet."""
        network = make_network(self.training.card.config)
        network.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        network.to(self.fabric.device).eval()
        held = self.training.held_out
        crops = Crops(held, self.config.crop, self.training.card.scale, self.training.seed)
        count = min(len(held), _MEASURED)
        keys = next(
            cuts(replace(self.config, batch_size=count, whole_share=0.0), len(held), self.training.card.size, 0, range(1))
        )
        rows: list[list[Image]] = []
        losses, shares = [], []
        for start in range(0, count, _AT_ONCE):
            stacked = together([crops[key] for key in keys[start : start + _AT_ONCE]])
            if isinstance(stacked, SynthgenError):
                raise stacked
            batch = to_batch(*stacked, self.training.card.scale, self.fabric.device)
            terms = self._terms(network, batch)
            losses.append(float(torch.stack(list(terms.values())).sum()))
            stages = [batch.normal, batch.stage_a, *self._stages(network, batch)]
            shares.append(_kept_change(stages[-1], batch))
            rows += [list(row) for row in zip(*(to_pictures(stage) for stage in stages), strict=True)]
        titles = ["normal", "stage A", "B1: npcF", "B2: npcF++"][: len(rows[0])]
        sheet = stages_sheet(titles, rows[:_SHOWN])
        save_sheet(self.training.run.path / SHEET, sheet)
        events.add_image("held out: " + ", ".join(titles), sheet, done, dataformats="HWC")
        return {"held_out_loss": round(float(np.mean(losses)), 6), "kept_change": round(float(np.mean(shares)), 4)}

    def _stages(self, network: nn.Module, batch: RefinementBatch) -> list[Tensor]:
        """The composed pictures of stage B1, and of B2 where that is what is trained, in [-1, 1]."""
        if isinstance(self.config, NpcfConfig):
            return [coarse(network, self.config, batch)[1]]
        b1 = self._b1(batch)
        return [b1, 2 * fine(network, self.config, batch, b1)[1] - 1]  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return tensors | {f"average.{name}": value for name, value in self.average.items()}

    def facts(self) -> dict[str, float]:
        return {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
        self.network.load_state_dict(below(tensors, "network."))
        self.average = {name: value.to(self.fabric.device) for name, value in below(tensors, "average.").items()}


def _groups(network: nn.Module, config: TrainingConfig, pretrained: bool) -> list[dict[str, Any]]:
    """The parameters with their learning rates' factors; a pretrained encoder learns more slowly."""
    others = [value for name, value in network.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": others, "factor": 1.0}]
    if isinstance(network, Npcf) and isinstance(config, NpcfConfig):
        factor = config.encoder_learning_rate if pretrained else 1.0
        groups.append({"params": list(network.encoder.parameters()), "factor": factor})
    return groups


def _learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The learning rate: it rises in a straight line, then falls as a cosine."""
    warmup = min(config.warmup, steps // 4)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(steps - warmup, 1)
    return config.last_learning_rate + (config.learning_rate - config.last_learning_rate) * 0.5 * (
        1 + math.cos(math.pi * share)
    )


def _kept_change(picture: Tensor, batch: RefinementBatch) -> float:
    """How much of stage A's change a picture has kept, as the mean over the windows with one; 1 for all."""
    change = ((picture - batch.normal).abs() * batch.mask).sum((1, 2, 3))
    before = ((batch.stage_a - batch.normal).abs() * batch.mask).sum((1, 2, 3))
    there = before > 0
    return float((change[there] / before[there]).mean()) if there.any() else 1.0


def _quiet(_: int) -> None:
    """Workers leave signals to whoever started them."""
    import signal

    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
