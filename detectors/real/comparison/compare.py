"""A dataset's anomalies beside real ones."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.real.defects import NORMAL, read_real
from synthgen.errors import InputDataError
from synthgen.fitting.measure import POOLED, Measured, by_kind, measure, parts_like
from synthgen.fitting.ranges import suggested_ranges
from synthgen.samples import Image, Mask
from synthgen.shards import ShardDataset

LIKE = "those like it"
"""Held against a type: the real defects whose shape and size it makes."""
_MOST = 400  # samples of each type


@dataclass(frozen=True, slots=True, eq=False)
class DefectComparison:
    """A comparison.

    Attributes:
        category: of the dataset.
        real: the real kinds, `all` for all of them together.
        synthetic: the types, `all` likewise.
        matched: for each type the real kind it is held against, or `LIKE` it.
        suggested: settings by type that would bring it nearer.
    """

    category: str
    real: dict[str, Measured]
    synthetic: dict[str, Measured]
    matched: dict[str, str]
    suggested: dict[str, dict[str, list[float]]]

    def to_json(self) -> dict[str, Any]:
        """As JSON types: percentiles, not values."""

        def kinds(measured: dict[str, Measured]) -> dict[str, Any]:
            return {
                kind: {
                    "images": of_kind.images,
                    **{name: [round(v, 4) for v in of_kind.percentiles(name)] for name in of_kind.values},
                }
                for kind, of_kind in measured.items()
            }

        return {
            "format": "synthgen-audit",
            "format_version": 1,
            "category": self.category,
            "percentiles": [10, 50, 90],
            "real": kinds(self.real),
            "synthetic": kinds(self.synthetic),
            "matched": self.matched,
            "suggested": self.suggested,
        }


def compare_defects(
    shards: Path, real: Path, category: str | None = None, match: dict[str, str] | None = None
) -> DefectComparison:
    """Measure a dataset's anomalies beside real ones.

    Args:
        shards: the dataset.
        real: the real defects, see `read_real`; those without a mask are passed over.
        category: of the dataset, if it holds several.
        match: real kind for each type; where nothing is said, a kind of the type's own name, else the defects like it.

    Raises:
        InputDataError: no real defect has a mask, or there is no such category or kind.
        IntegrityError: a shard is damaged.
    """
    dataset = ShardDataset(shards)
    known = sorted({header.category for header in dataset.headers})
    if category is None and len(known) == 1:
        category = known[0]
    if category not in known:
        told = f"--category {category}: no such category" if category else "several categories"
        raise InputDataError(f"{shards}: {told}; name one of {', '.join(known)} with --category.")
    header = next(header for header in dataset.headers if header.category == category)
    defects = read_real(real, header.image_size)
    marked = [(kind, image, mask) for kind, image, mask in zip(defects.kinds, defects.images, defects.masks, strict=True)
              if kind != NORMAL and mask is not None]  # fmt: skip
    if not marked:
        raise InputDataError(f"--real {real}: none of the defects has a mask, without which nothing can be measured.")
    real_kinds = by_kind(marked)
    synthetic = by_kind(_chosen(dataset, category))
    matched = {}
    for kind in synthetic:
        named = (match or {}).get(kind)
        if named is not None and named not in real_kinds:
            raise InputDataError(f"--match {kind}={named}: the real defects have no such kind, but {', '.join(real_kinds)}.")
        matched[kind] = named or (kind if kind in real_kinds else LIKE)
    types = json.loads(header.config_json).get("types", {})
    suggested = {}
    for kind in synthetic:
        settings = types.get(kind, {}).get("settings", {})
        if kind == POOLED:
            continue
        real_ones = real_kinds[matched[kind]] if matched[kind] != LIKE else measure(parts_like(kind, marked))
        if changes := suggested_ranges(kind, real_ones, synthetic[kind], settings):
            suggested[kind] = changes
    return DefectComparison(str(category), real_kinds, synthetic, matched, suggested)


def _chosen(dataset: ShardDataset, category: str) -> Iterator[tuple[str, Image, Mask]]:
    """Accepted samples of a category, evenly chosen of each type."""
    columns = zip(dataset.column("category"), dataset.column("type"), dataset.column("label"), strict=True)
    groups: dict[str, list[int]] = {}
    for number, (of_category, kind, label) in enumerate(columns):
        if of_category == category and label:
            groups.setdefault(str(kind), []).append(number)
    for kind, numbers in sorted(groups.items()):
        for k in np.linspace(0, len(numbers) - 1, min(_MOST, len(numbers))).round().astype(int):
            sample = dataset[numbers[k]]
            yield kind, sample.image, sample.mask
