"""Scores, masks and overlays of a user's own images."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.inference.loading import LoadedRun
from detectors.inference.overlays import display_range, overlay, prediction_mask, upscale
from detectors.inference.scoring import score_pixels
from detectors.results import AnomalyMap
from synthgen.datasets.images import decode
from synthgen.datasets.listing import image_files
from synthgen.errors import InputDataError
from synthgen.files import storage_error, write_bytes, write_text
from synthgen.runs.devices import Compute
from synthgen.samples import Image


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image's result.

    Attributes:
        image: the file.
        score: its anomaly score.
        threshold: of the run, from held-out normal images.
        anomalous: whether the score is above it.
        area: share of pixels above the pixel threshold, 0..1.
        overlay, mask: the pictures, relative to the output folder; empty where none was asked for.
    """

    image: str
    score: float
    threshold: float
    anomalous: bool
    area: float
    overlay: str = ""
    mask: str = ""


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that the paths are or hold, folders searched to the bottom, in order.

    Raises:
        InputDataError: a path does not exist, or there is no image.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_file():
            images.append(path)
        elif path.is_dir():
            folders = sorted([path, *(inner for inner in path.rglob("*") if inner.is_dir())])
            images += [file for folder in folders for file in image_files(folder)]
        else:
            raise InputDataError(f"{path}: there is no such file or folder.")
    if not images:
        raise InputDataError(f"{', '.join(map(str, paths))}: no images there.")
    return list(dict.fromkeys(images))


def predict(
    run: LoadedRun, files: Sequence[Path], out: Path, compute: Compute, batch: int = 8, pictures: bool = True
) -> tuple[list[Prediction], list[str]]:
    """Score images, and write `scores.csv`, `scores.json`, and for each image an overlay and a mask of the image's own size.

    Args:
        run: the detector.
        files: the images.
        out: the folder; made if need be.
        compute: where to.
        batch: images at a time.
        pictures: whether overlays and masks are written.

    Returns:
        The predictions in order, and what was wrong with files that could not be read.

    Raises:
        StorageError: the folder cannot be written.
    """
    problems: list[str] = []
    readable: list[Path] = []
    names = _names(files)
    predictions: list[Prediction] = []

    def pixels() -> Iterator[Image]:
        for file in files:
            try:
                image = run.preprocessing.read(file)
            except InputDataError as error:
                problems.append(str(error))
                continue
            readable.append(file)
            yield image

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    for number, (_, anomaly_map, score) in enumerate(score_pixels(run.model, pixels(), compute, batch)):
        file = readable[number]
        predictions.append(_prediction(run, file, names[file], anomaly_map, score, out if pictures else None))
    write_text(out / "scores.csv", _csv(predictions))
    write_text(
        out / "scores.json", json.dumps([asdict(prediction) for prediction in predictions], indent=1, ensure_ascii=False) + "\n"
    )
    return predictions, problems


def _prediction(run: LoadedRun, file: Path, name: str, anomaly_map: AnomalyMap, score: float, out: Path | None) -> Prediction:
    threshold, pixel = run.thresholds.image, run.thresholds.pixel
    area = float((anomaly_map > pixel).mean())
    result = Prediction(str(file), score, threshold, score > threshold, area)
    if out is None:
        return result
    image = decode(file.read_bytes(), run.preprocessing.bit_depth)
    large = upscale(run.preprocessing.whole(anomaly_map), (image.shape[0], image.shape[1]))
    picture = overlay(image, large, *display_range(run.thresholds), threshold=pixel)
    _write_png(out / f"{name}_overlay.png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    _write_png(out / f"{name}_mask.png", 255 * prediction_mask(large, pixel))
    return Prediction(**{**asdict(result), "overlay": f"{name}_overlay.png", "mask": f"{name}_mask.png"})


def _names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each file's pictures: its stem, with a number where two share one."""
    names: dict[Path, str] = {}
    taken: dict[str, int] = {}
    for file in files:
        stem = "_".join([file.parent.name, file.stem]) if file.parent.name else file.stem
        taken[stem] = taken.get(stem, 0) + 1
        names[file] = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
    return names


def _csv(predictions: Sequence[Prediction]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(Prediction.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(prediction) for prediction in predictions)
    return stream.getvalue()


def _write_png(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    write_bytes(path, cv2.imencode(".png", pixels)[1].tobytes(), synced=False)
