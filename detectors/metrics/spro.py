"""AU-sPRO: AU-PRO with saturation, for logical anomalies (Bergmann et al., 2022, MVTec LOCO AD)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.metrics.curves import above, area_up_to, negative_scores, thresholds
from detectors.metrics.errors import MetricError
from detectors.metrics.pro import Maps
from synthgen.errors import InputDataError
from synthgen.samples import Mask

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class DefectSettings:
    """When a defect counts as found as a whole.

    Attributes:
        name: of the defect.
        threshold: pixels, or a share of the defect's area where `relative`.
        relative: which of the two.
    """

    name: str
    threshold: float
    relative: bool

    def saturation(self, area: int) -> int:
        """Pixels that suffice of a defect of `area` pixels, at least 1."""
        return max(1, int(self.threshold * area) if self.relative else min(int(self.threshold), area))


def read_defects_config(path: Path) -> dict[int, DefectSettings]:
    """MVTec LOCO's `defects_config.json`: the settings by the defect's pixel value (1 to 255) in its mask.

    Raises:
        InputDataError: the file is missing or not what it should be.
    """
    try:
        entries = json.loads(path.read_bytes())
        settings = {
            int(entry["pixel_value"]): DefectSettings(
                str(entry["defect_name"]), float(entry["saturation_threshold"]), bool(entry["relative_saturation"])
            )
            for entry in entries
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputDataError(f"{path}: not a list of defects with their saturation thresholds ({error!r}).") from error
    if len(settings) != len(entries) or not all(
        1 <= value <= 255 and defect.threshold > 0 for value, defect in settings.items()
    ):
        raise InputDataError(f"{path}: pixel values must be different ones of 1 to 255, and thresholds above 0.")
    return settings


Channel = tuple[Mask, int]
"""The mask of one defect, (H, W) uint8 {0, 1}, and how many pixels of it suffice."""


def au_spro(maps: Maps, channels: Sequence[Sequence[Channel]], limits: Sequence[float] = LIMITS) -> dict[float, float]:
    """Area under the sPRO curve up to each limit of the false positive rate, divided by it: 0 to 1.

    Every defect channel is one region; what is found of it counts up to its saturation.

    Args:
        maps: (H, W) float32 each, in the size that the saturation areas are meant for.
        channels: the defects of each image; empty for a normal one.
        limits: each above 0, up to 1.

    Raises:
        MetricError: no defect, no normal pixel, or scores that are no numbers.
    """
    if len(maps) != len(channels):
        raise MetricError(f"{len(maps)} anomaly maps and masks of {len(channels)} images do not belong together.")
    unions = [np.zeros(anomaly_map.shape, np.uint8) for anomaly_map in maps]
    for union, defects in zip(unions, channels, strict=True):
        for mask, _ in defects:
            if mask.shape != union.shape:
                raise MetricError(f"an anomaly map of {union.shape} and a mask of {mask.shape} do not belong together.")
            union |= mask > 0
    values, rates = thresholds(negative_scores(maps, unions), max(limits))
    total, count = np.zeros(len(rates)), 0
    for anomaly_map, defects in zip(maps, channels, strict=True):
        for mask, saturation in defects:
            total += np.minimum(above(anomaly_map[mask > 0], values) / max(saturation, 1), 1)
            count += 1
    if not count:
        raise MetricError("there is no defect among what is measured.")
    return {limit: area_up_to(rates, total / count, limit) for limit in limits}


def au_spro_by_kind(
    maps: Maps, channels: Sequence[Sequence[Channel]], kinds: Sequence[str], limits: Sequence[float] = LIMITS
) -> dict[str, dict[float, float]]:
    """AU-sPRO of each kind of anomaly with all normal images, their `mean`, and of all images `pooled`.

    Args:
        maps: as of `au_spro`.
        channels: likewise.
        limits: likewise.
        kinds: of each image, such as `logical_anomalies`; `good` for normal ones.
    """
    results = {}
    for kind in sorted(set(kinds) - {"good"}):
        chosen = [i for i, other in enumerate(kinds) if other in (kind, "good")]
        results[kind] = au_spro([maps[i] for i in chosen], [channels[i] for i in chosen], limits)
    if not results:
        raise MetricError("there is no anomaly among what is measured.")
    mean = {limit: float(np.mean([of_kind[limit] for of_kind in results.values()])) for limit in limits}
    return {**results, "mean": mean, "pooled": au_spro(maps, channels, limits)}
