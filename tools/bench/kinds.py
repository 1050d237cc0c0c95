"""What rendering one anomaly of each type costs on images of one's own, as a ratio to a crack.

    python tools/bench/kinds.py FOLDER ... [--size 512] [--images 6] [--draws 60]

Foregrounds are found as `--foreground auto` does it. CPU time in ms, mean of the draws, the best of three runs; drawing
parameters, and what is worked out once for an image, do not count.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.datasets.images import read_image
from synthgen.datasets.listing import image_files
from synthgen.foreground.classical import follow_edge, full_size, is_object, segment
from synthgen.painting.surface import Surface


def surfaces_of(folder: Path, size: int, most: int) -> list[Surface]:
    """Some images of a folder, with their objects if they show any."""
    pictures = [read_image(path, (size, size))[0] for path in image_files(folder)[:most]]
    whole = np.ones((size, size), np.uint8)
    if not is_object(pictures):
        return [Surface(picture, whole) for picture in pictures]
    return [Surface(picture, follow_edge(full_size(segment(picture).mask, size, size), picture)) for picture in pictures]


def cost(name: str, surfaces: list[Surface], draws: int) -> float:
    """Ms of CPU time to render one anomaly."""
    kind = SURFACE_TYPES[name]
    settings = kind.configure()
    jobs = [(s, kind.draw(np.random.default_rng(k), s, settings)) for k in range(draws) for s in [surfaces[k % len(surfaces)]]]
    runs = []
    for _ in range(4):  # the first fills what is worked out once
        start = time.process_time()
        for job in jobs:
            kind.render_one(*job)
        runs.append(time.process_time() - start)
    return 1000 * min(runs[1:]) / draws


def main() -> None:
    """A table for each folder."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--images", type=int, default=6)
    options.add_argument("--draws", type=int, default=60)
    given = options.parse_args()
    cv2.setNumThreads(1)
    for folder in given.folders:
        surfaces = surfaces_of(folder, given.size, given.images)
        found = {name: cost(name, surfaces, given.draws) for name in SURFACE_TYPES}
        inside = np.mean([surface.foreground.mean() for surface in surfaces])
        print(f"{folder}: {len(surfaces)} images, foreground {inside:.0%}")
        for name, value in found.items():
            print(f"  {name:14}{value:7.2f} ms {value / found['crack']:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
