"""Score maps as files, in the layout that MVTec LOCO AD's evaluation reads: `CATEGORY/test/KIND/NAME.tiff`."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detectors.loading import LoadedRun
from detectors.overlays import upscale
from detectors.results import ScoredImage
from detectors.test_split import LabelledFile, image_size
from synthgen.errors import InputDataError
from synthgen.shards.storage import storage_error, temporary_name


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
    for place, file, one in zip(places, files, images, strict=True):
        _write(place, upscale(run.reading.whole(one.map), image_size(file.path)))


def _write(path: Path, map_: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(cv2.imencode(".tiff", map_)[1].tobytes())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from error
