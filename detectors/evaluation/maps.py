"""Anomaly maps as files, in the layout that MVTec LOCO AD's evaluation reads: `CATEGORY/test/KIND/NAME.tiff`."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from detectors.inference.loading import LoadedRun
from detectors.inference.overlays import upscale
from detectors.official_test import LabelledFile
from detectors.results import ScoredImage
from synthgen.datasets.masks import image_size
from synthgen.errors import InputDataError
from synthgen.files import write_bytes


def write_maps(folder: Path, run: LoadedRun, files: Sequence[LabelledFile], images: Sequence[ScoredImage]) -> None:
    """Write the maps of a test split, float32, each in its image's own size.

    Args:
        folder: in which `CATEGORY/test` is made.
        run: what scored.
        files: the test split.
        images: what was made of it, in the same order.

    Raises:
        InputDataError: two images would have the same map file.
        StorageError: the folder cannot be written.
    """
    base = folder / run.config["category"] / "test"
    places = [base / file.kind / f"{file.path.stem}.tiff" for file in files]
    if len(set(places)) != len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise InputDataError(f"--maps: two test images are called {twice.stem}, and would have one map: {twice}.")
    for place, file, image in zip(places, files, images, strict=True):
        write_bytes(
            place,
            cv2.imencode(".tiff", upscale(run.preprocessing.whole(image.anomaly_map), image_size(file.path)))[1].tobytes(),
            synced=False,
        )
