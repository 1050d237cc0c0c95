"""Scores, masks and overlays of a user's own images."""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from detectors.inference.loading import LoadedRun
from detectors.inference.overlays import display_range, overlay, prediction_mask, upscale
from detectors.inference.scoring import score_pixels
from detectors.results import AnomalyMap
from synthgen.datasets.images import read_original
from synthgen.datasets.listing import image_files, is_folder, printable
from synthgen.errors import InputDataError, UsageError
from synthgen.files import storage_error, unique_names, write_bytes, write_text
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


_FIELDS = list(Prediction.__dataclass_fields__)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that the paths are or hold, folders searched to the bottom, in order.

    What is neither a file nor a folder, or may not be looked at, is in the list too: to read it will say so.

    Raises:
        InputDataError: a path does not exist, or there is no image.
    """
    images: list[Path] = []
    for path in paths:
        if is_folder(path):
            folders = sorted([path, *(inner for inner in path.rglob("*") if is_folder(inner))])
            images += [file for folder in folders for file in image_files(folder)]
        elif os.path.lexists(path):
            images.append(path)
        else:
            raise InputDataError(f"{printable(str(path))}: there is no such file or folder.")
    if not images:
        raise InputDataError(f"{printable(', '.join(map(str, paths)))}: no images there.")
    return list(dict.fromkeys(images))


def predict(
    run: LoadedRun, files: Sequence[Path], out: Path, compute: Compute, batch: int = 8, pictures: bool = True
) -> tuple[list[Prediction], list[str]]:
    """Score images, and write `scores.csv`, `scores.json`, and for each image an overlay and a mask of the image's own size.

    Lines of `scores.csv` are there as soon as an image has its score; `scores.json` comes at the end.

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
        UsageError: the folder holds the images themselves.
        IntegrityError: the detector is broken.
        StorageError: the folder cannot be written.
    """
    if out.resolve() in {file.absolute().parent.resolve() for file in files}:
        raise UsageError(f"--out {out}: holds the images themselves, and pictures are written there. Choose another folder.")
    problems: list[str] = []
    readable: list[Path] = []
    names = dict(zip(files, unique_names(f"{file.absolute().parent.name}_{file.stem}" for file in files), strict=True))
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

    with _lines(out / "scores.csv") as add:
        for number, (_, anomaly_map, score) in enumerate(score_pixels(run.model, pixels(), compute, batch)):
            file = readable[number]
            predictions.append(_prediction(run, file, anomaly_map, score, names[file] if pictures else ""))
            add(predictions[-1])
            if pictures:
                try:
                    _draw(run, file, predictions[-1], anomaly_map, out)
                except InputDataError as error:  # it was there a moment ago
                    problems.append(str(error))
    if predictions:  # else nothing of an earlier run was touched
        rows = [asdict(prediction) for prediction in predictions]
        write_text(out / "scores.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return predictions, problems


def _prediction(run: LoadedRun, file: Path, anomaly_map: AnomalyMap, score: float, name: str) -> Prediction:
    area = float((anomaly_map > run.thresholds.pixel).mean())
    result = Prediction(printable(str(file)), score, run.thresholds.image, score > run.thresholds.image, area)
    return replace(result, overlay=f"{name}_overlay.png", mask=f"{name}_mask.png") if name else result


def _draw(run: LoadedRun, file: Path, prediction: Prediction, anomaly_map: AnomalyMap, out: Path) -> None:
    """Write the pictures of one image."""
    image, _ = read_original(file, run.preprocessing.bit_depth)
    large = upscale(run.preprocessing.whole(anomaly_map), (image.shape[0], image.shape[1]))
    picture = overlay(image, large, *display_range(run.thresholds), threshold=run.thresholds.pixel)
    _write_png(out / prediction.overlay, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    _write_png(out / prediction.mask, 255 * prediction_mask(large, run.thresholds.pixel))


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Callable[[Prediction], None]]:
    """A CSV file whose lines are there one by one, so that what ends a long job early takes no score along.

    Results of an earlier run go when the first line comes, and not before.
    """
    started: list[IO[str]] = []

    def add(prediction: Prediction) -> None:
        if not started:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
            started.append(path.open("w", encoding="utf-8", newline=""))
            csv.DictWriter(started[0], _FIELDS, lineterminator="\n").writeheader()
        csv.DictWriter(started[0], _FIELDS, lineterminator="\n").writerow(asdict(prediction))
        started[0].flush()

    try:
        yield add
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        for stream in started:
            stream.close()


def _write_png(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    write_bytes(path, cv2.imencode(".png", pixels)[1].tobytes(), synced=False)
