"""Sets of anomalies by other people's methods, as shards, so that they can be learned from and measured as ours are."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from synthgen.painting.blending import largest_change
from synthgen.samples import NormalImage, Sample
from tools.bench.support.samples import bench_spec, write_shard

Maker = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(H, W, 3) image, random numbers -> changed image, (H, W) mask {0, 1}."""

_LEAST_AREA = 12  # pixels; a draw that changes less is drawn again
_DRAWS = 50
CELLS = (2, 4, 8, 16, 32)
THRESHOLD = 1.2  # standard deviations of the noise
OPACITY = (0.2, 1.0)


def write_set(path: Path, name: str, make: Maker, normals: Sequence[NormalImage], per_image: int) -> int:
    """One shard of a maker's samples; returns their number."""
    samples = [
        draw(name, make, normal, [number, replica]) for number, normal in enumerate(normals) for replica in range(per_image)
    ]
    write_shard(path, samples, licence="that of the images")
    return len(samples)


def draw(name: str, make: Maker, normal: NormalImage, place: list[int]) -> Sample:
    """A sample; `place` is the number of the image, and that of the sample among those of the image."""
    for attempt in range(_DRAWS):
        image, mask = make(normal.pixels, np.random.default_rng([*place, attempt]))
        change = largest_change(normal.pixels, image)
        image[mask == 0] = normal.pixels[mask == 0]
        mask = (mask & (change > 0)).astype(np.uint8)
        if mask.sum() >= _LEAST_AREA:
            break
    ys, xs = np.nonzero(mask)
    seen = change[mask > 0]
    return Sample(
        spec=bench_spec(normal, name, place[1], f"{name} 1"), image=image, mask=mask, normal=normal.pixels,
        box=(int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1), params={}, attempt=attempt,
        area=int(mask.sum()), contrast=float(seen.mean()), visible=float((seen >= 6).mean()), source_sha256=normal.sha256,
    )  # fmt: skip


def perlin(module: object) -> Maker:
    """The generator of anomalib."""
    import torch

    torch.set_num_threads(1)
    generator = module.PerlinAnomalyGenerator(probability=1.0)

    def make(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        random.seed(int(rng.integers(2**31)))
        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002  the generator's own source of numbers
        torch.manual_seed(int(rng.integers(2**31)))
        out, mask = generator(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
        changed = (out.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().copy()
        return changed, (mask[0].numpy() > 0).astype(np.uint8)

    return make


def cutpaste(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of the image, its colours jittered by a tenth, pasted elsewhere; or a turned thin one (a scar).

    CutPaste (arXiv 2104.04015, section 3 and appendix A), written here after the paper.
    """
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


def noise_of_others(normals: Sequence[NormalImage]) -> Maker:
    """A noise mask filled with the texture of another normal image.

    The idea of DRAEM (arXiv 2108.07610), with another normal image instead of photographs of textures, which cannot be
    shipped; written here after the paper.
    """
    pictures = [normal.pixels for normal in normals]
    return lambda image, rng: noise_anomaly(image, pictures, rng)


def noise_anomaly(image: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
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
