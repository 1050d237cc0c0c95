"""Shards beside a folder of PNG files and raw memory-mapped arrays, in one run: size, writing, reading, training.

    python -m tools.bench shards                      textures made here
    python -m tools.bench shards --root DIR           the first images below a folder
    python -m tools.bench shards --shards DIR         samples that synthgen built

Speeds are images per second: of CPU time in one process, of wall-clock time for DataLoader (only where PyTorch is installed).
All files lie in the page cache. The ratios mean something on any machine; the speeds only on this one.
"""

import argparse
import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from synthgen.samples import Image, NormalImage, Sample
from synthgen.shards import ShardDataset, collate
from tools.bench.support.carriers import Memmap, Pair, PlainH5py, PngFolder, Shards
from tools.bench.support.records import Outcome
from tools.bench.support.samples import bench_spec, write_shard
from tools.bench.support.tables import Column, Table

BATCH = 32
GOALS = {
    "bytes per sample": ("at most", 0.5),
    "writing": ("at least", 4),
    "reading, plain `h5py`": ("at least", 5),
    "reading, `ShardDataset`": ("at least", 7),
    "DataLoader, no workers": ("at least", 7),
    "DataLoader, 2 workers": ("at least", 3.5),
}
"""Row -> what its ratio to PNG is to be."""

Row = tuple[float, float, float | None]
"""Bytes, or images per second: shards, PNG, memmap."""


def textures(n: int, side: int) -> Iterator[Image]:
    """Images with the noise and the structure of photographs."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        layers = [cv2.resize(rng.normal(0, 30, (s, s, 3)).astype(np.float32), (side, side)) for s in (4, 16, 64, 256)]
        yield np.clip(128 + sum(layers) + rng.normal(0, 2, (side, side, 3)), 0, 255).astype(np.uint8)


def photographs(root: Path, n: int, side: int) -> Iterator[Image]:
    """The first `n` images below `root`, by name."""
    files = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    for file in itertools.islice(files, n):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        if image is not None:
            yield cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def make_sample(normal: NormalImage, number: int) -> Sample:
    """A local change of random place, size and shape."""
    rng = np.random.default_rng([7, number])
    size = normal.pixels.shape[:2]
    field = cv2.resize(rng.normal(size=(12, 12)).astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    centre, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.05, 0.3) * size[0]
    y, x = np.ogrid[: size[0], : size[1]]
    mask = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2) & (field > np.quantile(field, 0.6))
    change = mask * rng.uniform(20, 90) + mask * rng.normal(0, 6, size)
    image = np.clip(normal.pixels + change[..., None], 0, 255).astype(np.uint8)
    mask &= (image != normal.pixels).any(axis=2)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else (0, 0, 0, 0)
    return Sample(
        spec=bench_spec(normal, "local", number), image=image, mask=mask.astype(np.uint8), normal=normal.pixels, box=box,
        params={}, attempt=0, area=int(mask.sum()), contrast=50.0, visible=1.0, source_sha256=normal.sha256,
        rejected="" if rows.size else "empty",
    )  # fmt: skip


def samples_from(options: argparse.Namespace) -> list[Sample]:
    """Samples of one category and size: built ones, or local changes of photographs or textures."""
    if options.shards:
        dataset = ShardDataset(options.shards)
        first = dataset[0].spec
        same = (sample for sample in dataset if (sample.spec.category, sample.spec.size) == (first.category, first.size))
        return list(itertools.islice(same, options.sources * options.variants))
    n, side = options.sources, options.side
    images = photographs(options.root, n, side) if options.root else textures(n, side)
    normals = [NormalImage("bench", "all", f"{k}.png", f"{k:064x}", image) for k, image in enumerate(images)]
    variants = range(options.variants)
    return [make_sample(normal, k * options.variants + v) for k, normal in enumerate(normals) for v in variants]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def read_all(pairs: Sequence[Pair], order: Sequence[int]) -> None:
    """Image and mask of each sample."""
    for i in order:
        pairs[i]


def epoch_seconds(dataset: Any, workers: int, collate_fn: Callable[..., Any] | None) -> float:
    """Wall-clock time of one shuffled epoch whose batches a training loop would look at, without the start of the workers."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    loader: Any = torch.utils.data.DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, collate_fn=collate_fn, persistent_workers=workers > 0
    )
    for _ in range(2):
        start = time.perf_counter()
        for batch in loader:
            assert len(batch)
        seconds = time.perf_counter() - start
    return seconds


def medians(jobs: Mapping[str, Callable[[], float]], passes: int) -> dict[str, float]:
    """Seconds of each job: the median over passes in which all take turns, in changing order."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    rng = np.random.default_rng(0)
    for _ in range(passes):
        for name in rng.permutation(list(jobs)):
            seconds[name].append(jobs[name]())
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(samples: list[Sample], folder: Path, passes: int) -> dict[str, Row]:
    """All rows by name."""
    n = len(samples)
    png, memmap = PngFolder(folder / "png", n), Memmap(folder / "memmap", n)
    png.write(samples)
    memmap.write(samples)
    files = {name: folder / f"{name}.h5" for name in ("delta", "gzip", "dense")}
    write_shard(files["delta"], samples)
    write_shard(files["gzip"], samples, base_compression="gzip")
    write_shard(files["dense"], samples, layout="dense")
    datasets = {name: ShardDataset(path) for name, path in files.items()}
    carriers: dict[str, Sequence[Pair]] = {name: Shards(dataset) for name, dataset in datasets.items()}
    carriers |= {"PNG": png, "memmap": memmap, "plain": PlainH5py(files["delta"])}
    hold_the_same(carriers.values(), samples)
    bytes_of = {name: path.stat().st_size / n for name, path in files.items()}
    bytes_of |= {carrier.folder.name: folder_bytes(carrier.folder) / n for carrier in (png, memmap)}
    rows: dict[str, Row] = {
        "bytes per sample": (bytes_of["delta"], bytes_of["png"], bytes_of["memmap"]),
        "with `--base-compression gzip`": (bytes_of["gzip"], bytes_of["png"], bytes_of["memmap"]),
        "writing": writing(samples, folder),
    }
    order = np.random.default_rng(1).permutation(n).tolist()
    jobs = {name: (lambda pairs=pairs: cpu_seconds(lambda: read_all(pairs, order))) for name, pairs in carriers.items()}
    read = {name: n / seconds for name, seconds in medians(jobs, passes).items()}
    names = {"plain": "plain `h5py`", "delta": "`ShardDataset`", "gzip": "gzip base", "dense": "dense layout"}
    rows |= {f"reading, {title}": (read[name], read["PNG"], read["memmap"]) for name, title in names.items()}
    if importlib.util.find_spec("torch"):
        loaded = {"shards": (datasets["delta"], collate), "PNG": (png, None), "memmap": (memmap, None)}
        for workers in (0, 2):
            epochs = {
                name: (lambda pairs=pairs, how=how, workers=workers: epoch_seconds(pairs, workers, how))
                for name, (pairs, how) in loaded.items()
            }
            wall = medians(epochs, passes)
            shards, pngs, arrays = (n / wall[name] for name in loaded)
            rows[f"DataLoader, {workers or 'no'} workers"] = shards, pngs, arrays
    return rows


def hold_the_same(carriers: Any, samples: Sequence[Sample]) -> None:
    """Fail where a carrier gives back other pixels than it was given."""
    for carrier in carriers:
        for i, sample in enumerate(samples):
            image, mask = carrier[i]
            assert np.array_equal(image, sample.image), (carrier, i)
            assert np.array_equal(mask, sample.mask), (carrier, i)


def writing(samples: Sequence[Sample], folder: Path) -> Row:
    """Images per second, by CPU time."""
    n, numbers = len(samples), itertools.count()
    jobs = {
        "shards": lambda: cpu_seconds(lambda: write_shard(folder / "again.h5", samples)),
        "PNG": lambda: cpu_seconds(lambda: PngFolder(folder / f"png{next(numbers)}", n).write(samples)),
    }
    seconds = medians(jobs, 3)
    return n / seconds["shards"], n / seconds["PNG"], None


def folder_bytes(folder: Path) -> int:
    """Of all its files."""
    return sum(file.stat().st_size for file in folder.iterdir())


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--root", type=Path, help="folder of normal images")
    parser.add_argument("--shards", type=Path, help="folder of shards")
    parser.add_argument("--sources", type=int, default=32, help="number of normal images")
    parser.add_argument("--variants", type=int, default=8, help="samples of each")
    parser.add_argument("--side", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--passes", type=int, default=5, help="passes whose median counts")


def run(options: argparse.Namespace) -> Outcome:
    """One table, and the goals that were missed."""
    cv2.setNumThreads(1)
    samples = samples_from(options)
    with tempfile.TemporaryDirectory(prefix="synthgen-bench-") as folder:
        results = measure(samples, Path(folder), options.passes)
    rows, missed = [], []
    for name, (shards, png, memmap) in results.items():
        relation, goal = GOALS.get(name, ("", 0))
        rows.append([name, shards, png, shards / png, f"{relation} {goal}" if relation else None, memmap and shards / memmap])
        if relation and (shards / png > goal if relation == "at most" else shards / png < goal):
            missed.append(f"missed: {name}: {shards / png:.2f} times PNG, {relation} {goal} is the goal")
    whole = ("{:,.0f}",)
    columns = [Column(""), Column("shards", whole), Column("PNG", whole), Column("times PNG", ("{:.3g}",)), Column("goal")]
    return Outcome({"shards": Table([*columns, Column("times raw arrays", ("{:.2g}",))], rows)}, missed)
