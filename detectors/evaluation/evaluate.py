"""The test split, scored and measured: the one place where it is opened."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from detectors.data.backbones import NONE
from detectors.data.preprocessing import Preprocessing, size_label
from detectors.evaluation import loco
from detectors.evaluation.maps import write_maps
from detectors.inference.loading import LoadedRun
from detectors.inference.scoring import BATCH, score_pixels
from detectors.metrics import all_metrics
from detectors.official_test import LabelledFile, open_test_split, read_mask
from detectors.results import Evaluation, ScoredImage
from synthgen.runs.devices import Compute


def evaluate(
    run: LoadedRun, root: Path | None, protocol: str, compute: Compute, batch: int = BATCH, maps: Path | None = None
) -> Evaluation:
    """Score the official test split of the run's category.

    Args:
        run: what was trained.
        root: the dataset's folder; None looks in `$SYNTHGEN_DATA`.
        protocol: `strict` or `paper`.
        compute: where to.
        batch: images at a time.
        maps: where anomaly maps go as files; None for nowhere.

    Raises:
        InputDataError: the test split is not there, or a file of it is unusable.
    """
    files = open_test_split(run.config["dataset"], root, run.config["category"])
    images = tuple(score_files(run.model, files, run.preprocessing, protocol, compute, batch))
    metrics, missing = all_metrics(images, protocol)
    more, why = loco.image_metrics(images)
    metrics, missing = metrics | more, missing | why
    config = _category_folder(files) / loco.CONFIG
    if (config.is_file() or run.config["dataset"] == "mvtec_loco") and run.preprocessing.size == run.preprocessing.resized:
        more, why = loco.spro_metrics(files, images, config)
        metrics, missing = metrics | more, missing | why
    if maps is not None:
        write_maps(maps, run, files, images)
    return Evaluation(images, metrics, missing, protocol, run.thresholds)


def score_files(
    model: nn.Module,
    files: Sequence[LabelledFile],
    preprocessing: Preprocessing,
    protocol: str,
    compute: Compute,
    batch: int = BATCH,
) -> Iterator[ScoredImage]:
    """Scored test images, in order."""
    pixels = (preprocessing.read(file.path) for file in files)
    for file, (image, anomaly_map, score) in zip(files, score_pixels(model, pixels, compute, batch), strict=True):
        mask = read_mask(file, preprocessing.resized, protocol)
        yield ScoredImage(
            name=file.name,
            label=file.label,
            kind=file.kind,
            score=score,
            anomaly_map=anomaly_map,
            image=image,
            mask=None if mask is None else preprocessing.crop(mask),
        )


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
        "size": size_label(run.preprocessing.size),
        "resizing": config["preprocessing"]["resizing"],
        "seed": config["seed"],
        "backbone": config["settings"].get("backbone", NONE),
        "backbone_sha256": config["backbone_sha256"],
        "settings_sha256": config["settings_sha256"],
        "synthesis": run.variant,
        "anomalies_sha256": config.get("training_anomalies_sha256"),
        "precision": compute.precision,
        "split": "test",
        "images": {"normal": _count(evaluation, 0), "anomaly": _count(evaluation, 1)},
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "epoch": run.epoch,
        "thresholds": asdict(run.thresholds),
        "seconds": {"train": run.seconds},
    }


def _category_folder(files: Sequence[LabelledFile]) -> Path:
    """`CATEGORY` of `CATEGORY/test/KIND/FILE`."""
    return files[0].path.parents[2]


def _count(evaluation: Evaluation, label: int) -> int:
    return sum(image.label == label for image in evaluation.images)
