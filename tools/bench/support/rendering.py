"""What rendering one anomaly of each type costs, beside a crack: the rendering alone, on prepared images."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.datasets.demo import read_rendered
from synthgen.datasets.images import read_image
from synthgen.datasets.listing import image_files
from synthgen.foreground import choose_method, find_foreground
from synthgen.painting.surface import Surface
from synthgen.samples import Image, NormalImage
from tools.bench.support.tables import Column, Table

DEMO = ("gravel", "brick", "gear", "tray")


def bench_rendering(folders: Sequence[Path], size: int, images: int, draws: int) -> Table:
    """Each type on each folder's images: CPU ms, and how many times a crack that is."""
    surfaces = surfaces_of_each(folders, size, images)
    costs = {place: {name: cost(name, on, draws) for name in SURFACE_TYPES} for place, on in surfaces.items()}
    columns = [Column(f"{place}, foreground {share(on):.0%}", ("{:.2f} ({:.2f})",)) for place, on in surfaces.items()]
    rows = [[name, *([by[name], by[name] / by["crack"]] for by in costs.values())] for name in SURFACE_TYPES]
    return Table([Column(""), *columns], rows)


def surfaces_of_each(folders: Sequence[Path], size: int, images: int) -> Mapping[str, list[Surface]]:
    """Surfaces of some images of each folder; of categories of the demo set where no folder is named."""
    sides = (size, size)
    if folders:
        return {f.name: surfaces_of([read_image(path, sides)[0] for path in image_files(f)[:images]]) for f in folders}
    return {name: surfaces_of([read_rendered(name, f"{k:03}", sides)[0] for k in range(images)]) for name in DEMO}


def surfaces_of(images: Sequence[Image]) -> list[Surface]:
    """Images with their objects if they show any, as `--foreground auto` finds them."""
    normals = [NormalImage("bench", "part", f"{k}.png", "", image) for k, image in enumerate(images)]
    method = choose_method("auto", "auto", None, normals).method
    return [Surface(normal.pixels, find_foreground(normal, method).mask) for normal in normals]


def share(surfaces: Sequence[Surface]) -> float:
    """Mean share of the images that is foreground."""
    return float(np.mean([surface.foreground.mean() for surface in surfaces]))


def cost(name: str, surfaces: Sequence[Surface], draws: int) -> float:
    """Ms of CPU time to render one anomaly, the best of three runs over the same draws.

    Drawing parameters, and what is worked out once for an image, do not count.
    """
    cv2.setNumThreads(1)
    kind = SURFACE_TYPES[name]
    settings = kind.configure()
    turns = [surfaces[k % len(surfaces)] for k in range(draws)]
    jobs = [(surface, kind.draw(np.random.default_rng(k), surface, settings)) for k, surface in enumerate(turns)]
    runs = []
    for _ in range(4):  # the first fills what is worked out once
        start = time.process_time()
        for job in jobs:
            kind.render_one(*job)
        runs.append(time.process_time() - start)
    return 1000 * min(runs[1:]) / draws
