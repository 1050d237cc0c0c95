"""Compares shards with a folder of PNG files and with raw memory-mapped arrays, in one run: size, writing, reading, training.

    python tools/bench/shards.py                      textures made here
    python tools/bench/shards.py --root DIR           the first images below a folder
    python tools/bench/shards.py --shards DIR         samples that synthgen built

Speeds are images per second: of CPU time in one process, of wall-clock time for DataLoader (only where PyTorch is installed).
All files lie in the page cache. The ratios mean something on any machine; the speeds only on this one.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from synthgen.samples import Image, Mask, NormalImage, Sample, SampleSpec
from synthgen.shards import ShardDataset, ShardHeader, ShardWriter, collate

Pair = tuple[Image, Mask]
BATCH = 32
TARGETS = {
    "size": ("x PNG", "<=", 0.5),
    "write": ("x PNG", ">=", 4),
    "read, plain h5py": ("x PNG", ">=", 5),
    "read, ShardDataset": ("x PNG", ">=", 7),
    "DataLoader, 0 workers": ("x PNG", ">=", 7),
    "DataLoader, 2 workers": ("x PNG", ">=", 3.5),
}


class PngFolder(Sequence[Pair]):
    """Images and masks as PNG files, the way most datasets come."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def write(self, samples: Sequence[Sample]) -> None:
        """Makes the folder."""
        self.folder.mkdir()
        level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        for i, sample in enumerate(samples):
            cv2.imwrite(str(self.folder / f"{i}.png"), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR), level)
            cv2.imwrite(str(self.folder / f"{i}_mask.png"), sample.mask * 255, level)

    def __len__(self) -> int:
        """Number of samples."""
        return self.n

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        image = cv2.imread(str(self.folder / f"{i}.png"), cv2.IMREAD_COLOR_RGB)
        mask = cv2.imread(str(self.folder / f"{i}_mask.png"), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert mask is not None
        return image.astype(np.uint8, copy=False), (mask > 0).astype(np.uint8)


class Memmap(Sequence[Pair]):
    """Raw arrays: nothing to decode, the upper bound."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def write(self, samples: Sequence[Sample]) -> None:
        """Makes the folder."""
        self.folder.mkdir()
        np.save(self.folder / "images.npy", np.stack([sample.image for sample in samples]))
        np.save(self.folder / "masks.npy", np.stack([sample.mask for sample in samples]))
        self.open()

    def open(self) -> None:
        """Maps the arrays."""
        self.images = np.load(self.folder / "images.npy", mmap_mode="r")
        self.masks = np.load(self.folder / "masks.npy", mmap_mode="r")

    def __len__(self) -> int:
        """Number of samples."""
        return self.n

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        return np.array(self.images[i]), np.array(self.masks[i])


class PlainH5py(Sequence[Pair]):
    """The shard, read with nothing but h5py."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.file["mask"])

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        file = self.file
        return file["base"][file["base_index"][i]] + file["delta"][i], file["mask"][i]


class Shards(Sequence[Pair]):
    """Image and mask of a `ShardDataset`, one at a time."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Pair:
        """Image and mask of sample i."""
        batch = self.dataset.__getitems__([i])
        return batch.arrays["image"][0], batch.arrays["mask"][0]


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
    spec = SampleSpec(f"bench/all/{number:06}", "bench", "all", normal.source, "local", number, (size[0], size[1]), "bench 1")
    area, kind = int(mask.sum()), "" if rows.size else "empty"
    return Sample(spec, image, mask.astype(np.uint8), normal.pixels, box, {}, 0, area, 50.0, 1.0, normal.sha256, kind)


def samples_from(arguments: argparse.Namespace) -> list[Sample]:
    if arguments.shards:
        dataset = ShardDataset(arguments.shards)
        first = dataset[0].spec
        same = (sample for sample in dataset if (sample.spec.category, sample.spec.size) == (first.category, first.size))
        return list(itertools.islice(same, arguments.sources * arguments.variants))
    n, side = arguments.sources, arguments.side
    images = photographs(arguments.root, n, side) if arguments.root else textures(n, side)
    normals = [NormalImage("bench", "all", f"{k}.png", f"{k:064x}", image) for k, image in enumerate(images)]
    return [
        make_sample(normal, k * arguments.variants + v) for k, normal in enumerate(normals) for v in range(arguments.variants)
    ]


def write_shard(path: Path, samples: Sequence[Sample], layout: Any = "delta", base_compression: Any = None) -> None:
    first = samples[0].spec
    types = tuple(sorted({sample.spec.type for sample in samples}))
    header = ShardHeader(first.dataset, first.category, "", first.size, 0, 0, "bench", "{}", types)
    rows: dict[str, int] = {}
    with ShardWriter(path, header, len(samples), len(samples), layout, base_compression) as writer:
        for sample in samples:
            source = sample.spec.source
            if source not in rows:
                normal = NormalImage(first.dataset, first.category, source, sample.source_sha256, sample.normal)
                rows[source] = writer.add_normal(normal)
            writer.add_sample(sample, rows[source])


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def read_all(pairs: Sequence[Pair], order: Sequence[int]) -> None:
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


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def measure(samples: list[Sample], folder: Path, passes: int) -> dict[str, dict[str, float]]:
    """All figures by name: the speeds of each carrier, and their ratios."""
    n, numbers = len(samples), itertools.count()
    png, memmap, shard = PngFolder(folder / "png", n), Memmap(folder / "memmap", n), folder / "shard.h5"
    png.write(samples)
    memmap.write(samples)
    write_shard(shard, samples)
    write_shard(folder / "gzip.h5", samples, "delta", "gzip")
    write_shard(folder / "dense.h5", samples, "dense")
    dataset = ShardDataset(shard)
    ours, plain = Shards(dataset), PlainH5py(shard)
    gzip, dense = Shards(ShardDataset(folder / "gzip.h5")), Shards(ShardDataset(folder / "dense.h5"))
    for i in range(n):
        for carrier in (png, ours, plain, gzip, dense):
            image, mask = carrier[i]
            assert np.array_equal(image, samples[i].image), (carrier, i)
            assert np.array_equal(mask, samples[i].mask), (carrier, i)

    writing = {
        "PNG": lambda: cpu_seconds(lambda: PngFolder(folder / f"png{next(numbers)}", n).write(samples)),
        "shards": lambda: cpu_seconds(lambda: write_shard(folder / "again.h5", samples)),
    }
    order = np.random.default_rng(1).permutation(n).tolist()
    carriers = {"PNG": png, "memmap": memmap, "shards": ours, "plain": plain, "gzip": gzip, "dense": dense}
    reading = {name: (lambda pairs=pairs: cpu_seconds(lambda: read_all(pairs, order))) for name, pairs in carriers.items()}
    write, read = medians(writing, 3), medians(reading, passes)
    sizes = {"PNG": folder_bytes(png.folder), "memmap": folder_bytes(memmap.folder), "shards": shard.stat().st_size}
    results = {
        "size": figures(sizes["shards"] / n, sizes["PNG"] / n, sizes["memmap"] / n),
        "size, gzip base": figures((folder / "gzip.h5").stat().st_size / n, sizes["PNG"] / n, sizes["memmap"] / n),
        "write": figures(n / write["shards"], n / write["PNG"]),
        "read, plain h5py": figures(n / read["plain"], n / read["PNG"], n / read["memmap"]),
        "read, ShardDataset": figures(n / read["shards"], n / read["PNG"], n / read["memmap"]),
        "read, gzip base": figures(n / read["gzip"], n / read["PNG"], n / read["memmap"]),
        "read, dense layout": figures(n / read["dense"], n / read["PNG"], n / read["memmap"]),
    }
    if importlib.util.find_spec("torch"):
        for workers in (0, 2):
            epochs = {
                "PNG": lambda workers=workers: epoch_seconds(png, workers, None),
                "memmap": lambda workers=workers: epoch_seconds(memmap, workers, None),
                "shards": lambda workers=workers: epoch_seconds(dataset, workers, collate),
            }
            wall = medians(epochs, passes)
            results[f"DataLoader, {workers} workers"] = figures(*(n / wall[name] for name in ("shards", "PNG", "memmap")))
    results["open a shard"] = {"ms": 1e3 * statistics.median(open_seconds(shard) for _ in range(20))}
    return results


def open_seconds(shard: Path) -> float:
    start = time.perf_counter()
    ShardDataset(shard).close()
    return time.perf_counter() - start


def figures(ours: float, png: float, memmap: float | None = None) -> dict[str, float]:
    ratios = {"shards": ours, "PNG": png, "x PNG": ours / png}
    return ratios if memmap is None else {**ratios, "memmap": memmap, "x memmap": ours / memmap}


def missed(results: dict[str, dict[str, float]]) -> list[str]:
    """The targets that were not reached."""
    wrong = []
    for name, (key, relation, target) in TARGETS.items():
        value = results.get(name, {}).get(key)
        if value is not None and not (value >= target if relation == ">=" else value <= target):
            wrong.append(f"{name}: {value:.2f} {key}, wanted {relation} {target}")
    return wrong


def table(results: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':24}{'shards':>12}{'PNG':>12}{'x PNG':>8}{'memmap':>12}{'x memmap':>10}  target"]
    for name, values in results.items():
        if "shards" not in values:
            lines.append(f"{name:24}" + ", ".join(f"{value:.2f} {unit}" for unit, value in values.items()))
            continue
        cells = [f"{values['shards']:12,.0f}{values['PNG']:12,.0f}{values['x PNG']:8.2f}"]
        cells.append(f"{values['memmap']:12,.0f}{values['x memmap']:10.2f}" if "memmap" in values else " " * 22)
        target = TARGETS.get(name)
        lines.append(f"{name:24}{''.join(cells)}  {' '.join(map(str, target[1:])) if target else ''}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of normal images")
    parser.add_argument("--shards", type=Path, help="folder of shards")
    parser.add_argument("--sources", type=int, default=32, help="number of normal images")
    parser.add_argument("--variants", type=int, default=8, help="samples of each")
    parser.add_argument("--side", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--passes", type=int, default=5, help="passes whose median counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    samples = samples_from(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(samples, Path(folder), arguments.passes)
    print(json.dumps(results, indent=2) if arguments.json else table(results))
    for line in missed(results):
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed(results) else 0


if __name__ == "__main__":
    sys.exit(main())
