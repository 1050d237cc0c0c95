"""From what was asked for to trained runs: every category, every seed."""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from detectors.catalog import implementation
from detectors.data.backbones import NONE, backbone_for
from detectors.data.held_out import of_test_split, scored
from detectors.data.preprocessing import Preprocessing, as_size
from detectors.data.training_data import OnTheFly, TrainingData, choose_category, from_dataset, from_shards
from detectors.inference.scoring import score_pixels
from detectors.metrics import all_metrics
from detectors.official_test import open_test_split, training
from detectors.runs import SEEN, SPLIT
from detectors.training.loop import Peek
from detectors.training.options import Options, facts
from detectors.training.sheet import write_training_sheet
from synthgen import __version__
from synthgen.errors import UsageError
from synthgen.runs.devices import Compute
from synthgen.runs.folder import RunFolder

Say = Callable[[str], None]
Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called after each epoch with the run's name, the epoch, their count, and what was measured."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What `detectors train` was asked for.

    Attributes:
        detector, preset: names.
        changes: settings of the detector instead of the preset's.
        dataset, category: names; `all` for every category; None where shards say it.
        root: the dataset's folder.
        shards: train from these instead.
        bit_depth: of 16-bit files.
        weights: the backbone's, or `random`; None for torchvision's.
        seeds: one run each.
        options: how to train; its seed is replaced by each of `seeds`.
        out: the folder; a run lies in it, or in CATEGORY/seed-N of it where there are several.
        split_seed: another one holds out other images.
        learn: which anomalies are made of training images, without shards; None for those of the detector's.
    """

    detector: str
    preset: str
    changes: dict[str, Any]
    dataset: str | None
    category: str | None
    root: Path | None
    shards: Path | None
    bit_depth: int
    weights: str | None
    seeds: tuple[int, ...]
    options: Options
    out: Path | None
    split_seed: int = 0
    learn: OnTheFly | None = None


def train_all(request: TrainRequest, say: Say, progress: Progress) -> list[Path]:
    """Train every run that was asked for and is not finished; the run folders, in order.

    Raises:
        SynthgenError: as the parts do.
    """
    runs: list[Path] = []
    for category in categories(request):
        runs += _train_category(replace(request, category=category), request.category == "all", say, progress)
    return runs


def ablated(request: TrainRequest) -> list[TrainRequest]:
    """The request once for each of the detector's ablations, each in a folder of its own.

    Raises:
        UsageError: the detector has none.
    """
    variants = implementation(request.detector).ABLATION
    if not variants:
        raise UsageError(f"--ablation: {request.detector} has none.")
    if both := sorted({name for own in variants.values() for name in own} & request.changes.keys()):
        raise UsageError(f"--ablation decides {both[0]} itself: leave --set {both[0]} away.")
    data = request.shards.resolve().name if request.shards is not None else str(request.dataset)
    name = "-".join(filter(None, (data, request.category)))
    place = request.out or Path("runs") / f"{request.detector}-ablation" / name
    return [replace(request, changes=request.changes | own, out=place / name) for name, own in variants.items()]


def devices_for(request: TrainRequest) -> list[str]:
    """The GPUs to spread categories over; empty where there is nothing to spread."""
    count = torch.cuda.device_count() if request.options.compute.device.type == "cuda" else 0
    if request.category != "all" or count < 2:
        return []
    return [f"cuda:{number}" for number in range(count)]


def spread(commands: Sequence[Sequence[str]], devices: Sequence[str]) -> int:
    """Run commands as processes, one at a time on each device.

    Args:
        commands: arguments of `detectors`, without the device.
        devices: such as `cuda:0`.

    Returns:
        The largest exit status.
    """
    free: Queue[str] = Queue()
    for device in devices:
        free.put(device)

    def one(command: Sequence[str]) -> int:
        device = free.get()
        try:
            return subprocess.run([sys.executable, "-m", "detectors", *command, "--device", device], check=False).returncode
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        return max(pool.map(one, commands), default=0)


def categories(request: TrainRequest) -> Sequence[str | None]:
    """The categories that were asked for; [None] where the shards say it.

    Raises:
        UsageError: nothing was asked for.
        InputDataError: there is no such category.
    """
    if request.shards is not None:
        if request.category == "all":
            from synthgen.shards import ShardDataset

            return sorted({header.category for header in ShardDataset(request.shards).headers})
        return [request.category]
    if request.dataset is None or request.category is None:
        raise UsageError("give --dataset NAME --category NAME (or all), or --shards DIR.")
    return choose_category(request.dataset, request.root, request.category)


def _train_category(request: TrainRequest, several: bool, say: Say, progress: Progress) -> list[Path]:
    started = time.monotonic()
    detector = implementation(request.detector)
    config = detector.make_config(request.preset, request.dataset or "", request.category or "", request.changes)
    preprocessing = Preprocessing(as_size(config.resized), as_size(config.resized), as_size(config.size), request.bit_depth)
    if request.shards is not None:
        learns = detector.LEARNS is not None
        data = from_shards(request.shards, request.dataset, request.category, preprocessing, request.split_seed, learns)
        config = detector.make_config(
            request.preset, data.dataset, data.category, request.changes
        )  # now that the category is known
        data = replace(data, preprocessing=replace(data.preprocessing, resized=as_size(config.resized)))
    else:
        learn = None if detector.LEARNS is None else request.learn or detector.LEARNS
        tools = request.options.edge_tools
        data = from_dataset(
            str(request.dataset), request.root, str(request.category), preprocessing, request.split_seed, learn, tools
        )
    _show_card(data, say)
    for warning in detector.warnings(config, data, request.options):
        say(f"warning: {warning}")
    compute = request.options.compute
    backbone = backbone_for(config, request.weights)
    model = detector.assemble(config, backbone, compute)
    folders = [_folder(request, data, several, seed) for seed in request.seeds]
    ready = None
    with contextlib.ExitStack() as stack:
        for seed, path in zip(request.seeds, folders, strict=True):
            options = replace(request.options, seed=seed)
            sha256 = NONE if backbone is None else backbone.weights_sha256
            description = _description(request, data, config, options, sha256)
            with RunFolder(path, description) as run:
                if run.finished:
                    say(f"{path}: finished before")
                    continue
                run.write(SPLIT, data.card)
                if ready is None:
                    peek = _peek(request, data, model, compute)
                    stack.enter_context(training())
                    ready = stack.enter_context(detector.prepared(model, data, compute, options, path))
                    say(f"ready to train after {time.monotonic() - started:.1f} s")
                write_training_sheet(
                    path / SEEN, [data.preprocessing.fit(one.pixels) for one in data.normals[:8]], ready.images
                )
                name = f"{data.category}, {detector.variant(config.model_dump())}, seed {seed}"
                detector.train(model, ready, run, options, lambda *now, name=name: progress(name, *now), peek)
    return folders


def _peek(request: TrainRequest, data: TrainingData, model: Any, compute: Compute) -> Peek | None:
    """Opens the test split where `test-best` asks for it; this must be before training begins."""
    if request.options.selection != "test-best":
        return None
    kept = of_test_split(open_test_split(data.dataset, request.root, data.category), data.preprocessing)

    def measure() -> dict[str, float]:
        _, maps, scores = zip(*score_pixels(model, (one.image for one in kept), compute), strict=True)
        return all_metrics(scored(kept, maps, scores))[0]

    return measure


def _folder(request: TrainRequest, data: TrainingData, several: bool, seed: int) -> Path:
    if request.out is None:
        return Path("runs") / request.detector / f"{data.dataset}-{data.category}" / f"seed-{seed}"
    folder = request.out / data.category if several else request.out
    return folder / f"seed-{seed}" if len(request.seeds) > 1 else folder


def _description(
    request: TrainRequest, data: TrainingData, config: Any, options: Options, backbone_sha256: str
) -> dict[str, Any]:
    """The run's configuration, resolved."""
    settings = config.model_dump(mode="json")
    return {
        "detector": request.detector,
        "preset": request.preset,
        "settings": settings,
        "settings_sha256": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        "dataset": data.dataset,
        "category": data.category,
        "root": None if request.root is None else str(request.root.resolve()),
        "shards": None if request.shards is None else str(request.shards.resolve()),
        "preprocessing": data.preprocessing.to_json(),
        "split": {key: data.card[key] for key in ("split_seed", "train_sha256", "held_out_sha256")},
        "backbone_sha256": backbone_sha256,
        "weights": _resolved(request.weights),
        "versions": {"synthgen": __version__, "torch": torch.__version__},
        **{name: value for name, value in data.card.items() if name.startswith("training_anomalies")},
        **facts(options),
    }


def _resolved(weights: str | None) -> str | None:
    return str(Path(weights).resolve()) if weights not in (None, "random") else weights


def _show_card(data: TrainingData, say: Say) -> None:
    card = data.card
    made = ", ".join(f"{count} {name}" for name, count in card["held_out_anomalies"].items()) or "none"
    say(
        f"{data.dataset}/{data.category} from {card['carrier']}: {card['train_normals']} normal images to train on, "
        f"{card['held_out_normals']} held out, anomalies made of those: {made}; overlap {card['overlap']}; "
        f"the test split is {card['test_split']}"
    )
