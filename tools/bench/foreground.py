"""How well the object is found: intersection over union with the true foreground, and how far the outline is off.

    python -m tools.bench foreground [--data DIR] [--categories 50] [--images 6] [--mode auto]

Real photographs, whose outlines were drawn by hand (polygons in tools/bench/support/outlines.json, images below DIR, as in
SYNTHGEN_TEST_DATA), and rendered scenes, whose foreground is exact. A category's images decide together, as in a build; where
they decide for the whole image, that is what is measured. The distance is the 95th percentile of that of both outlines' points
to the other outline, in per cent of the image's longer side.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.images import read_image
from synthgen.foreground import choose_method, find_foreground
from synthgen.samples import Image, Mask, NormalImage
from tools.bench.support.records import Outcome
from tools.bench.support.scenes import category_name, render
from tools.bench.support.tables import Column, Table

OUTLINES = Path(__file__).parent / "support" / "outlines.json"
_SIDE = 512
_GOAL = {"real": 0.93, "rendered": 0.90}


@dataclass(frozen=True, slots=True)
class Measured:
    """One image: intersection over union, the outline's distance (share of the side), seconds."""

    iou: float
    distance: float
    seconds: float


def overlap(found: Mask, true: Mask) -> float:
    """Intersection over union of two masks, 0 to 1."""
    together = int(((found > 0) | (true > 0)).sum())
    return float(((found > 0) & (true > 0)).sum() / together) if together else 1.0


def outline_distance(found: Mask, true: Mask) -> float:
    """The 95th percentile of the distances of both outlines' points to the other, over the longer side; 1 if one has none."""
    edges = [_edge(mask) for mask in (found, true)]
    if not all(edge.any() for edge in edges):
        return 0.0 if not any(edge.any() for edge in edges) else 1.0
    away = [cv2.distanceTransform(np.asarray(~edge, np.uint8), cv2.DIST_L2, 5) for edge in edges]
    distances = np.concatenate([away[1][edges[0]], away[0][edges[1]]])
    return float(np.percentile(distances, 95)) / max(found.shape)


def _edge(mask: Mask) -> NDArray[np.bool_]:
    """The mask's pixels beside others; the image's border is no edge."""
    padded = np.pad(mask, 1, mode="edge")
    return np.asarray((padded - cv2.erode(padded, np.ones((3, 3), np.uint8)))[1:-1, 1:-1] > 0)


def real_categories(data: Path) -> Iterator[tuple[str, list[tuple[Image, Mask]]]]:
    """The photographs with hand-drawn outlines, at 512 x 512 pixels, by category."""
    categories: dict[str, list[tuple[Image, Mask]]] = defaultdict(list)
    for name, drawn in json.loads(OUTLINES.read_text(encoding="utf-8")).items():
        mask = np.zeros((_SIDE, _SIDE), np.uint8)
        for key, value in (("outlines", 1), ("holes", 0)):
            for outline in drawn[key]:
                points = np.round(np.array(outline) * _SIDE * 16).astype(np.int32)
                cv2.fillPoly(mask, [points], value, cv2.LINE_8, 4)
        categories[drawn["category"]].append((read_image(data / name, (_SIDE, _SIDE))[0], mask))
    yield from categories.items()


def rendered_categories(count: int, images: int) -> Iterator[tuple[str, list[tuple[Image, Mask]]]]:
    """Rendered scenes, by what kind of category it is."""
    for number in range(count):
        scenes = [render(number, k) for k in range(images)]
        yield category_name(number), [(scene.pixels, scene.foreground) for scene in scenes]


def measure(items: Sequence[tuple[Image, Mask]], mode: str) -> list[Measured]:
    """One category's images, found as a build finds them."""
    normals = [NormalImage("bench", "bench", f"{number}.png", "", pixels) for number, (pixels, _) in enumerate(items)]
    method = choose_method(mode, "auto", None, normals).method
    measured = []
    for normal, (_, true) in zip(normals, items, strict=True):
        started = time.perf_counter()
        found = find_foreground(normal, method).mask  # without a hash of its file, nothing comes from a cache
        measured.append(Measured(overlap(found, true), outline_distance(found, true), time.perf_counter() - started))
    return measured


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--data", type=Path, default=None, help="folder of the real images (SYNTHGEN_TEST_DATA)")
    parser.add_argument("--categories", type=int, default=50, help="of rendered scenes")
    parser.add_argument("--images", type=int, default=6, help="of each rendered category")
    parser.add_argument("--mode", default="auto", help="as --foreground of a build")


def run(options: argparse.Namespace) -> Outcome:
    """A table of real photographs, where they are, and one of rendered scenes."""
    cv2.setNumThreads(1)
    data = options.data or (Path(given) if (given := os.environ.get("SYNTHGEN_TEST_DATA")) else None)
    sets = {"rendered": rendered_categories(options.categories, options.images)}
    if data is None:
        print("no real images: --data DIR, or SYNTHGEN_TEST_DATA", file=sys.stderr)
    else:
        sets = {"real": real_categories(data), **sets}
    tables, missed = {}, []
    for name, categories in sets.items():
        found: dict[str, list[Measured]] = defaultdict(list)
        for kind, items in categories:
            found[kind] += measure(items, options.mode)
        tables[name] = _table(found)
        mean = float(np.mean([one.iou for group in found.values() for one in group]))
        if mean < _GOAL[name]:
            missed.append(f"{name}: mean IoU {mean:.3f}, and {_GOAL[name]} is wanted")
    return Outcome(tables, missed)


def _table(found: dict[str, list[Measured]]) -> Table:
    groups = [*sorted(found.items()), ("all", [one for group in found.values() for one in group])]
    rows = [
        [
            name,
            len(group),
            float(np.mean([one.iou for one in group])),
            float(np.percentile([one.iou for one in group], 10)),
            100 * float(np.mean([one.distance for one in group])),
            1000 * float(np.median([one.seconds for one in group])),
        ]
        for name, group in groups
    ]
    titles = (("", "{}"), ("images", "{}"), ("IoU", "{:.3f}"), ("10th percentile", "{:.3f}"))
    columns = [
        Column(title, (form,)) for title, form in (*titles, ("outline off by, % of the side", "{:.2f}"), ("ms", "{:.1f}"))
    ]
    return Table(columns, rows)
