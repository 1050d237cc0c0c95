"""Side by side with what people use: the speed of a sample, of noise, of storing; and sets by other methods, to learn from.

    python -m tools.bench peers [--sizes 256,512] [--rounds 9] [--venv DIR]
    python -m tools.bench peers --make perlin,cutpaste,noise --root DIR --category tile --out OUT [--per-image 1] [--size 512]

make a sample   anomalib's `PerlinAnomalyGenerator`, as it is by default but that it never skips an image, against ours:
                `make_sample` with its checks and redraws, realistic style. Ours runs twice: on a prepared normal image, as
                for all samples of an image but its first, and on a new one, where the foreground and all other facts have to
                be found first. The generator starts from a float tensor and ends with one: conversion is not held against it.
noise           a loop over `noise.pnoise2` and anomalib's `generate_perlin_noise` against `fractal_noise`.
store a sample  image and mask as two PNG files (OpenCV, level 1) against `ShardWriter`, eight samples to a normal image.

All clocks are CPU time of one thread in one process that has both sides loaded; variants take turns. The exit status is 1
where one of our types, on a prepared normal, is not ten times as fast as anomalib's generator at 512 px.

What the ratios do not say: that the samples are worth the same, for the generator blends noise into larger parts of an image
(see the mask shares) and ours change small parts; nor anything about CutPaste, which copies a rectangle: no generator that
renders can beat that in speed, and we claim nothing against it.

With `--make`, OUT becomes a dataset with a type for each method, for `synthgen worth OUT --real REAL_DEFECTS` or
`detectors train bisqad --shards OUT`: `perlin` is anomalib's generator, `cutpaste` is CutPaste, patches and scars in turn,
`noise` is a noise mask filled with another normal image. The last two are written here after their papers.

Where anomalib is needed, the benchmark makes a virtual environment in DIR (default: a folder of the user's cache), installs
what is missing there, and runs itself in it: the light core's dependencies, torch, torchvision and `noise` in the versions of
constraints.txt, and anomalib without its own dependencies, of which the generator needs only torch and torchvision. pip's
settings say from where, and which build of torch.
"""

import argparse
from pathlib import Path

from tools.bench.support.environment import default_environment, enter
from tools.bench.support.records import Outcome

METHODS = ("perlin", "cutpaste", "noise")


def sides(text: str) -> list[int]:
    """Sides in pixels, separated by commas."""
    values = [int(side) for side in text.split(",")]
    if min(values) < 64:
        raise argparse.ArgumentTypeError("a side has at least 64 px")
    return values


def methods(text: str) -> list[str]:
    """Names of methods, separated by commas."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(METHODS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(METHODS)}")
    return names


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--venv", type=Path, default=default_environment(), help="virtual environment with the peers")
    parser.add_argument("--sizes", type=sides, default=[256, 512], help="sides of the images in px, comma-separated")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each variant")
    sets = parser.add_argument_group("sets")
    sets.add_argument("--make", type=methods, help="make shards instead; comma-separated, of: " + ", ".join(METHODS))
    sets.add_argument("--dataset", default="folder")
    sets.add_argument("--root", type=Path, help="of the dataset")
    sets.add_argument("--category")
    sets.add_argument("--out", type=Path, help="folder that does not exist yet")
    sets.add_argument("--per-image", type=int, default=1)
    sets.add_argument("--size", type=int, default=512)


def run(options: argparse.Namespace) -> Outcome:
    """The speeds, or the sets."""
    if options.make:
        return make_sets(options)
    enter(options.venv)
    from tools.bench.support import duels
    from tools.bench.support.timing import one_thread

    with one_thread():
        sizes = duels.measure(options.sizes, options.rounds)
    return Outcome({"peers": duels.table(sizes)}, duels.missed(sizes))


def make_sets(options: argparse.Namespace) -> Outcome:
    """A shard for each method."""
    if not options.category or options.out is None or options.out.exists():
        return Outcome({}, ["--make: --category and --out are needed, and the folder of --out must not exist yet"])
    if "perlin" in options.make:
        enter(options.venv)
    import cv2

    from synthgen.datasets import read_normal, scan
    from tools.bench.support import duels, foreign_sets

    cv2.setNumThreads(1)
    (category,) = scan(options.dataset, options.root, (options.category,)).categories
    normals = [read_normal(source, (options.size, options.size)) for source in category.used]
    options.out.mkdir(parents=True)
    for name in options.make:
        if name == "perlin":
            make = foreign_sets.perlin(duels.import_alone("anomalib.data.utils.generators.perlin"))
        else:
            make = foreign_sets.cutpaste if name == "cutpaste" else foreign_sets.noise_of_others(normals)
        made = foreign_sets.write_set(options.out / f"{name}.h5", name, make, normals, options.per_image)
        print(f"{name}: {made} samples")
    return Outcome({})
