"""From what was asked for to trained runs: every category, every seed."""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import torch
from torch import nn

from detectors.catalog import find_detector
from detectors.contract import AnyDetector, DetectorSettings, MeasureTest, TrainingOptions
from detectors.data.backbones import NONE, RANDOM, backbone_for
from detectors.data.held_out import of_test_split, scored
from detectors.data.preprocessing import Preprocessing, as_size
from detectors.data.training_data import OnTheFly, TrainingData, choose_category, from_dataset, from_shards, open_shards
from detectors.inference.scoring import score_pixels
from detectors.metrics import all_metrics
from detectors.official_test import closed, open_test_split
from detectors.runs import SHEET, SPLIT
from detectors.training.sheet import write_training_sheet
from synthgen import __version__
from synthgen.edges.model import model_file
from synthgen.errors import UsageError
from synthgen.files import file_sha256
from synthgen.runs.folder import RunFolder
from synthgen.terminal.callbacks import OnMessage, OnProgress


@dataclass(frozen=True, slots=True, kw_only=True)
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
    changes: dict[str, object]
    dataset: str | None
    category: str | None
    root: Path | None
    shards: Path | None
    bit_depth: int
    weights: str | None
    seeds: tuple[int, ...]
    options: TrainingOptions
    out: Path | None
    split_seed: int = 0
    learn: OnTheFly | None = None


def train_all(request: TrainRequest, on_message: OnMessage, on_progress: OnProgress) -> list[Path]:
    """Train every run that was asked for and is not finished; the run folders, in order.

    Raises:
        SynthgenError: as the parts do.
    """
    runs: list[Path] = []
    for category in categories(request):
        several = request.category == "all"
        runs += _train_category(replace(request, category=category), several, on_message, on_progress)
    return runs


def ablated(request: TrainRequest) -> list[TrainRequest]:
    """The request once for each of the detector's ablations, each in a folder of its own.

    Raises:
        UsageError: the detector has none.
    """
    ablations = find_detector(request.detector).ablations
    if not ablations:
        raise UsageError(f"--ablation: {request.detector} has none.")
    if both := sorted({name for changes in ablations.values() for name in changes} & request.changes.keys()):
        raise UsageError(f"--ablation decides {both[0]} itself: leave --set {both[0]} away.")
    data = request.shards.resolve().name if request.shards is not None else str(request.dataset)
    place = request.out or Path("runs") / f"{request.detector}-ablation" / "-".join(filter(None, (data, request.category)))
    return [replace(request, changes={**request.changes, **changes}, out=place / name) for name, changes in ablations.items()]


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

    def run(command: Sequence[str]) -> int:
        device = free.get()
        try:
            return subprocess.run([sys.executable, "-m", "detectors", *command, "--device", device], check=False).returncode
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        return max(pool.map(run, commands), default=0)


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


def _train_category(request: TrainRequest, several: bool, on_message: OnMessage, on_progress: OnProgress) -> list[Path]:
    started = time.monotonic()
    detector, options = find_detector(request.detector), request.options
    settings, data = _settings_and_data(request, detector)
    _say_card(data, on_message)
    for warning in detector.warnings(settings, data, options):
        on_message(f"warning: {warning}")
    backbone = backbone_for(detector.backbone_of(settings), request.weights)
    sha256 = NONE if backbone is None else backbone.weights_sha256
    model = detector.assemble(settings, backbone, options.compute)
    folders = [_folder(request, data, several, seed) for seed in request.seeds]
    prepared = None
    with contextlib.ExitStack() as stack:
        for seed, path in zip(request.seeds, folders, strict=True):
            options = replace(options, seed=seed)
            with RunFolder(path, _description(request, data, settings, options, sha256)) as run:
                if run.finished:
                    on_message(f"{path}: finished before")
                    continue
                run.write(SPLIT, data.card)
                if prepared is None:
                    measure_test = _measure_test(request, data, model)
                    stack.enter_context(closed())
                    prepared = stack.enter_context(detector.prepare(model, data, options, path))
                    on_message(f"ready to train after {time.monotonic() - started:.1f} s")
                normals = [data.preprocessing.fit(normal.pixels) for normal in data.normals[:8]]
                write_training_sheet(path / SHEET, normals, prepared.images)
                name = f"{data.category}, {detector.variant(settings)}, seed {seed}"

                def on_epoch(epoch: int, epochs: int, measured: dict[str, float], name: str = name) -> None:
                    on_progress(name, epoch, epochs, measured)

                detector.train(model, prepared, run, options, on_epoch, measure_test)
    return folders


def _settings_and_data(request: TrainRequest, detector: AnyDetector) -> tuple[DetectorSettings, TrainingData]:
    """The detector's settings for the category, and what it trains with."""
    if request.shards is None:
        dataset, category = str(request.dataset), str(request.category)
        settings = detector.configure(request.preset, dataset, category, request.changes)
        return settings, from_dataset(
            dataset,
            request.root,
            category,
            _preprocessing(settings, request.bit_depth),
            split_seed=request.split_seed,
            learn=None if detector.learns is None else request.learn or detector.learns,
            edges=request.options.edge_assets,
        )
    chosen = open_shards(request.shards, request.dataset, request.category)
    settings = detector.configure(request.preset, chosen.dataset, chosen.category, request.changes)
    preprocessing = _preprocessing(settings, request.bit_depth)
    return settings, from_shards(chosen, preprocessing, request.split_seed, detector.learns is not None)


def _preprocessing(settings: DetectorSettings, bit_depth: int) -> Preprocessing:
    resized = as_size(settings.resized)
    return Preprocessing(resized, resized, as_size(settings.size), bit_depth)


def _measure_test(request: TrainRequest, data: TrainingData, model: nn.Module) -> MeasureTest | None:
    """Opens the test split where `test-best` asks for it; this must be before training begins."""
    if request.options.selection != "test-best":
        return None
    images = of_test_split(open_test_split(data.dataset, request.root, data.category), data.preprocessing)

    def measure() -> dict[str, float]:
        pixels = (image.image for image in images)
        _, maps, scores = zip(*score_pixels(model, pixels, request.options.compute), strict=True)
        return all_metrics(scored(images, maps, scores))[0]

    return measure


def _folder(request: TrainRequest, data: TrainingData, several: bool, seed: int) -> Path:
    if request.out is None:
        return Path("runs") / request.detector / f"{data.dataset}-{data.category}" / f"seed-{seed}"
    folder = request.out / data.category if several else request.out
    return folder / f"seed-{seed}" if len(request.seeds) > 1 else folder


def _description(
    request: TrainRequest, data: TrainingData, settings: DetectorSettings, options: TrainingOptions, backbone_sha256: str
) -> dict[str, Any]:
    """The run's configuration, resolved."""
    values = settings.model_dump(mode="json")
    return {
        "detector": request.detector,
        "preset": request.preset,
        "settings": values,
        "settings_sha256": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest(),
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
        **_described(options),
    }


def _described(options: TrainingOptions) -> dict[str, Any]:
    """What of the options belongs into the run's configuration; of files that decide what is learned, the digests."""
    generator = None if options.edge_generator is None else model_file(options.edge_generator)
    files = {"edge_generator": generator, "pidinet": options.pidinet, "sam": options.sam}
    return {
        "seed": options.seed,
        "selection": options.selection,
        "evaluate_every": options.evaluate_every,
        "precision": options.compute.precision,
        "compile": options.compute.compile,
        "device": options.compute.device.type,
        **{f"{name}_sha256": file_sha256(path) for name, path in files.items() if path is not None},
    }


def _resolved(weights: str | None) -> str | None:
    return str(Path(weights).resolve()) if weights not in (None, RANDOM) else weights


def _say_card(data: TrainingData, on_message: OnMessage) -> None:
    card = data.card
    made = ", ".join(f"{count} {name}" for name, count in card["held_out_anomalies"].items()) or "none"
    on_message(
        f"{data.dataset}/{data.category} from {card['carrier']}: {card['train_normals']} normal images to train on, "
        f"{card['held_out_normals']} held out, anomalies made of those: {made}; overlap {card['overlap']}; "
        f"the test split is {card['test_split']}"
    )
