"""How fast synthesis is: noise, types, a build, two workers, rendering; as ratios taken inside one run.

    python -m tools.bench generation [--sections noise,types,build,workers,rendering] [--rounds 9] [--folder DIR ...]

noise      our vectorised gradient noise against a loop over `noise.pnoise2`, and the largest difference of their values.
types      one sample at 512 px: ours (draw and render, and `make_sample` with its checks and redraws) against the pseudocode
           taken literally, as printed (with the middle of each of its ranges) and at the size that makes its masks as large.
build      the work of a worker process (`build_shard`) at 8 samples a source against decoding, resizing and storing alone.
workers    `synthgen build` with one and with two workers, wall time, start-up included.
rendering  what rendering one anomaly of each type costs, as a ratio to a crack, on the images of folders (or the demo set).

All clocks but the workers' are CPU time of one thread; variants take turns, and medians are compared. A record holds the
smallest measurement beside each median.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import numpy as np
from noise import perlin, pnoise2

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.builder.task import ShardTask, build_shard
from synthgen.decisions import decide
from synthgen.painting.noise import fractal_noise
from synthgen.painting.surface import Surface
from synthgen.plan import Plan, make_plan
from synthgen.recipe import make_recipe
from synthgen.samples import NormalImage, Sample
from synthgen.synthesis import PreparedNormal, make_sample
from tools.bench.support import pictures, rendering
from tools.bench.support.pseudocode import COMPARISONS, SIZE, Comparison, fitted_size
from tools.bench.support.records import ROOT, Outcome
from tools.bench.support.samples import bench_spec
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import CommandTime, Timing, Variant, one_thread, take_turns, time_command

PICTURES = 6
SMALL_DIAMETER = 280  # px, of a part that leaves enough background to be lifted off it
SOURCE_SIDE = 1000  # of the files that builds read, px
SOURCES = 16  # files of one measurement of a build
SAMPLES_PER_SOURCE = 8
PER_IMAGE = 3  # the default of `synthgen build`
CATEGORY = "bottle"
MILLISECONDS = ("{:.2f}",)


def perlin_table() -> np.ndarray:
    """(256,) uint8, the permutation of `noise`'s compiled code. Its Python copy has one slip: a second 9 in place of 19."""
    table = np.array(perlin.BaseNoise.permutation[:256], np.uint8)
    table[180] = 19
    return table


def noise_loop(cell: float, octaves: int) -> np.ndarray:
    """(SIZE, SIZE) float64, pixel by pixel."""
    return np.array([[pnoise2(x / cell, y / cell, octaves=octaves) for x in range(SIZE)] for y in range(SIZE)])


def bench_noise(options: argparse.Namespace) -> Table:
    """Ours against the loop, for coarse and fine lattices; 4 octaves are what the renderings use."""
    lattice = perlin_table()
    rows = []
    for cells, octaves in ((1, 1), (1, 4), (8, 4), (16, 4)):
        cell = SIZE / cells

        def ours(_: int, cell: float = cell, octaves: int = octaves) -> np.ndarray:
            return fractal_noise((SIZE, SIZE), cell, lattice, octaves)

        def loop(_: int, cell: float = cell, octaves: int = octaves) -> np.ndarray:
            return noise_loop(cell, octaves)

        timings = take_turns({"loop": Variant(loop), "ours": Variant(ours, 20)}, min(options.rounds, 5))
        difference = float(np.abs(ours(0) - loop(0)).max())
        row = [f"{octaves}, {cells}", timings["loop"].pair, timings["ours"].pair]
        rows.append([*row, timings["loop"].median / timings["ours"].median, difference])
    columns = [Column("octaves, cells"), Column("loop, ms", ("{:.1f}",)), Column("ours, ms", MILLISECONDS)]
    return Table([*columns, Column("times faster", ("{:.0f}",)), Column("largest difference", ("{:.1e}",))], rows)


def our_mask_px(comparison: Comparison, surfaces: list[Surface], seed: int) -> int:
    """Draw and render one sample; the number of its mask pixels."""
    kind, surface = SURFACE_TYPES[comparison.type], surfaces[seed % PICTURES]
    params = kind.draw(np.random.default_rng(seed), surface, kind.configure(style=comparison.style))  # type: ignore[arg-type]
    return int(kind.render_one(surface, params).mask.sum())


def our_sample(comparison: Comparison, prepared: list[PreparedNormal], seed: int) -> Sample:
    """One sample as a build makes it: drawn again where the checks refuse it, as arrays of the full size."""
    normal = prepared[seed % PICTURES]
    settings = SURFACE_TYPES[comparison.type].configure(style=comparison.style)  # type: ignore[arg-type]
    return make_sample(bench_spec(normal.normal, comparison.type, seed), normal, settings, seed=0)


def compare(comparison: Comparison, rounds: int) -> tuple[dict[str, Timing], dict[str, float], float]:
    """Timings, mean mask areas in px, and draws that a sample takes, of one comparison."""
    drawn = [pictures.picture(SIZE, seed, SMALL_DIAMETER if comparison.small else None) for seed in range(PICTURES)]
    surfaces = [Surface(image, part, "metal") for image, part in drawn]
    normals = [NormalImage("bench", "part", f"{i}.png", "", image) for i, (image, _) in enumerate(drawn)]
    prepared = [PreparedNormal(normal, surface, "") for normal, surface in zip(normals, surfaces, strict=True)]

    def pseudocode(seed: int, size: float) -> int:
        return int(comparison.pseudocode(*drawn[seed % PICTURES], size, seed)[1].sum())

    def mean_px(size: float) -> float:
        return float(np.mean([pseudocode(seed, size) for seed in range(PICTURES)]))

    our_px = float(np.mean([our_mask_px(comparison, surfaces, seed) for seed in range(240)]))  # and the surfaces' facts
    size = fitted_size(mean_px, our_px)
    draws = float(np.mean([our_sample(comparison, prepared, seed).attempt + 1 for seed in range(60)]))
    variants = {
        "as printed": Variant(lambda seed: pseudocode(seed, 1.0), 2),
        "same area": Variant(lambda seed: pseudocode(seed, size), 2),
        "draw and render": Variant(lambda seed: our_mask_px(comparison, surfaces, seed), 24),
        "make_sample": Variant(lambda seed: our_sample(comparison, prepared, seed), 24),
    }
    areas = {"as printed": mean_px(1.0), "same area": mean_px(size), "ours": our_px}
    return take_turns(variants, rounds), areas, draws


def bench_types(options: argparse.Namespace) -> Table:
    """Each type in both styles against the literal pseudocode."""
    rows = []
    for comparison in COMPARISONS:
        timings, areas, draws = compare(comparison, options.rounds)
        medians = {name: timing.median for name, timing in timings.items()}
        bases = ("as printed", "same area")
        gains = [medians[base] / medians[name] for name in ("draw and render", "make_sample") for base in bases]
        both = [[medians[name] for name in names] for names in (bases, ("draw and render", "make_sample"))]
        rows.append([comparison.name, *both, gains, list(areas.values()), draws])
    return Table(
        [
            Column(""),
            Column("literal, ms: printed / same area", ("{:.0f} / {:.0f}",)),
            Column("ours, ms", ("{:.2f} ({:.2f})",)),
            Column("times faster: printed / same area", ("{:.0f} / {:.0f} ({:.0f} / {:.0f})",)),
            Column("mask, px: literal, ours", ("{:.0f} / {:.0f}, {:.0f}",)),
            Column("draws a sample", MILLISECONDS),
        ],
        rows,
    )


@contextmanager
def normals(count: int) -> Iterator[tuple[Path, list[Path]]]:
    """A folder with `root` / pictures in MVTec's layout, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="synthgen-bench-") as folder:
        yield Path(folder), pictures.write_normals(Path(folder) / "root", CATEGORY, count, SOURCE_SIDE)


def floor_of(paths: list[Path], samples_per_source: int, file: Path) -> None:
    """What no generator can leave out: decode and resize each source, store every sample's image and mask as they are."""
    n = len(paths) * samples_per_source
    with h5py.File(file, "w") as shard:
        images = shard.create_dataset("image", (n, SIZE, SIZE, 3), np.uint8, chunks=(1, SIZE, SIZE, 3))
        masks = shard.create_dataset("mask", (n, SIZE, SIZE), np.uint8, chunks=(1, SIZE, SIZE))
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for i, path in enumerate(paths):
            decoded = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            image = cv2.resize(decoded, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            for k in range(samples_per_source):
                images[i * samples_per_source + k] = image
                masks[i * samples_per_source + k] = mask


def planned(root: Path, types: dict[str, int]) -> Plan:
    """The plan for the folder that `normals` gave, with the number of samples per source of each type."""
    per_type = {name: {"per_image": count} for name, count in types.items()}
    recipe = make_recipe({"datasets": {"mvtec": {"categories": [CATEGORY]}}, "types": per_type, "size": SIZE})
    plan = make_plan(decide(recipe, {"mvtec": root}))
    plan.methods  # noqa: B018  chosen here, as a build does before it starts its workers
    return plan


def build_shards(plan: Plan, out: Path) -> None:
    """What a worker process does, in this process, with no foreground in the cache."""
    with tempfile.TemporaryDirectory(dir=out) as cache:
        os.environ["SYNTHGEN_CACHE"] = cache
        for shard in plan.shards:
            build_shard(
                ShardTask(
                    folder=out, shard=shard, recipe=plan.recipe, method=plan.methods[shard.dataset, shard.category],
                    config_json=plan.config_json, licence="none", quarantined={},
                )
            )  # fmt: skip


def bench_build(options: argparse.Namespace) -> Table:
    """CPU time of a sample in a worker, eight to a source, against its floor."""
    mixes = {name: {name: SAMPLES_PER_SOURCE} for name in SURFACE_TYPES}
    mixes["crack, corrosion and deformation, 3 : 3 : 2"] = {"crack": 3, "corrosion": 3, "deformation": 2}
    samples, rows = SOURCES * SAMPLES_PER_SOURCE, []
    with normals(SOURCES) as (folder, paths):
        for name, types in mixes.items():
            plan = planned(folder / "root", types)
            variants = {
                "build": Variant(lambda _, plan=plan: build_shards(plan, folder)),
                "floor": Variant(lambda _: floor_of(paths, SAMPLES_PER_SOURCE, folder / "floor.h5")),
            }
            whole = take_turns(variants, options.rounds)
            build, floor = ([value / samples for value in whole[variant].pair] for variant in ("build", "floor"))
            rows.append([name, build, floor, build[0] / floor[0]])
    columns = [Column("build, ms per sample", MILLISECONDS), Column("floor, ms", MILLISECONDS), Column("ratio", MILLISECONDS)]
    return Table([Column(""), *columns], rows)


def build_command(root: Path, out: Path, jobs: int) -> CommandTime:
    """`synthgen build` of the folder that `normals` gave, with nothing cached."""
    arguments = ["-c", "from synthgen.cli import main; main()", "build", "--dataset", "mvtec", "--root", str(root)]
    arguments += ["--categories", CATEGORY, "--types", ",".join(SURFACE_TYPES), "--size", str(SIZE)]
    arguments += ["--out", str(out), "--jobs", str(jobs), "--max-rejected", "1"]
    return time_command(arguments, ROOT, {"SYNTHGEN_CACHE": f"{out}-cache"})


def bench_workers(options: argparse.Namespace) -> Table:
    """Wall time of the same build with one and two workers, in turns; the best of each."""
    count = 240
    times: dict[int, list[float]] = {1: [], 2: []}
    with normals(count) as (folder, _):
        for i in range(min(options.rounds, 3)):
            for jobs, walls in times.items():
                walls.append(build_command(folder / "root", folder / f"out{jobs}_{i}", jobs).wall)
    samples = count * len(SURFACE_TYPES) * PER_IMAGE
    rows = [[f"{j}", samples, sorted(walls), samples / min(walls), min(times[1]) / min(walls)] for j, walls in times.items()]
    columns = [Column("workers"), Column("samples", ("{:,}",)), Column("wall time, s", MILLISECONDS)]
    return Table([*columns, Column("images/s", ("{:.0f}",)), Column("times as fast", MILLISECONDS)], rows)


SECTIONS: dict[str, Callable[[argparse.Namespace], Table]] = {
    "noise": bench_noise,
    "types": bench_types,
    "build": bench_build,
    "workers": bench_workers,
    "rendering": lambda options: rendering.bench_rendering(options.folder, options.size, options.images, options.draws),
}


def sections(text: str) -> list[str]:
    """Names of sections, separated by commas."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(SECTIONS)}")
    return names


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--sections", type=sections, default=list(SECTIONS), help="comma-separated, of: " + ", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each variant")
    parser.add_argument("--folder", type=Path, nargs="+", default=[], help="rendering: images of one's own")
    parser.add_argument("--size", type=int, default=SIZE, help="rendering: side of the images in pixels")
    parser.add_argument("--images", type=int, default=6, help="rendering: images of each folder")
    parser.add_argument("--draws", type=int, default=60, help="rendering: anomalies of each type")


def run(options: argparse.Namespace) -> Outcome:
    """A table for each section."""
    with one_thread():
        return Outcome({name: SECTIONS[name](options) for name in options.sections})
