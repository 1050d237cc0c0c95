"""Anomalies that know nothing of cracks or rust, as shards: a noise mask filled with the texture of another normal image.

    python tools/bench/noise_anomalies.py --dataset folder --root DIR --category tile --out OUT [--per-image 2] [--size 256]
    detectors train bisqad --shards OUT

A baseline to compare our types with (the idea of DRAEM, arXiv 2108.07610, with another normal image instead of photographs
of textures, which cannot be shipped; written here after the paper).
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

CELLS = (2, 4, 8, 16, 32)
THRESHOLD = 1.2  # standard deviations of the noise
OPACITY = (0.2, 1.0)


def noise_anomaly(image, others, rng):
    """An image with a patch of another one's texture, and its mask."""
    height, width = image.shape[:2]
    cells = int(rng.choice(CELLS))
    coarse = rng.normal(size=(cells + 2, cells + 2)).astype(np.float32)
    noise = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = (noise > THRESHOLD * noise.std()).astype(np.uint8)
    other = others[int(rng.integers(len(others)))]
    other = np.roll(other, tuple(rng.integers(0, (height, width))), (0, 1))
    other = np.rot90(other, 2 * int(rng.integers(2)))[:, :: 1 if rng.random() < 0.5 else -1]
    share = rng.uniform(*OPACITY) * mask[..., None]
    changed = np.rint(share * other + (1 - share) * image).astype(np.uint8)
    return changed, mask


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dataset", default="folder")
    options.add_argument("--root", type=Path, required=True)
    options.add_argument("--category", required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--per-image", type=int, default=2)
    options.add_argument("--size", type=int, default=256)
    given = options.parse_args()
    from synthgen.datasets import read_normal, scan
    from tools.bench.worth_peers import write

    (category,) = scan(given.dataset, given.root, (given.category,)).categories
    normals = [read_normal(source, (given.size, given.size)) for source in category.used]
    pictures = [normal.pixels for normal in normals]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"noise-{given.category}.h5"
    made = write(path, "noise", lambda image, rng: noise_anomaly(image, pictures, rng), normals, given.per_image)
    print(f"{path}: {made} samples")


if __name__ == "__main__":
    main()
