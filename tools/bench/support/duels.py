"""What `peers` measures: one job at a time, done by us and by others, as `Duel`s.

Only `measure` and what it calls under "the peers" needs packages that are not ours; the rest takes any peer.
"""

import importlib
import itertools
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.foreground.outline import find_object
from synthgen.painting.noise import fractal_noise, permutation
from synthgen.painting.surface import Surface
from synthgen.samples import NormalImage, Sample
from synthgen.synthesis import PreparedNormal, make_sample
from tools.bench.support import pictures
from tools.bench.support.carriers import PngFolder
from tools.bench.support.samples import bench_spec, write_shard
from tools.bench.support.tables import Cell, Column, Table
from tools.bench.support.timing import Timing, Variant, take_turns

GENERATOR_NAME = "PerlinAnomalyGenerator"  # of its rows, too
GOAL_SIZE, GOAL = 512, 10.0
PREPARED, NEW = "prepared normal", "new normal"
PICTURES = 6
SAMPLES_PER_SOURCE = 8
STORED_SOURCES = 3


@dataclass(frozen=True)
class Duel:
    """Timings of one job.

    Attributes:
        timings: by variant.
        peers: which of them are not ours.
        mask_share: mean share of the image that the masks cover, where the job makes masks.
    """

    timings: dict[str, Timing]
    peers: tuple[str, ...]
    mask_share: dict[str, float]

    def ratios(self) -> dict[str, dict[str, float]]:
        """For each of ours: how many times as fast as each peer it is, by medians."""
        ours = [name for name in self.timings if name not in self.peers]
        return {name: {peer: self.timings[peer].median / self.timings[name].median for peer in self.peers} for name in ours}


def table(sizes: Mapping[int, Mapping[str, Duel]]) -> Table:
    """A row for each variant of each job; at each size its time, how many times as fast as its peer, and the masks' share."""
    rows = []
    for title, first in next(iter(sizes.values())).items():
        for name in first.timings:
            cells: list[Cell] = []
            for duels in sizes.values():
                ratios = duels[title].ratios().get(name, {})
                share = duels[title].mask_share.get(name)
                cells += [duels[title].timings[name].pair, next(iter(ratios.values()), None), share and 100 * share]
            rows.append([f"{title}: {name}", *cells])
    columns = [Column("")]
    for size in sizes:
        columns += [Column(f"{size} px: ms", ("{:.2f}",)), Column("times faster", ("{:.1f}",)), Column("mask, %", ("{:.1f}",))]
    return Table(columns, rows)


def missed(sizes: Mapping[int, Mapping[str, Duel]]) -> list[str]:
    """What did not reach the goal; empty where the goal's size was not measured."""
    if GOAL_SIZE not in sizes:
        return []
    ratios = {name: by_peer[GENERATOR_NAME] for name, by_peer in sizes[GOAL_SIZE]["make a sample"].ratios().items()}
    return [
        f"missed: {name} at {GOAL_SIZE} px: {ratio:.1f} x {GENERATOR_NAME}, the goal is {GOAL:.0f} x"
        for name, ratio in ratios.items()
        if name.endswith(PREPARED) and ratio < GOAL
    ]


# --- ours ---


def prepared_normals(size: int) -> list[PreparedNormal]:
    """Pictures with their true foreground."""
    drawn = [pictures.picture(size, seed) for seed in range(PICTURES)]
    return [
        PreparedNormal(NormalImage("bench", "part", f"{i}.png", "", image), Surface(image, part, "metal"), "")
        for i, (image, part) in enumerate(drawn)
    ]


def newly_prepared(prepared: PreparedNormal) -> PreparedNormal:
    """The same picture with its foreground found now, and nothing else known about it yet."""
    pixels = prepared.normal.pixels
    return PreparedNormal(prepared.normal, Surface(pixels, find_object(pixels).mask, "metal"), "")


def our_sample(type_name: str, prepared: PreparedNormal, number: int) -> Sample:
    """Sample `number` as a build makes it, drawn again where the checks refuse it."""
    settings = SURFACE_TYPES[type_name].configure(style="realistic")
    return make_sample(bench_spec(prepared.normal, type_name, number), prepared, settings, seed=0)


def stored_samples(size: int) -> list[Sample]:
    """What is stored: all types in turn, eight samples to a normal image."""
    normals, names = prepared_normals(size)[:STORED_SOURCES], itertools.cycle(SURFACE_TYPES)
    return [our_sample(next(names), normal, number) for normal in normals for number in range(SAMPLES_PER_SOURCE)]


# --- the jobs ---


def make_a_sample(size: int, rounds: int, generator: Callable[[Any], Any], to_input: Callable[[Any], Any]) -> Duel:
    """One sample of each type against one of `generator`, which gives (image, mask with values 0 and 1).

    Args:
        size: side of the images in pixels.
        rounds: measurements of each variant.
        generator: the peer.
        to_input: what makes its input of (size, size, 3) uint8 RGB; not measured.
    """
    normals = prepared_normals(size)
    inputs = [to_input(normal.normal.pixels) for normal in normals]
    for name, normal in itertools.product(SURFACE_TYPES, normals):
        our_sample(name, normal, 0)  # finds the facts about each normal image before the clock starts

    def ours(name: str, prepare: Callable[[PreparedNormal], PreparedNormal]) -> Callable[[int], float]:
        return lambda i: our_sample(name, prepare(normals[i % PICTURES]), i).area / size**2

    runs: dict[str, Callable[[int], float]] = {GENERATOR_NAME: lambda i: float(generator(inputs[i % PICTURES])[1].mean())}
    runs |= {f"{name}, {PREPARED}": ours(name, lambda prepared: prepared) for name in SURFACE_TYPES}
    runs |= {f"{name}, {NEW}": ours(name, newly_prepared) for name in SURFACE_TYPES}
    shares: dict[str, list[float]] = {name: [] for name in runs}

    def noting(name: str) -> Variant:
        repeats = 2 * PICTURES if name == GENERATOR_NAME else 4 * PICTURES
        return Variant(lambda i: shares[name].append(runs[name](i)), repeats)

    timings = take_turns({name: noting(name) for name in runs}, rounds)
    return Duel(timings, (GENERATOR_NAME,), {name: float(np.mean(values)) for name, values in shares.items()})


def fill_a_field(size: int, rounds: int, peers: Mapping[str, Variant], cells: int, octaves: int) -> Duel:
    """`fractal_noise` with `cells` lattice cells across the image against `peers`, which fill a field like it."""
    lattice = permutation(np.random.default_rng(0))
    ours = Variant(lambda _: fractal_noise((size, size), size / cells, lattice, octaves), 20)
    return Duel(take_turns({**peers, "fractal_noise": ours}, rounds), tuple(peers), {})


def store_a_sample(folder: Path, samples: Sequence[Sample], rounds: int) -> Duel:
    """PNG files against a shard, by sample."""
    n, numbers = len(samples), itertools.count()
    variants = {
        "PNG files": Variant(lambda _: PngFolder(folder / f"png{next(numbers)}", n).write(samples)),
        "ShardWriter": Variant(lambda _: write_shard(folder / "shard.h5", samples)),
    }
    whole = take_turns(variants, rounds)
    return Duel({name: Timing(t.median / n, t.least / n) for name, t in whole.items()}, ("PNG files",), {})


# --- the peers ---


def import_alone(name: str) -> ModuleType:
    """Import a module without running the packages between it and its top-level package, and so without what they import.

    The module itself runs as it is; what it imports finds its packages as usual.
    """
    top, *between = name.split(".")[:-1]
    package = importlib.import_module(top)
    for part in between:
        inner = types.ModuleType(f"{package.__name__}.{part}")
        inner.__path__ = [str(Path(folder) / part) for folder in package.__path__]
        package = sys.modules.setdefault(inner.__name__, inner)
    return importlib.import_module(name)


def against_generator(perlin: ModuleType, size: int, rounds: int) -> Duel:
    """The generator of anomalib against our types."""
    import torch

    generator = getattr(perlin, GENERATOR_NAME)(probability=1.0)
    return make_a_sample(size, rounds, generator, lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def against_noise(perlin: ModuleType, size: int, rounds: int) -> dict[str, Duel]:
    """The loop with the octaves of our renderings, anomalib's function with the one it has; eight cells across the image."""
    from noise import pnoise2

    cells = 8
    cell = size / cells

    def loop(_: int) -> list[list[float]]:
        return [[pnoise2(x / cell, y / cell, octaves=4) for x in range(size)] for y in range(size)]

    theirs = Variant(lambda _: perlin.generate_perlin_noise(size, size, scale=(cells, cells)), 6)
    return {
        "noise, 4 octaves": fill_a_field(size, min(rounds, 5), {"pnoise2 loop": Variant(loop)}, cells, 4),
        "noise, 1 octave": fill_a_field(size, rounds, {"generate_perlin_noise": theirs}, cells, 1),
    }


def measure(sizes: Sequence[int], rounds: int) -> dict[int, dict[str, Duel]]:
    """All duels at all sizes."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    perlin = import_alone("anomalib.data.utils.generators.perlin")
    sizes_done: dict[int, dict[str, Duel]] = {}
    for size in sizes:
        duels = {"make a sample": against_generator(perlin, size, rounds)} | against_noise(perlin, size, rounds)
        with tempfile.TemporaryDirectory(prefix="synthgen-bench-") as folder:
            duels["store a sample"] = store_a_sample(Path(folder), stored_samples(size), rounds)
        sizes_done[size] = duels
    return sizes_done
