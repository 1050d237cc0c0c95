"""The test split, scored and measured: the one place where it is opened."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detectors import loco
from detectors.catalog import implementation
from detectors.loading import NONE, LoadedRun
from detectors.maps import write_maps
from detectors.metrics import all_metrics
from detectors.pixels import Reading, size_label
from detectors.results import Evaluation, ScoredImage
from detectors.test_split import LabelledFile, open_test_split, read_mask
from synthgen.samples import Image
from synthgen.training.devices import Compute, memory_errors

_BATCH = 8


def evaluate(
    run: LoadedRun, root: Path | None, protocol: str, compute: Compute, batch: int = _BATCH, maps: Path | None = None
) -> Evaluation:
    """Score the official test split of the run's category.

    Args:
        run: what was trained.
        root: the dataset's folder; None looks in `$SYNTHGEN_DATA`.
        protocol: `strict` or `paper`.
        compute: where to.
        batch: images at a time.
        maps: where score maps go as files; None for nowhere.

    Raises:
        InputDataError: the test split is not there, or a file of it is unusable.
    """
    files = open_test_split(run.config["dataset"], root, run.config["category"])
    images = tuple(score_files(run.model, files, run.reading, protocol, compute, batch))
    metrics, missing = all_metrics(images, protocol)
    more, why = loco.image_metrics(images)
    metrics, missing = metrics | more, missing | why
    config = _category_folder(files) / loco.CONFIG
    if (config.is_file() or run.config["dataset"] == "mvtec_loco") and run.reading.size == run.reading.resized:
        more, why = loco.spro_metrics(files, images, config)
        metrics, missing = metrics | more, missing | why
    if maps is not None:
        write_maps(maps, run, files, images)
    return Evaluation(images, metrics, missing, protocol, run.limits)


def score_files(
    model: nn.Module, files: Sequence[LabelledFile], reading: Reading, protocol: str, compute: Compute, batch: int = _BATCH
) -> Iterator[ScoredImage]:
    """Scored test images, in order."""
    pixels = (reading.read(file.path) for file in files)
    for file, (image, map_, score) in zip(files, score_pixels(model, pixels, compute, batch), strict=True):
        mask = read_mask(file, reading.resized, protocol)
        yield ScoredImage(file.name, file.label, file.kind, score, map_, image, None if mask is None else reading.crop(mask))


def score_pixels(
    model: nn.Module, images: Iterable[np.ndarray[Any, Any]], compute: Compute, batch: int = _BATCH
) -> Iterator[tuple[Any, Any, float]]:
    """Score images.

    Args:
        model: the detector.
        images: (S, S, 3) uint8 RGB each.
        compute: where to.
        batch: images at a time.

    Yields:
        Each image, its score map (S, S) float32, and its score.
    """
    model.eval()
    remaining = iter(images)
    while some := list(islice(remaining, batch)):
        with torch.inference_mode(), compute.autocast(), memory_errors("while scoring"):
            stacked = torch.from_numpy(np.stack(some)).to(compute.device, non_blocking=True)
            maps, scores = model(stacked.permute(0, 3, 1, 2).float())
            maps, scores = maps.float().cpu().numpy(), scores.float().cpu().tolist()
        yield from zip(some, maps, scores, strict=True)


def explainer(run: LoadedRun) -> Callable[[Image], Mapping[str, Image]]:
    """Gives the pictures that lie between an image, as the network sees it, and its score map."""
    return partial(implementation(run.config["detector"]).explained, run.model)


def results_json(run: LoadedRun, evaluation: Evaluation, compute: Compute) -> dict[str, Any]:
    """What `metrics.json` holds: the numbers, and all that one must know to compare them."""
    config = run.config
    return {
        "format": "detectors-metrics",
        "format_version": 1,
        "detector": config["detector"],
        "preset": config["preset"],
        "dataset": config["dataset"],
        "category": config["category"],
        "protocol": evaluation.protocol,
        "selection": config["selection"],
        "size": size_label(run.reading.size),
        "resizing": config["reading"]["resizing"],
        "seed": config["seed"],
        "backbone": config["settings"].get("backbone", NONE),
        "backbone_sha256": config["backbone_sha256"],
        "settings_sha256": config["settings_sha256"],
        "synthesis": implementation(config["detector"]).variant(config["settings"]),
        "anomalies_sha256": config.get("training_anomalies_sha256"),
        "precision": compute.precision,
        "split": "test",
        "images": {"normal": _count(evaluation, 0), "anomaly": _count(evaluation, 1)},
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "epoch": run.epoch,
        "limits": asdict(run.limits),
        "seconds": {"train": run.seconds},
    }


def _category_folder(files: Sequence[LabelledFile]) -> Path:
    """`CATEGORY` of `CATEGORY/test/KIND/FILE`."""
    return files[0].path.parents[2]


def _count(evaluation: Evaluation, label: int) -> int:
    return sum(image.label == label for image in evaluation.images)
