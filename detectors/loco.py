"""AU-sPRO on MVTec LOCO AD: its metric needs the ground truth in its own size, defect by defect."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detectors.metrics import MetricError, au_spro_by_kind, read_defects_config
from detectors.metrics.spro import Channel, DefectSettings
from detectors.overlays import upscale
from detectors.results import ScoredImage
from detectors.test_split import LabelledFile
from synthgen.errors import InputDataError
from synthgen.samples import Size

CONFIG = "defects_config.json"
LIMIT = 0.05
"""Of the false positive rate: the paper's main one."""


def spro_metrics(
    files: Sequence[LabelledFile], images: Sequence[ScoredImage], config: Path
) -> tuple[dict[str, float], dict[str, str]]:
    """AU-sPRO up to 5 % false positives: logical, structural, their mean, and pooled.

    Args:
        files: the test split.
        images: what the detector made of it, in the same order, uncropped.
        config: the category's `defects_config.json`.

    Returns:
        `au_spro_<kind>` for each kind, `au_spro_mean` and `au_spro_pooled`, 0 to 1; or why there are none.

    Raises:
        InputDataError: the configuration or a mask is unusable.
    """
    if not config.is_file():
        return {}, {"au_spro": f"{config} is missing: it says when a defect counts as found"}
    settings = read_defects_config(config)
    sizes = [_size(file.path) for file in files]
    try:
        channels = [_channels(file, size, settings) for file, size in zip(files, sizes, strict=True)]
        # two maps of one image's size at a time would do, but thresholds need all of them
        maps = [upscale(one.map, size) for one, size in zip(images, sizes, strict=True)]
        by_kind = au_spro_by_kind(maps, channels, [file.kind for file in files], (LIMIT,))
    except MetricError as error:
        return {}, {"au_spro": str(error)}
    return {f"au_spro_{kind.removesuffix('_anomalies')}": values[LIMIT] for kind, values in by_kind.items()}, {}


def _channels(file: LabelledFile, size: Size, settings: dict[int, DefectSettings]) -> list[Channel]:
    """The defects of one image: one file each, whose pixel value says which defect it is."""
    channels: list[Channel] = []
    for path in file.masks:
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise InputDataError(f"{path}: not a mask that can be read.")
        if pixels.shape != size:
            raise InputDataError(f"{path}: {pixels.shape[1]} x {pixels.shape[0]} pixels, its image has {size[1]} x {size[0]}.")
        values = [int(value) for value in np.unique(pixels) if value]
        for value in values:
            if value not in settings:
                raise MetricError(f"{path}: the pixel value {value} is not in {CONFIG}")
            mask = (pixels == value).astype(np.uint8)
            channels.append((mask, settings[value].saturation(int(mask.sum()))))
    return channels


def _size(path: Path) -> Size:
    from PIL import Image as Pillow

    with Pillow.open(path) as image:
        return image.height, image.width
