"""What the gallery shows of a dataset: thumbnails and outlines of chosen samples, and numbers of all of them."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputDataError
from synthgen.report.sheet import Selection, choose
from synthgen.report.summary import failure_lines, info
from synthgen.samples import Image, Mask, Sample
from synthgen.shards import ShardDataset
from synthgen.shards.quality import QualityTable

MOST = 2000
"""Samples that a gallery shows if nobody says."""
BUDGET = 22_000_000
"""Bytes of text that all thumbnails may take, so that the file stays under 30 MB."""
_LOOKS = ((256, 75), (256, 60), (192, 65), (160, 60), (128, 55), (96, 50), (64, 45))  # longer side in pixels, WebP's quality
_AT_ONCE = 32
_TRIED = 24  # thumbnails that tell how large all will be
_BINS = 24
_HEAT = 32  # cells along a side
_REASONS = 200


@dataclass(frozen=True, slots=True)
class Gallery:
    """All that the page needs, as JSON types.

    Attributes:
        facts: counts, licences, configuration: of the whole dataset.
        samples: the chosen samples, one list each: see `FIELDS`.
        histograms: bins of area and contrast by type, of the whole dataset.
        heat: where masks of the chosen samples lie, by category: 32 rows of 32 shares, 0..1.
        rejected: [id, reason], the first of them; and how many there are by reason.
    """

    facts: dict[str, Any]
    samples: list[list[Any]]
    histograms: dict[str, Any]
    heat: dict[str, list[list[float]]]
    rejected: dict[str, Any]


FIELDS = ("id", "category", "type", "size", "area", "contrast", "quality", "thumbnail", "outline")
"""What a sample's list holds: area in percent of the image, contrast in gray levels, quality 0..1 or null, a WebP image in
base64, and the mask's outline as an SVG path in pixels of the image."""


def collect(
    path: Path,
    most: int = MOST,
    categories: Sequence[str] = (),
    types: Sequence[str] = (),
    quality: QualityTable | None = None,
) -> Gallery:
    """Look at a dataset.

    Args:
        path: a folder of shards, or one.
        most: samples to show, evenly chosen of each category and type.
        categories: of these alone; empty for all.
        types: likewise.
        quality: scores of samples.

    Raises:
        InputDataError: there is nothing to show.
        IntegrityError: a shard is damaged.
    """
    dataset = ShardDataset(path, quality=quality)
    if not len(dataset):
        raise InputDataError(f"{path}: holds no samples.")
    summary = info(path)
    chosen = _evenly(dataset, most, categories, types)
    side, webp = _look(dataset, chosen)
    heat: dict[str, list[NDArray[np.float32]]] = {}
    samples: list[list[Any]] = []
    with ThreadPoolExecutor() as pool:
        for sample, thumbnail, outline in _drawn(dataset, chosen, side, webp, pool):
            spec, (height, width) = sample.spec, sample.mask.shape
            category = f"{spec.dataset}/{spec.category}"
            heat.setdefault(category, []).append(_cells(sample.mask))
            worth = None if sample.quality is None or np.isnan(sample.quality) else round(float(sample.quality), 3)
            area = round(100 * sample.area / (height * width), 3)
            facts = [spec.sample_id, category, spec.type, f"{width} x {height}", area, round(float(sample.contrast), 1), worth]
            samples.append([*facts, thumbnail, outline])
    return Gallery(
        facts={**_facts(summary), "shown": len(samples), "thumbnail": side},
        samples=samples,
        histograms=_histograms(dataset),
        heat={name: np.mean(cells, 0).round(4).tolist() for name, cells in heat.items()},
        rejected=_rejected(dataset),
    )


def _evenly(dataset: ShardDataset, most: int, categories: Sequence[str], types: Sequence[str]) -> list[int]:
    """Of each category and type as many, at most `most` in all."""
    columns = {name: dataset.column(name).tolist() for name in ("category", "type", "label")}

    def take(per_group: int) -> list[int]:
        selection = Selection(tuple(categories), tuple(types), per_group)
        return choose(columns["category"], columns["type"], columns["label"], selection)

    low, high = 1, most
    while low < high:  # small groups leave room for more of the others
        middle = (low + high + 1) // 2
        if len(take(middle)) <= most:
            low = middle
        else:
            high = middle - 1
    return take(low)[:most]


def _drawn(
    dataset: ShardDataset, chosen: Sequence[int], side: int, webp: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Sample, str, str]]:
    """Samples with thumbnails and outlines; some at a time, since large ones would not all fit into memory."""
    for start in range(0, len(chosen), _AT_ONCE):
        samples = [dataset[number] for number in chosen[start : start + _AT_ONCE]]
        pictures = pool.map(lambda sample: _pictures(sample.image, sample.mask, side, webp), samples)
        yield from ((sample, *pair) for sample, pair in zip(samples, pictures, strict=True))


def _look(dataset: ShardDataset, chosen: Sequence[int]) -> tuple[int, int]:
    """The largest and best thumbnails that fit: their longer side, and WebP's quality."""
    tried = [dataset[chosen[k]] for k in np.linspace(0, len(chosen) - 1, min(_TRIED, len(chosen))).astype(int)]
    for side, webp in _LOOKS:
        sizes = [sum(map(len, _pictures(sample.image, sample.mask, side, webp))) for sample in tried]
        if np.mean(sizes) * len(chosen) <= BUDGET:
            return side, webp
    return _LOOKS[-1]


def _pictures(image: Image, mask: Mask, side: int, webp: int) -> tuple[str, str]:
    """A thumbnail and the mask's outline."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    data = cv2.imencode(".webp", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, webp])[1]
    return base64.b64encode(data.tobytes()).decode(), _outline(mask)


def _outline(mask: Mask) -> str:
    """An SVG path around the mask's pixels, holes included."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for outline in outlines:
        corners = cv2.approxPolyDP(outline, 0.7, closed=True)[:, 0]
        parts.append("M" + "L".join(f"{x},{y}" for x, y in corners.tolist()) + "Z")
    return "".join(parts)


def _cells(mask: Mask) -> NDArray[np.float32]:
    """Shares of anomalous pixels in a grid over the image."""
    return np.asarray(cv2.resize(mask.astype(np.float32), (_HEAT, _HEAT), interpolation=cv2.INTER_AREA), np.float32)


def _histograms(dataset: ShardDataset) -> dict[str, Any]:
    """Bins of area (logarithmic) and contrast of accepted samples, by type."""
    label, kinds = dataset.column("label") == 1, dataset.column("type")
    sizes = np.concatenate([np.full(len_, height * width) for len_, (height, width) in _sizes(dataset)])
    values = {
        "area": (100 * dataset.column("area") / sizes, "share of the image, percent", True),
        "contrast": (dataset.column("contrast").astype(float), "mean change, gray levels", False),
    }
    result = {}
    for name, (numbers, unit, logarithmic) in values.items():
        good = numbers[label]
        if not len(good):
            continue
        low, high = max(float(good.min()), 1e-4) if logarithmic else 0.0, max(float(good.max()), 1e-3)
        edges = np.geomspace(low, high * 1.0001, _BINS + 1) if logarithmic else np.linspace(low, high * 1.0001, _BINS + 1)
        bins = {
            str(kind): np.histogram(np.maximum(numbers[label & (kinds == kind)], low), edges)[0].tolist()
            for kind in sorted(set(kinds.tolist()))
        }
        result[name] = {
            "unit": unit,
            "logarithmic": logarithmic,
            "edges": [float(f"{edge:.4g}") for edge in edges],
            "bins": bins,
        }
    return result


def _sizes(dataset: ShardDataset) -> Iterator[tuple[int, tuple[int, int]]]:
    """How many samples each shard has, and their size."""
    for header, count in zip(dataset.headers, dataset.counts, strict=True):
        yield count, header.image_size


def _rejected(dataset: ShardDataset) -> dict[str, Any]:
    reasons = dataset.column("rejected")
    numbers = np.flatnonzero(dataset.column("label") == 0).tolist()
    ids = dataset.column("sample_id")
    return {
        "samples": [[str(ids[k]), str(reasons[k])] for k in numbers[:_REASONS]],
        "reasons": dict(Counter(str(reasons[k]) for k in numbers).most_common()),
    }


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    """What the page says about the whole dataset."""
    names = (
        "samples",
        "shards",
        "bytes",
        "complete",
        "image_sizes",
        "seeds",
        "generators",
        "refine",
        "foregrounds",
        "licences",
        "commercial_use",
    )
    facts = {name: summary[name] for name in names}
    facts["name"] = Path(summary["path"]).resolve().name
    facts["groups"] = summary["groups"]
    facts["redrawn"] = summary["redrawn"]
    facts["failed"] = failure_lines(summary["failed"])
    facts["config"] = json.dumps(summary["config"], indent=1, sort_keys=True, ensure_ascii=False) if summary["config"] else ""
    return facts
