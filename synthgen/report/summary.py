"""What a dataset of shards holds, as numbers."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.builder.folder import (
    CONFIG,
    MANIFEST,
    Failures,
    count_failures,
    finished_shards,
    read_quarantine,
    read_record,
)
from synthgen.errors import InputDataError
from synthgen.exemplars.source import described
from synthgen.shards import ShardDataset


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """The samples of one category and type.

    Attributes:
        category, type: their names.
        samples: accepted samples.
        rejected: samples without an accepted draw.
        area: 5th, 50th and 95th percentile of the mask's area, in percent of the image.
        contrast: the same percentiles of the contrast, in gray levels.
    """

    category: str
    type: str
    samples: int
    rejected: int
    area: tuple[float, float, float]
    contrast: tuple[float, float, float]


def summarise(dataset: ShardDataset) -> list[GroupSummary]:
    """One summary per category and type, sorted."""
    ids = dataset.column("sample_id")
    categories = np.array([str(name).rsplit("/", 3)[0] for name in ids])
    types, labels = dataset.column("type"), dataset.column("label")
    sizes = {header.category: header.image_size for header in dataset.headers}
    areas, contrasts = dataset.column("area").astype(np.float64), dataset.column("contrast").astype(np.float64)
    groups = []
    for category in np.unique(categories):
        height, width = sizes[category.split("/", 1)[1]]
        for kind in np.unique(types[categories == category]):
            in_group = (categories == category) & (types == kind)
            good = in_group & (labels == 1)
            groups.append(
                GroupSummary(
                    str(category),
                    str(kind),
                    int(good.sum()),
                    int(in_group.sum() - good.sum()),
                    _percentiles(100 * areas[good] / (height * width)),
                    _percentiles(contrasts[good]),
                )
            )
    return groups


def info(path: Path) -> dict[str, Any]:
    """All that `synthgen info` says, as JSON types."""
    dataset = ShardDataset(path)
    headers = dataset.headers
    files = sorted(path.glob("[!.]*.h5")) if path.is_dir() else [path]
    manifest = read_record(path / MANIFEST) if (path / MANIFEST).exists() else {}
    configs: list[dict[str, Any]] = [json.loads(text) for text in {header.config_json for header in headers}]
    return {
        "path": str(path),
        "complete": path.is_file() or (path / MANIFEST).exists(),
        "shards": len(headers),
        "samples": int(dataset.column("label").sum()) if len(dataset) else 0,
        "bytes": sum(file.stat().st_size for file in files),
        "image_sizes": sorted({f"{h.image_size[0]} x {h.image_size[1]}" for h in headers}),
        "seeds": sorted({h.seed for h in headers}),
        "generators": sorted({h.generator for h in headers}),
        "refine": sorted({config.get("refine", "none") for config in configs}),
        "min_quality": sorted({config["quality"]["minimum"] for config in configs if "quality" in config}),
        "licences": {h.dataset: h.licence for h in headers},
        "groups": [asdict(group) for group in summarise(dataset)] if len(dataset) else [],
        "commercial_use": manifest.get("commercial_use", {}),
        "redrawn": _by_type(manifest.get("redrawn", {})),
        "failed": manifest.get("failed", {}) if manifest or path.is_file() else _failed_so_far(path),
        "foregrounds": {place: str(facts["sentence"]) for place, facts in manifest.get("foregrounds", {}).items()},
        "exemplars": {
            place: described(copied["files"]) for config in configs for place, copied in config.get("exemplars", {}).items()
        },
        "config": manifest.get("config"),
    }


def failure_lines(failed: dict[str, dict[str, Any]]) -> list[str]:
    """What `info` says of draws that failed, as a line for each type."""
    return [Failures(**numbers).sentence(name) for name, numbers in sorted(failed.items())]


def _failed_so_far(folder: Path) -> dict[str, dict[str, Any]]:
    """Failures by type of a build that is not complete."""
    return {name: asdict(failures) for name, failures in count_failures(finished_shards(folder).values()).items()}


def _by_type(redrawn: dict[str, dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Refused draws by type and reason, from those by category."""
    total: dict[str, Counter[str]] = {}
    for types in redrawn.values():
        for name, reasons in types.items():
            total.setdefault(name, Counter()).update(reasons)
    return {name: dict(reasons) for name, reasons in total.items()}


def status(folder: Path) -> dict[str, Any]:
    """How far the build in a folder is, as JSON types.

    Raises:
        InputDataError: there is no build in the folder.
    """
    if not (folder / CONFIG).is_file():
        raise InputDataError(f"{folder}: there is no build here (no {CONFIG}). Give the folder that `synthgen build` wrote.")
    planned = read_record(folder / CONFIG).get("shards")
    if not isinstance(planned, dict):
        raise InputDataError(f"{folder / CONFIG}: is not that of a build. Give the folder that `synthgen build` wrote.")
    done = finished_shards(folder)
    running = _is_locked(folder)
    complete = (folder / MANIFEST).exists() and len(done) == len(planned)
    return {
        "path": str(folder),
        "state": "running" if running else "complete" if complete else "unfinished",
        "shards": [len(done), len(planned)],
        "samples": [sum(planned[name] for name in done if name in planned), sum(planned.values())],
        "rejected": sum(len(report.rejected) for report in done.values()),
        "unreadable": sorted({source for report in done.values() for source, _ in report.unreadable}),
        "quarantined": read_quarantine(folder),
    }


def _is_locked(folder: Path) -> bool:
    import fcntl

    try:
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _percentiles(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float, float]:
    if not len(values):
        return (0.0, 0.0, 0.0)
    low, middle, high = (round(float(v), 3) for v in np.percentile(values, (5, 50, 95)))
    return low, middle, high
