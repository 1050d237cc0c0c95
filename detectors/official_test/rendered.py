"""The demo set's test split: trays that keep all rules and trays that break one, as files in MVTec LOCO's layout.

They are rendered once and kept in the cache; where that cannot be written, in a folder that the process removes.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen import cache
from synthgen.datasets.demo import generator
from synthgen.datasets.demo.broken_tray import DEFECTS, break_tray
from synthgen.datasets.demo.tray import render_tray, tray_scene
from synthgen.files import storage_error
from synthgen.samples import Image

VERSION = 1
"""Raised whenever the images change; part of the folder's name."""
CATEGORY = "tray"
KIND = "logical_anomalies"
NORMALS, ANOMALIES = 30, 45
_HIGHEST = 255  # pixel value of the first defect's masks, the next one's is smaller by 1


def demo_test_split() -> Path:
    """The folder that holds `tray/test`, rendered if it is not there yet. Raises StorageError if it does not fit."""
    place = cache.folder() / "demo-test-split" / str(VERSION)
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".tmp-{os.getpid()}-", dir=place.parent))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="demo-test-split-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        write_demo_test_split(folder)
        return folder
    try:
        write_demo_test_split(making)
        making.chmod(0o755)
        making.rename(place)
    except OSError as error:
        if not place.is_dir():  # or else another process was faster
            raise storage_error(place, error) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return place


def write_demo_test_split(root: Path, normals: int = NORMALS, anomalies: int = ANOMALIES) -> None:
    """Write the split into `root/tray`: so many normal images, and anomalies of each defect in turn."""
    base = root / CATEGORY
    for number in range(normals):
        image = render_tray(tray_scene(generator(CATEGORY, "test/good", number)))[0]
        _write(base / "test/good" / f"{number:03}.png", _bgr(image))
    for number in range(anomalies):
        which = number % len(DEFECTS)
        tray = break_tray(DEFECTS[which], generator(CATEGORY, f"test/{DEFECTS[which]}", number))
        _write(base / "test" / KIND / f"{number:03}.png", _bgr(tray.image))
        _write(base / "ground_truth" / KIND / f"{number:03}" / "000.png", tray.mask * np.uint8(_HIGHEST - which))
    settings = [
        {"defect_name": name, "pixel_value": _HIGHEST - k, "saturation_threshold": 1.0, "relative_saturation": True}
        for k, name in enumerate(DEFECTS)
    ]
    (base / "defects_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def _bgr(image: Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., ::-1])


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
