"""What MVTec LOCO AD asks for: kinds of anomalies apart, and AU-sPRO, which needs the truth in its own size, part by part."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detectors.inference.overlays import upscale
from detectors.metrics import MetricError, au_spro_by_kind, auroc, read_defects_config
from detectors.metrics.spro import Channel, DefectSettings
from detectors.official_test import LabelledFile
from detectors.results import ScoredImage
from synthgen.datasets.masks import image_size
from synthgen.errors import InputDataError
from synthgen.samples import Size

CONFIG = "defects_config.json"
LIMIT = 0.05
"""Of the false positive rate: the paper's main one."""


_KINDS = "_anomalies"  # ends the names of kinds that are measured apart


def image_metrics(images: Sequence[ScoredImage]) -> tuple[dict[str, float], dict[str, str]]:
    """Image AUROC by the largest value of a map, as LOCO's own evaluation takes it, and of each kind of anomaly.

    Returns:
        `image_auroc_max`; and of kinds such as `logical_anomalies`, each with all normal images, `image_auroc_logical`,
        `image_auroc_max_logical` and so on, and as `_mean` the means over kinds; or why there are none.
    """
    metrics: dict[str, float] = {}
    known = [image for image in images if image.label is not None]
    largest = [float(image.anomaly_map.max()) for image in known]
    scores = {"image_auroc": [image.score for image in known], "image_auroc_max": largest}
    labels = [int(image.label or 0) for image in known]
    kinds = sorted({image.kind for image in known if image.label and image.kind.endswith(_KINDS)})
    try:
        metrics["image_auroc_max"] = auroc(labels, scores["image_auroc_max"])
        for name, values in scores.items():
            of_kinds = []
            for kind in kinds:
                chosen = [k for k, image in enumerate(known) if image.kind == kind or not image.label]
                of_kinds.append(auroc([labels[k] for k in chosen], [values[k] for k in chosen]))
                metrics[f"{name}_{kind.removesuffix(_KINDS)}"] = of_kinds[-1]
            if of_kinds:
                metrics[f"{name}_mean"] = float(np.mean(of_kinds))
    except MetricError as error:
        return {}, {"image_auroc_max": str(error)}
    return metrics, {}


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
    sizes = [image_size(file.path) for file in files]
    try:
        channels = [_channels(file, size, settings) for file, size in zip(files, sizes, strict=True)]
        # two maps of one image's size at a time would do, but thresholds need all of them
        maps = [upscale(image.anomaly_map, size) for image, size in zip(images, sizes, strict=True)]
        by_kind = au_spro_by_kind(maps, channels, [file.kind for file in files], (LIMIT,))
    except MetricError as error:
        return {}, {"au_spro": str(error)}
    return {f"au_spro_{kind.removesuffix(_KINDS)}": values[LIMIT] for kind, values in by_kind.items()}, {}


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
