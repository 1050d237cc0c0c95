"""How fast synthesis is, as ratios taken inside one run.

    python tools/bench/generation.py [--sections noise,types,build,workers] [--rounds 9] [--json FILE]

noise     our vectorised gradient noise against a loop over `noise.pnoise2`, and the largest difference of their values.
types     one sample at 512 px: ours (draw and render, and `make_sample` with its checks and redraws) against the pseudocode
          taken literally (`literal.py`), which is given the size that makes its masks as large as ours.
build     the work of a worker process (`build_shard`) at 8 samples a source against decoding, resizing and storing alone.
workers   `synthgen build` with one and with two workers, wall time, start-up included.

All clocks but the last are CPU time of one thread; variants take turns, and medians are compared.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from noise import perlin, pnoise2

from tests.reference import literal
from tools.bench import pictures
from tools.bench.timing import CommandTime, Timing, Variant, as_json, one_thread, take_turns, time_command

ROOT = Path(__file__).resolve().parents[2]

from synthgen.anomalies.registry import SURFACE_TYPES  # noqa: E402
from synthgen.builder.task import ShardTask, build_shard  # noqa: E402
from synthgen.painting.noise import fractal_noise  # noqa: E402
from synthgen.painting.surface import Surface  # noqa: E402
from synthgen.plan import Plan, make_plan  # noqa: E402
from synthgen.recipe import make_recipe  # noqa: E402
from synthgen.samples import NormalImage, Sample, SampleSpec  # noqa: E402
from synthgen.synthesis import PreparedNormal, make_sample  # noqa: E402

SIZE = 512
PICTURES = 6
DIAMETER = 400  # of the part in the pictures, px at SIZE
SMALL_DIAMETER = 280  # of a part that leaves enough background to be lifted off it
SOURCE_SIDE = 1000  # of the files that builds read, px
SOURCES = 16  # files of one measurement of a build
SAMPLES_PER_SOURCE = 8
CATEGORY = "bottle"

Result = dict[str, Any]
Picture = tuple[np.ndarray, np.ndarray]
"""(H, W, 3) image and (H, W) mask: of the part, or of the anomaly."""


def ratio_rows(timings: dict[str, Timing], base: str) -> list[str]:
    """A line for each variant: median, minimum, and how many times faster it is than `base`."""
    return [
        f"  {name:28}{t.median:10.2f} ms{t.least:10.2f} ms{timings[base].median / t.median:9.1f} x"
        for name, t in timings.items()
    ]


def cell(timing: Timing, digits: int) -> str:
    """Median and minimum for a table."""
    return f"{timing.median:.{digits}f} ({timing.least:.{digits}f})"


def perlin_table() -> np.ndarray:
    """(256,) uint8, the permutation of `noise`'s compiled code. Its Python copy has one slip: a second 9 in place of 19."""
    table = np.array(perlin.BaseNoise.permutation[:256], np.uint8)
    table[180] = 19
    return table


def noise_loop(cell: float, octaves: int) -> np.ndarray:
    """(SIZE, SIZE) float64, pixel by pixel."""
    return np.array([[pnoise2(x / cell, y / cell, octaves=octaves) for x in range(SIZE)] for y in range(SIZE)])


def bench_noise(rounds: int) -> Result:
    """Ours against the loop, for coarse and fine lattices; 4 octaves are what the renderings use."""
    table = perlin_table()
    out: Result = {}
    print(f"\nGradient noise, {SIZE} x {SIZE}: median, minimum, times faster than the loop")
    for cells, octaves in ((1, 1), (1, 4), (8, 4), (16, 4)):
        cell = SIZE / cells

        def ours(_: int, cell: float = cell, octaves: int = octaves) -> np.ndarray:
            return fractal_noise((SIZE, SIZE), cell, table, octaves)

        def loop(_: int, cell: float = cell, octaves: int = octaves) -> np.ndarray:
            return noise_loop(cell, octaves)

        name = f"{octaves} octaves, {cells} cells"
        timings = take_turns({f"pnoise2, {name}": Variant(loop), f"ours, {name}": Variant(ours, 20)}, min(rounds, 5))
        difference = float(np.abs(ours(0) - loop(0)).max())
        print("\n".join(ratio_rows(timings, f"pnoise2, {name}")), f"   largest difference {difference:.1e}")
        out[name] = {"timings": timings, "max_abs_difference": difference}
    return out


def literal_crack(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithms 1 to 3 with the middle of each range for a width of 4 px; `size` is the steps' number over its middle."""
    rng = np.random.default_rng(seed)
    starts = literal.random_start_points(foreground, 2, rng)
    skeleton = literal.generate_skeleton(foreground, starts, round(size * DIAMETER / 4), 2.0, 0.03, 0.01, rng)
    mask = literal.crack_mask(skeleton, 2.0, 0.1, 0.5, 1.5, 1, 3, noise_frequency=16)
    return literal.apply_crack(image, mask, 0.85, 0.35, (-6.0, -6.0, -6.0), 2.5), mask


def literal_corrosion(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithm 4 with the middle of each range, and the plain blend that stands in for what the paper leaves out.

    `size` multiplies the polygons' radius and the rounds of growth.
    """
    rng = np.random.default_rng(seed)
    rounds = max(round(9 * size), 1)
    mask = literal.corrosion_mask(foreground, 3, 0.055 * DIAMETER * size, 12, 0.65, rounds, 0.4, 0.12, 26.0, rng)
    return literal.apply_corrosion(image, mask, (120.0, 70.0, 40.0), 0.75, 16.0), mask


def literal_deformation(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithm 5 with the middle of each range on the whole part; with a `size` below 1 on a disc somewhere on it."""
    rng = np.random.default_rng(seed)
    diameter = size * float(np.sqrt(4 / np.pi * foreground.sum()))
    place = foreground
    if size < 1:  # the partial variant that the paper names
        ys, xs = np.nonzero(foreground)
        centre = int(rng.integers(len(ys)))
        disc = cv2.circle(np.zeros_like(foreground), (int(xs[centre]), int(ys[centre])), max(round(diameter / 2), 3), 1, -1)
        place = disc & foreground
    return literal.tps_deform_local_inpaint(image, place, 10, 0.05 * diameter, 40.0, 4.0, round(0.08 * diameter), rng)


@dataclass(frozen=True)
class Comparison:
    """One of our types in one style, and the pseudocode that it stands for.

    Attributes:
        type, style: ours.
        pseudocode: (image, foreground, size, seed) -> changed image, mask.
        small: on parts that cover little of the picture, so that the paper's style warps them as a whole.
    """

    type: str
    style: str
    pseudocode: Callable[[np.ndarray, np.ndarray, float, int], Picture]
    small: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.type} {self.style}" + ", whole part" * self.small


COMPARISONS = (
    Comparison("crack", "realistic", literal_crack),
    Comparison("crack", "paper", literal_crack),
    Comparison("corrosion", "realistic", literal_corrosion),
    Comparison("corrosion", "paper", literal_corrosion),
    Comparison("deformation", "realistic", literal_deformation),
    Comparison("deformation", "paper", literal_deformation),
    Comparison("deformation", "paper", literal_deformation, small=True),
)


def our_mask_px(comparison: Comparison, surfaces: list[Surface], seed: int) -> int:
    """Draw and render one sample; the number of its mask pixels."""
    kind, surface = SURFACE_TYPES[comparison.type], surfaces[seed % PICTURES]
    params = kind.draw(np.random.default_rng(seed), surface, kind.configure(style=comparison.style))  # type: ignore[arg-type]
    return int(kind.render_one(surface, params).mask.sum())


def our_sample(comparison: Comparison, prepared: list[PreparedNormal], seed: int) -> Sample:
    """One sample as a build makes it: drawn again where the checks refuse it, as arrays of the full size."""
    normal = prepared[seed % PICTURES].normal
    kind = SURFACE_TYPES[comparison.type]
    sample_id = f"bench/part/{normal.source}/{kind.name}/{seed}"
    spec = SampleSpec(sample_id, "bench", "part", normal.source, kind.name, seed, (SIZE, SIZE), kind.generator)
    settings = kind.configure(style=comparison.style)  # type: ignore[arg-type]
    return make_sample(spec, prepared[seed % PICTURES], settings, seed=0)


def fitted_size(mask_px: Callable[[float], float], wanted: float) -> float:
    """The size, between 0.03 and 2, at which `mask_px(size)` comes nearest to `wanted`."""
    low, high = 0.03, 2.0
    for _ in range(6):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if mask_px(middle) < wanted else (low, middle)
    return float(np.sqrt(low * high))


def compare(comparison: Comparison, rounds: int) -> Result:
    """Timings and mask areas of one comparison."""
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
    samples = [our_sample(comparison, prepared, seed) for seed in range(60)]
    variants = {
        "as printed": Variant(lambda seed: pseudocode(seed, 1.0), 2),
        "same area": Variant(lambda seed: pseudocode(seed, size), 2),
        "draw and render": Variant(lambda seed: our_mask_px(comparison, surfaces, seed), 24),
        "make_sample": Variant(lambda seed: our_sample(comparison, prepared, seed), 24),
    }
    return {
        "timings": take_turns(variants, rounds),
        "mask_px": {"as printed": mean_px(1.0), "same area": mean_px(size), "ours": our_px},
        "draws_per_sample": float(np.mean([sample.attempt + 1 for sample in samples])),
        "rejected_share": float(np.mean([bool(sample.rejected) for sample in samples])),
    }


def bench_types(rounds: int) -> Result:
    """Each type in both styles against the literal pseudocode, and the realistic style against the paper's.

    The pseudocode runs twice: with the middle of each of its ranges, and at the size that makes its masks as large as ours.
    """
    out: Result = {}
    print(f"\nOne sample, {SIZE} x {SIZE}: median (minimum) in ms; how many times faster than the literal pseudocode")
    print("(as printed / at our mask area); mean mask area in px of the pseudocode (the same two) and of ours; draws a sample")
    titles = f"{'as printed':>16}{'same area':>15}{'draw and render':>26}{'make_sample':>26}"
    print(f"  {'':30}{titles}{'mask px':>21}{'draws':>7}{'refused':>9}")
    for comparison in COMPARISONS:
        found = out[comparison.name] = compare(comparison, rounds)
        timings = found["timings"]
        line = f"  {comparison.name:30}"
        line += f"{cell(timings['as printed'], 0):>16}{cell(timings['same area'], 0):>15}"
        for name in ("draw and render", "make_sample"):
            gain = "/".join(f"{timings[base].median / timings[name].median:.0f}" for base in ("as printed", "same area"))
            line += f"{cell(timings[name], 2):>16}{gain + ' x':>10}"
        areas = "/".join(f"{area:.0f}" for area in found["mask_px"].values())
        print(f"{line}{areas:>21}{found['draws_per_sample']:7.2f}{found['rejected_share']:9.0%}", flush=True)
    for name in dict.fromkeys(comparison.type for comparison in COMPARISONS):
        ours = [out[f"{name} {style}"]["timings"]["draw and render"].median for style in ("realistic", "paper")]
        print(f"  {name}: realistic / paper {ours[0] / ours[1]:.2f}")
        out[f"{name} realistic / paper"] = ours[0] / ours[1]
    return out


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
    plan = make_plan(recipe, {"mvtec": root})
    plan.methods  # noqa: B018  chosen here, as a build does before it starts its workers
    return plan


def build_shards(plan: Plan, out: Path) -> None:
    """What a worker process does, in this process, with no foreground in the cache."""
    with tempfile.TemporaryDirectory(dir=out) as cache:
        os.environ["SYNTHGEN_CACHE"] = cache
        for shard in plan.shards:
            method = plan.methods[shard.dataset, shard.category]
            task = ShardTask(
                folder=out,
                shard=shard,
                recipe=plan.recipe,
                method=method,
                config_json=plan.config_json,
                licence="none",
                quarantined={},
            )
            build_shard(task)


def bench_build(rounds: int) -> Result:
    """CPU time of a sample in a worker, eight to a source, against its floor."""
    mixes = {name: {name: SAMPLES_PER_SOURCE} for name in SURFACE_TYPES} | {
        "all types": {"crack": 3, "corrosion": 3, "deformation": 2}
    }
    out: Result = {}
    print(f"\nA sample of a build, {SAMPLES_PER_SOURCE} a source of {SOURCE_SIDE} px: median (minimum) of CPU ms")
    print(f"  {'':14}{'build':>18}{'decode, resize, store':>24}{'ratio':>8}")
    samples = SOURCES * SAMPLES_PER_SOURCE
    with normals(SOURCES) as (folder, paths):
        for name, types in mixes.items():
            plan = planned(folder / "root", types)
            variants = {
                "build": Variant(lambda _, plan=plan: build_shards(plan, folder)),
                "floor": Variant(lambda _: floor_of(paths, SAMPLES_PER_SOURCE, folder / "floor.h5")),
            }
            whole = take_turns(variants, rounds)
            build, floor = (Timing(t.median / samples, t.least / samples) for t in (whole["build"], whole["floor"]))
            ratio = build.median / floor.median
            print(f"  {name:14}{cell(build, 2):>18}{cell(floor, 2):>24}{ratio:8.2f}", flush=True)
            out[name] = {"build": build, "floor": floor, "ratio": ratio}
    return out


PER_IMAGE = 3  # the default of `synthgen build`


def build_command(root: Path, out: Path, jobs: int) -> CommandTime:
    """`synthgen build` of the folder that `normals` gave, with nothing cached."""
    arguments = ["-c", "from synthgen.cli import main; main()", "build", "--dataset", "mvtec", "--root", str(root)]
    arguments += ["--categories", CATEGORY, "--types", ",".join(SURFACE_TYPES), "--size", str(SIZE)]
    arguments += ["--out", str(out), "--jobs", str(jobs), "--max-rejected", "1"]
    return time_command(arguments, ROOT, {"SYNTHGEN_CACHE": f"{out}-cache"})


def bench_workers(rounds: int) -> Result:
    """Wall time of the same build with one and two workers, in turns."""
    count = 240
    times: dict[int, list[CommandTime]] = {1: [], 2: []}
    with normals(count) as (folder, _):
        shards = len(planned(folder / "root", dict.fromkeys(SURFACE_TYPES, PER_IMAGE)).shards)
        for i in range(min(rounds, 3)):
            for jobs in times:
                times[jobs].append(build_command(folder / "root", folder / f"out{jobs}_{i}", jobs))
    wall = {jobs: min(t.wall for t in times[jobs]) for jobs in times}
    samples = count * len(SURFACE_TYPES) * PER_IMAGE
    print(
        f"\nWall time of {samples} samples from {count} normals in {shards} shards, start-up included (best of {len(times[1])})"
    )
    for jobs in times:
        print(f"  --jobs {jobs}{wall[jobs]:8.1f} s{samples / wall[jobs]:8.0f} images/s{wall[1] / wall[jobs]:8.2f} x")
    print(f"  {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: a busy machine hides the gain")
    return {
        "wall_s": wall,
        "images_per_s": {j: samples / w for j, w in wall.items()},
        "speed_up": wall[1] / wall[2],
        "times": times,
    }


SECTIONS: dict[str, Callable[[int], Result]] = {
    "noise": bench_noise,
    "types": bench_types,
    "build": bench_build,
    "workers": bench_workers,
}


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default=",".join(SECTIONS), help="comma-separated, of: " + ", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each variant")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    names = args.sections.split(",")
    unknown = sorted(set(names) - set(SECTIONS))
    if unknown:
        parser.error(f"--sections: {', '.join(unknown)} is none of {', '.join(SECTIONS)}")
    with one_thread():
        results = {name: SECTIONS[name](args.rounds) for name in names}
    if args.json:
        args.json.write_text(json.dumps(results, indent=1, default=as_json) + "\n")


if __name__ == "__main__":
    main()
