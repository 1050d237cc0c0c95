"""Sets of anomalies by other people's methods, as shards, so that `synthgen worth` can measure them as it measures ours.

    python tools/bench/worth_peers.py --dataset folder --root DIR --category tile --out OUT [--per-image 1] [--venv DIR]
    synthgen worth OUT --real REAL_DEFECTS

OUT becomes a dataset with two types: `perlin` is anomalib's `PerlinAnomalyGenerator` with its defaults (but that it never
skips an image), `cutpaste` is CutPaste (arXiv 2104.04015, section 3 and appendix A), patches and scars in turn, written here
after the paper. The virtual environment is that of `peers.py`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tools.bench.peers import default_environment, run_inside

Maker = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Make both sets."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dataset", default="folder")
    options.add_argument("--root", type=Path, required=True)
    options.add_argument("--category", required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--per-image", type=int, default=1)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--venv", type=Path, default=default_environment())
    given = options.parse_args()
    if Path(sys.prefix).resolve() != given.venv.resolve():
        run_inside(given.venv)
    from synthgen.datasets import read_normal, scan
    from tools.bench.peer_duels import import_alone

    cv2.setNumThreads(1)
    (category,) = scan(given.dataset, given.root, (given.category,)).categories
    normals = [read_normal(source, (given.size, given.size)) for source in category.used]
    makers = {"perlin": perlin(import_alone("anomalib.data.utils.generators.perlin")), "cutpaste": cutpaste}
    given.out.mkdir(parents=True)
    for name, make in makers.items():
        print(name, write(given.out / f"{name}.h5", name, make, normals, given.per_image), "samples")


def write(path: Path, name: str, make: Maker, normals: list, per_image: int) -> int:
    """One shard of a maker's samples; a draw that changes nothing is drawn again."""
    from synthgen.painting.blending import largest_change
    from synthgen.samples import Sample, SampleSpec
    from synthgen.shards.layout import ShardHeader
    from synthgen.shards.writer import ShardWriter

    first = normals[0]
    size = first.pixels.shape[:2]
    header = ShardHeader(
        dataset=first.dataset, category=first.category, licence="that of the images", image_size=size, seed=0, shard_index=0,
        generator=name, config_json="{}", types=(name,),
    )  # fmt: skip
    with ShardWriter(path, header, len(normals) * per_image, len(normals)) as writer:
        for number, normal in enumerate(normals):
            row = writer.add_normal(normal)
            for replica in range(per_image):
                for attempt in range(50):
                    image, mask = make(normal.pixels, np.random.default_rng([number, replica, attempt]))
                    change = largest_change(normal.pixels, image)
                    image[mask == 0] = normal.pixels[mask == 0]
                    mask = (mask & (change > 0)).astype(np.uint8)
                    if mask.sum() >= 12:
                        break
                ys, xs = np.nonzero(mask)
                seen = change[mask > 0]
                sample_id = f"{normal.dataset}/{normal.category}/{Path(normal.source).stem}/{name}/{replica}"
                spec = SampleSpec(sample_id, normal.dataset, normal.category, normal.source, name, replica, size, f"{name} 1")
                box = (int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1)
                writer.add_sample(
                    Sample(spec, image, mask, normal.pixels, box, {}, attempt, int(mask.sum()), float(seen.mean()),
                           float((seen >= 6).mean()), normal.sha256), row,
                )  # fmt: skip
        writer.finish()
    return len(normals) * per_image


def perlin(module: object) -> Maker:
    """The generator of anomalib."""
    import torch

    torch.set_num_threads(1)
    generator = module.PerlinAnomalyGenerator(probability=1.0)

    def make(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        import random

        random.seed(int(rng.integers(2**31)))
        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002  the generator's own source of numbers
        torch.manual_seed(int(rng.integers(2**31)))
        out, mask = generator(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
        changed = (out.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().copy()
        return changed, (mask[0].numpy() > 0).astype(np.uint8)

    return make


def cutpaste(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of the image, its colours jittered by a tenth, pasted elsewhere; or a turned thin one (a scar)."""
    height, width = image.shape[:2]
    scar = rng.random() < 0.5
    if scar:  # the paper's pixels are of images of 256
        w, h = rng.uniform(2, 16) * width / 256, rng.uniform(10, 25) * height / 256
    else:
        area, aspect = rng.uniform(0.02, 0.15) * height * width, np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        w, h = np.sqrt(area * aspect), np.sqrt(area / aspect)
    w, h = int(np.clip(w, 2, width - 1)), int(np.clip(h, 2, height - 1))
    x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    patch = image[y : y + h, x : x + w].astype(np.float32)
    mean = patch.mean()
    patch = np.clip(((patch - mean) * rng.uniform(0.9, 1.1) + mean) * rng.uniform(0.9, 1.1), 0, 255)
    cover = np.full((h, w), 255, np.uint8)
    if scar:
        turn = float(rng.uniform(-45, 45))
        side = int(np.hypot(w, h)) + 2
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), turn, 1)
        matrix[:, 2] += (side - w) / 2, (side - h) / 2
        patch = cv2.warpAffine(patch, matrix, (side, side))
        cover = cv2.warpAffine(cover, matrix, (side, side))
    h, w = min(cover.shape[0], height), min(cover.shape[1], width)
    x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    out, mask = image.copy(), np.zeros((height, width), np.uint8)
    inside = cover[:h, :w] >= 128
    out[y : y + h, x : x + w][inside] = np.rint(patch[:h, :w][inside]).astype(np.uint8)
    mask[y : y + h, x : x + w] = inside
    return out, mask


if __name__ == "__main__":
    main()
