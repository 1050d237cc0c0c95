"""Trains npcF and npcF++ on stage A samples (MaPhC2F, Algorithms 6 and 7), on one device or several."""

import contextlib
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
from synthgen.runs.devices import Compute, memory_errors
from synthgen.runs.folder import CHECKPOINT, MODEL, Board, RunFolder, below, board, pack_optimizer, unpack_optimizer
from synthgen.runs.pictures import to_pictures
from synthgen.runs.steps import Clock, DivergedError, check_finite
from synthgen.samples import Image, Sample
from synthgen.terminal.training import Interrupted, terminable, training_progress

SHEET = "samples.png"
_ROUND = 25  # steps between two lines of the log
_SHEETS = 20  # in all
_CHECKPOINT_SECONDS = 60.0
_PATIENCE_SECONDS = 5.0
_ADVICE = "give --set batch_size or crop a smaller value"
_SHOWN, _MEASURED, _AT_ONCE = 6, 32, 4
_FEWEST = 2

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Called now and then with the run's name, the step from 1, their count, and what was measured."""


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


def train(training: Training, watch: Watch = lambda name, step, steps, measured: None) -> None:
    """Train a network, from the run's checkpoint where there is one, and write the run's model.

    Args:
        training: what to train, and how.
        watch: hears how far it is; several processes that share a training tell it themselves.

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
        with memory_errors("while training", _ADVICE), board(training.run.path) as events:
            _Loop(_fabric(training), training, watch).go(events)
        return
    try:
        _fabric(training).launch(partial(_share, training))
    except ProcessException as error:
        raise _own_error(error) from error
    finally:
        for process in multiprocessing.active_children():  # after a signal they save what they have
            process.join(_PATIENCE_SECONDS)
            process.terminate()


def _own_error(error: ProcessException) -> SynthgenError:
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
    talk = Console(stderr=True, highlight=False)
    try:
        with (
            terminable(),
            memory_errors("while training", _ADVICE),
            training_progress(talk, "step") as progress,
            board(training.run.path, fabric.is_global_zero) as events,
        ):
            _Loop(fabric, training, progress).go(events)
    except Interrupted as interrupt:  # whoever started the training says so
        sys.exit(interrupt.exit_status)


class _Loop:
    """One training in the works, in one process."""

    def __init__(self, fabric: Any, training: Training, watch: Watch) -> None:
        self.fabric, self.training, self.watch = fabric, training, watch
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
        self.step = 0
        self.clock = Clock()

    def go(self, events: Board) -> None:
        run, leads = self.training.run, self.fabric.is_global_zero
        self._resume()
        if leads:
            run.cut_log(self.step + 1, "step")
        saved, good = time.monotonic(), (self._tensors(copied=True), self._facts())
        sums: dict[str, Tensor] = {}
        shown = max(1, self.steps // _SHEETS)
        try:
            for batch in self._batches():
                for name, value in self._step(batch).items():
                    sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value
                self.step += 1
                if self.step % _ROUND and self.step < self.steps:
                    continue
                measured = self._means(sums, (self.step - 1) % _ROUND + 1)
                sums = {}
                check_finite(measured | {"weights": self._sum()}, self.step, "step")
                good = self._tensors(copied=True), self._facts()
                if not leads:
                    continue
                if self.step // shown > (self.step - _ROUND) // shown and self.step < self.steps:
                    measured |= self._look(events)
                run.log({"step": self.step, "seconds": round(self.clock.seconds, 3)} | measured)
                for name, number in measured.items():
                    events.add_scalar(name, number, self.step)
                if time.monotonic() - saved > _CHECKPOINT_SECONDS and self.step < self.steps:
                    run.save(CHECKPOINT, *good)
                    saved = time.monotonic()
                self.watch(run.path.name, self.step, self.steps, measured)
        except (DivergedError, Interrupted):
            if good[1]["step"] and leads:
                run.save(CHECKPOINT, *good)
            raise
        if leads:
            card = replace(self.training.card, measured=self._look(events))
            save_refinement(run.path / MODEL, self.average, card)
            (run.path / CHECKPOINT).unlink(missing_ok=True)
        self.fabric.barrier()

    def _batches(self) -> Any:
        """The batches from the step on that comes next, each cut by whichever worker is free."""
        training, share = self.training, (self.fabric.global_rank, self.fabric.world_size)
        crops = Crops(training.samples, self.config.crop, training.card.scale, training.seed)
        keys = cuts(self.config, len(training.samples), training.card.size, training.seed, range(self.step, self.steps), share)
        several: dict[str, Any] = {}
        if training.workers:
            several = {"num_workers": training.workers, "multiprocessing_context": "forkserver", "worker_init_fn": _quiet}
        pinned = self.fabric.device.type == "cuda"
        loader: Any = DataLoader(crops, batch_sampler=keys, collate_fn=together, pin_memory=pinned, **several)  # type: ignore[arg-type]
        for found in loader:
            if isinstance(found, SynthgenError):
                raise found
            both, mask, squares = found
            yield to_batch(both, mask, squares, training.card.scale, self.fabric.device)

    def _step(self, batch: RefinementBatch) -> dict[str, Tensor]:
        """One step; its loss terms."""
        rate = _rate(self.config, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._terms(self.model, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.fabric.backward(loss)
        self.optimizer.step()
        self._average()
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

    def _average(self) -> None:
        """The average forgets faster while it is young."""
        decay = min(self.config.averaging, (1 + self.step) / (10 + self.step))
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
    def _look(self, events: Board) -> dict[str, float]:
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
        losses, kept = [], []
        for start in range(0, count, _AT_ONCE):
            found = together([crops[key] for key in keys[start : start + _AT_ONCE]])
            if isinstance(found, SynthgenError):
                raise found
            batch = to_batch(*found, self.training.card.scale, self.fabric.device)
            terms = self._terms(network, batch)
            losses.append(float(torch.stack(list(terms.values())).sum()))
            stages = [batch.normal, batch.stage_a, *self._stages(network, batch)]
            kept.append(_kept(stages[-1], batch))
            rows += [list(row) for row in zip(*(to_pictures(stage) for stage in stages), strict=True)]
        titles = ["normal", "stage A", "B1: npcF", "B2: npcF++"][: len(rows[0])]
        sheet = stages_sheet(titles, rows[:_SHOWN])
        save_sheet(self.training.run.path / SHEET, sheet)
        events.add_image("held out: " + ", ".join(titles), sheet, self.step, dataformats="HWC")
        return {"held_out_loss": round(float(np.mean(losses)), 6), "kept_change": round(float(np.mean(kept)), 4)}

    def _stages(self, network: nn.Module, batch: RefinementBatch) -> list[Tensor]:
        """The composed pictures of stage B1, and of B2 where that is what is trained, in [-1, 1]."""
        if isinstance(self.config, NpcfConfig):
            return [coarse(network, self.config, batch)[1]]
        b1 = self._b1(batch)
        return [b1, 2 * fine(network, self.config, batch, b1)[1] - 1]  # type: ignore[arg-type]

    def _tensors(self, copied: bool = False) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= pack_optimizer(self.optimizer, "optimizer")
        return {name: value.detach().clone() for name, value in tensors.items()} if copied else tensors

    def _facts(self) -> dict[str, float]:
        return {"step": self.step, "seconds": self.clock.seconds}

    def _resume(self) -> None:
        """Go back to the checkpoint, if there is one."""
        loaded = self.training.run.load(CHECKPOINT)
        if loaded is None:
            return
        tensors, facts = loaded
        self.network.load_state_dict(below(tensors, "network."))
        self.average = {name: value.to(self.fabric.device) for name, value in below(tensors, "average.").items()}
        unpack_optimizer(self.optimizer, "optimizer", tensors)
        self.step, self.clock = facts["step"], Clock(facts["seconds"])


def _groups(network: nn.Module, config: TrainingConfig, pretrained: bool) -> list[dict[str, Any]]:
    """The parameters with their learning rates' factors; a pretrained encoder learns more slowly."""
    own = [value for name, value in network.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": own, "factor": 1.0}]
    if isinstance(network, Npcf) and isinstance(config, NpcfConfig):
        factor = config.encoder_learning_rate if pretrained else 1.0
        groups.append({"params": list(network.encoder.parameters()), "factor": factor})
    return groups


def _rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The learning rate: it rises in a straight line, then falls as a cosine."""
    warmup = min(config.warmup, steps // 4)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(steps - warmup, 1)
    return config.last_learning_rate + (config.learning_rate - config.last_learning_rate) * 0.5 * (
        1 + math.cos(math.pi * share)
    )


def _kept(picture: Tensor, batch: RefinementBatch) -> float:
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
