"""How fast synthesis is, as ratios taken inside one run.

    python tools/bench/generation.py [--sections noise,types,build,workers] [--rounds 9] [--json FILE]

noise     our vectorised gradient noise against a loop over `noise.pnoise2`, and the largest difference of their values.
types     one sample at 512 px: ours in the realistic and the paper's style against the pseudocode taken literally
          (`literal.py`). The corrosion of the pseudocode is timed as mask and blend apart: the paper gives no blend.
build     `synthgen build` against decoding, resizing and storing alone; the cost of a further sample, start-up excluded.
workers   `synthgen build` with one and with two workers, wall time.

The first two clocks are CPU time in one thread; variants take turns, and medians are compared.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import literal
import numpy as np
import pictures
from noise import perlin, pnoise2
from timing import CommandTime, Timing, Variant, as_json, one_thread, take_turns, time_command

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from synthgen.anomalies import TYPES  # noqa: E402
from synthgen.anomalies.noise import fractal_noise  # noqa: E402
from synthgen.anomalies.subject import Subject  # noqa: E402

SIZE = 512
PICTURES = 6
DIAMETER = 400  # of the part in the pictures, px at SIZE
SOURCE_SIDE = 900  # of the files that builds read, px
CATEGORY = "bottle"

Result = dict[str, Any]


def ratio_rows(timings: dict[str, Timing], base: str) -> list[str]:
    """A line for each variant: median, minimum, and how many times faster it is than `base`."""
    return [
        f"  {name:28}{t.median:10.2f} ms{t.least:10.2f} ms{timings[base].median / t.median:9.1f} x"
        for name, t in timings.items()
    ]


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


def literal_crack(image: np.ndarray, foreground: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Algorithms 1 to 3 with the middle of each range that a crack of 0.5 diameters and 4 px asks for."""
    rng = np.random.default_rng(seed)
    starts = literal.random_start_points(foreground, 2, rng)
    skeleton = literal.generate_skeleton(foreground, starts, DIAMETER // 4, 2.0, 0.03, 0.01, rng)
    mask = literal.crack_mask(skeleton, 2.0, 0.1, 0.5, 1.5, 1, 3, noise_frequency=16)
    return literal.apply_crack(image, mask, 0.85, 0.35, (-6.0, -6.0, -6.0), 2.5), mask


def literal_corrosion_mask(foreground: np.ndarray, seed: int) -> np.ndarray:
    """Algorithm 4 with the middle of each range."""
    rng = np.random.default_rng(seed)
    return literal.corrosion_mask(foreground, 3, 0.055 * DIAMETER, 12, 0.65, 9, 0.4, 0.12, 26.0, rng)


def literal_corrosion(image: np.ndarray, foreground: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 4, and the plain blend that stands in for what the paper leaves out."""
    mask = literal_corrosion_mask(foreground, seed)
    return literal.apply_corrosion(image, mask, (120.0, 70.0, 40.0), 0.75, 16.0), mask


def literal_deformation(image: np.ndarray, foreground: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 5 on the whole part."""
    rng = np.random.default_rng(seed)
    margin = round(0.08 * DIAMETER)
    return literal.tps_deform_local_inpaint(image, foreground, 10, 0.05 * DIAMETER, 40.0, 4.0, margin, rng)


LITERAL: dict[str, Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]] = {
    "crack": literal_crack,
    "corrosion": literal_corrosion,
    "deformation": literal_deformation,
}


def our_sample(name: str, style: str, subjects: list[Subject], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, mask) of the full size, from draw to finished arrays; facts about the subject are kept from sample to sample."""
    kind, subject = TYPES[name], subjects[seed % len(subjects)]
    settings = kind.configure(style=style)  # type: ignore[arg-type]
    params = kind.draw(np.random.default_rng(seed), subject, settings)
    (rendered,) = kind.render([subject], [params])
    y0, x0, y1, x1 = rendered.box
    image, mask = subject.pixels.copy(), np.zeros(subject.pixels.shape[:2], np.uint8)
    image[y0:y1, x0:x1] = rendered.patch
    mask[y0:y1, x0:x1] = rendered.mask
    return image, mask


def bench_types(rounds: int) -> Result:
    """Each type, ours in both styles against the literal pseudocode, with the mean mask area of all three."""
    drawn = [pictures.picture(SIZE, seed) for seed in range(PICTURES)]
    subjects = [Subject(image, part, "metal") for image, part in drawn]
    out: Result = {}
    print(f"\nOne sample, {SIZE} x {SIZE}: median, minimum, times faster than the literal pseudocode")
    for name, pseudocode in LITERAL.items():
        makers: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
            f"{name}, literal": lambda seed, make=pseudocode: make(*drawn[seed % PICTURES], seed),
            f"{name}, ours realistic": lambda seed, name=name: our_sample(name, "realistic", subjects, seed),
            f"{name}, ours paper": lambda seed, name=name: our_sample(name, "paper", subjects, seed),
        }
        for seed in range(PICTURES):  # the facts about each subject
            makers[f"{name}, ours realistic"](seed)
            makers[f"{name}, ours paper"](seed)
        variants = {key: Variant(make, 1 if "literal" in key else 12) for key, make in makers.items()}
        if name == "corrosion":
            variants["corrosion, literal mask only"] = Variant(
                lambda seed: literal_corrosion_mask(drawn[seed % PICTURES][1], seed)
            )
        timings = take_turns(variants, rounds)
        areas = {key: float(np.mean([make(seed)[1].sum() for seed in range(12)])) for key, make in makers.items()}
        print("\n".join(ratio_rows(timings, f"{name}, literal")))
        realistic, paper = (timings[f"{name}, ours {style}"].median for style in ("realistic", "paper"))
        print(f"  realistic / paper {realistic / paper:.2f};  mean mask px " + ", ".join(f"{a:.0f}" for a in areas.values()))
        out[name] = {"timings": timings, "realistic_over_paper": realistic / paper, "mean_mask_px": areas}
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


def build(root: Path, out: Path, per_image: int, types: str, jobs: int) -> CommandTime:
    """`synthgen build` of the folder that `normals` gave, with nothing cached."""
    arguments = [
        "-c",
        "from synthgen.cli import main; main()",
        "build",
        "--dataset",
        "mvtec",
        "--root",
        str(root / "root"),
        "--categories",
        CATEGORY,
    ]
    arguments += ["--types", types, "--per-image", str(per_image), "--size", str(SIZE), "--out", str(out), "--jobs", str(jobs)]
    return time_command(arguments, ROOT, {"SYNTHGEN_CACHE": str(out) + "-cache"})


def bench_build(rounds: int) -> Result:
    """CPU time of a further sample of a build, eight and one to a source, against its floor."""
    few, many = 4, 28
    out: Result = {}
    print("\nWhole build, CPU ms of a further sample (build), of decode + resize + store (floor), and their ratio")
    for types, per_image in (("crack", 8), ("corrosion", 8), ("deformation", 8), ("crack,corrosion,deformation", 1)):
        per_source = per_image * len(types.split(","))
        with normals(few) as (small, _), normals(many) as (large, paths):
            floor, cost = [], []
            for i in range(min(rounds, 3)):
                timing = take_turns({"floor": Variant(lambda _: floor_of(paths, per_source, large / "floor.h5"))}, 1)  # noqa: B023
                floor.append(timing["floor"].median / (many * per_source))
                less = build(small, small / f"out{i}", per_image, types, 1)
                more = build(large, large / f"out{i}", per_image, types, 1)
                cost.append(1000 * (more.cpu - less.cpu) / ((many - few) * per_source))
        ours, least = float(np.median(cost)), float(np.median(floor))
        name = f"{types}, {per_source} a source"
        print(f"  {name:44}{ours:8.2f} ms{least:8.2f} ms{ours / least:8.2f}")
        out[name] = {"build_ms": ours, "floor_ms": least, "ratio": ours / least}
    return out


def bench_workers(rounds: int) -> Result:
    """Wall time of the same build with one and two workers, in turns; 240 normals, 720 samples."""
    with normals(240) as (folder, _):
        times: dict[int, list[CommandTime]] = {1: [], 2: []}
        for i in range(min(rounds, 2)):
            for jobs in times:
                times[jobs].append(build(folder, folder / f"out{jobs}_{i}", 1, "crack,corrosion,deformation", jobs))
    one, two = (min(t.wall for t in times[jobs]) for jobs in (1, 2))
    print(f"\nWall time of 720 samples from 240 normals: one worker {one:.1f} s, two {two:.1f} s, {one / two:.2f} x")
    print(f"  cores of this machine {os.cpu_count()}, load {os.getloadavg()[0]:.1f}: a busy machine hides the gain")
    return {"one_worker_s": one, "two_workers_s": two, "speed_up": one / two, "times": times}


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
