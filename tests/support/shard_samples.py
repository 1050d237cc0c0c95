"""Samples for the tests of shards: real changes at random places, the box and the measures as the engine hands them over."""

from pathlib import Path

import numpy as np

from synthgen.samples import NormalImage, Sample, SampleSpec
from synthgen.shards import ShardHeader, ShardInfo, ShardWriter

TYPES = ("crack", "dent")


def make_header(size, **changes):
    facts = {
        "dataset": "set",
        "category": "nut",
        "licence": "CC BY 4.0",
        "seed": 5,
        "shard_index": 2,
        "generator": "synthgen 9",
    }
    return ShardHeader(**{**facts, "image_size": size, "config_json": '{"a":1}', "types": TYPES, **changes})


def make_normal(size, number, seed=0):
    rng = np.random.default_rng([seed, number])
    flat = rng.integers(0, 256, 3, np.uint8)
    pixels = np.broadcast_to(flat, (*size, 3)) + rng.integers(0, 9, (*size, 3), np.uint8)
    return NormalImage("set", "nut", f"good/{number:03}-ä.png", f"{number:064x}", pixels)


def make_sample(normal, number, seed=0, kind="local"):
    """A sample; `kind` is "local", "whole" (every pixel may change) or "rejected"."""
    rng = np.random.default_rng([seed, 99, number])
    size = height, width = normal.pixels.shape[:2]
    spec = SampleSpec(
        sample_id=f"set/nut/{number:04}",
        dataset="set",
        category="nut",
        source=normal.source,
        type=TYPES[number % 2],
        replica=number % 3,
        size=size,
        generator="crack 1",
    )
    if kind == "rejected":
        empty = np.zeros(size, np.uint8)
        no_box = (0, 0, 0, 0)
        return Sample(
            spec=spec,
            image=normal.pixels.copy(),
            mask=empty,
            normal=normal.pixels,
            box=no_box,
            params={},
            attempt=7,
            area=0,
            contrast=0.0,
            visible=0.0,
            source_sha256=normal.sha256,
            rejected="no visible change",
        )
    y0, x0 = (0, 0) if kind == "whole" else (int(rng.integers(height)), int(rng.integers(width)))
    y1, x1 = size if kind == "whole" else (int(rng.integers(y0, height)) + 1, int(rng.integers(x0, width)) + 1)
    changed = np.zeros(size, bool)
    changed[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < 0.4
    changed[[y0, y1 - 1], [x0, x1 - 1]] = True
    image = normal.pixels + changed[..., None] * rng.integers(1, 256, (*size, 3), np.uint8)
    mask = changed & (rng.random(size) < 0.8)
    mask[y0, x0] = True
    params = {"width": float(rng.random()), "points": [[0.5, 1e-300], [-1, 2]], "name": 'ä"\\\n', "none": None, "flag": True}
    return Sample(
        spec=spec,
        image=image,
        mask=mask.astype(np.uint8),
        normal=normal.pixels,
        box=(y0, x0, y1, x1),
        params=params,
        attempt=number % 8,
        area=int(mask.sum()),
        contrast=float(np.float32(12.3)),
        visible=0.5,
        source_sha256=normal.sha256,
    )


def write_shard(path: Path, normals, samples, **options) -> ShardInfo:
    """Writes samples, of which those that changed everywhere are repainted."""
    header = options.pop("header", None) or make_header(normals[0].pixels.shape[:2])
    with ShardWriter(path, header, len(samples) + 3, len(normals) + len(samples), **options) as writer:
        rows = {normal.source: writer.add_normal(normal) for normal in normals}
        for sample in samples:
            whole = sample.box == (0, 0, *header.image_size)
            writer.add_sample(sample, rows[sample.spec.source], repainted=whole)
    return writer.info


def make_set(size, n_normals, kinds, seed=0):
    """Normal images, and one sample of each kind in `kinds`, made from them in turn."""
    normals = [make_normal(size, k, seed) for k in range(n_normals)]
    samples = [make_sample(normals[k * n_normals // len(kinds)], k, seed, kind) for k, kind in enumerate(kinds)]
    return normals, samples


def assert_same(a: Sample, b: Sample) -> None:
    for name in ("spec", "box", "params", "attempt", "area", "contrast", "visible", "source_sha256", "rejected", "label"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("image", "mask", "normal"):
        assert getattr(a, name).dtype == np.uint8
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
