"""Side by side with what people use today, in one run: how long a sample takes, gradient noise, and storing a sample.

    python tools/bench/peers.py [--venv DIR] [--sizes 256,512] [--rounds 9] [--json FILE]

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

The script makes a virtual environment in DIR (default: a folder of the user's cache), installs what is missing there, and
runs itself in it: the light core's dependencies, torch, torchvision and `noise` in the versions of constraints.txt, and
anomalib without its own dependencies, of which the generator needs only torch and torchvision (see `import_alone`). pip's
settings say from where, and which build of torch.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ["torch", "torchvision", "noise"]
ANOMALIB = "anomalib==2.7.0"

_LIST_MISSING = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        print(name)
"""


def missing(python: Path, requirements: Sequence[str]) -> list[str]:
    """Those requirements of whose packages `python` has no version at all."""
    names = {re.split(r"[^\w.-]", requirement)[0]: requirement for requirement in requirements}
    done = subprocess.run([python, "-c", _LIST_MISSING, *names], capture_output=True, text=True, check=True)
    return [names[name] for name in done.stdout.split()]


def install(python: Path, *arguments: str) -> None:
    """Let pip install; where it fails, the benchmark ends with what to do."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        sys.exit(
            f"The virtual environment {python.parents[1]} lacks packages, and pip could not install them (see above).\n"
            f"Run this where there is a package index, or name an environment that has them by --venv:\n"
            f"{' '.join(command)}"
        )


def ensure_environment(folder: Path) -> Path:
    """The Python of the virtual environment in `folder`, which is made or completed where it has to be."""
    python = folder / "bin" / "python"
    if not folder.exists():
        print(f"making a virtual environment in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if not (folder / "pyvenv.cfg").exists():
        sys.exit(f"--venv {folder}: is there, but no virtual environment; name one, or a folder that does not exist yet")
    core: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    if wanted := missing(python, core + PEERS):
        install(python, "-c", str(ROOT / "constraints.txt"), *wanted)
    if missing(python, [ANOMALIB]):
        install(python, "--no-deps", ANOMALIB)
    return python


def run_inside(folder: Path) -> None:
    """Become this script in the virtual environment, with one thread and this repository's packages."""
    python = ensure_environment(folder)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.execve(python, [str(python), *sys.argv], {**os.environ, **threads, "PYTHONPATH": str(ROOT)})


def default_environment() -> Path:
    """Where the virtual environment is made if nothing is said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthgen" / "bench-peers"


def versions() -> dict[str, str]:
    """What was compared."""
    names = ("anomalib", "noise", "torch", "torchvision", "numpy", "opencv-python-headless", "h5py")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def sides(text: str) -> list[int]:
    """Sides in pixels, separated by commas."""
    values = [int(side) for side in text.split(",")]
    if min(values) < 64:
        raise argparse.ArgumentTypeError("a side has at least 64 px")
    return values


def main() -> int:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=default_environment(), help="virtual environment with the peers")
    parser.add_argument("--sizes", type=sides, default=[256, 512], help="sides of the images in px, comma-separated")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each variant")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    if Path(sys.prefix).resolve() != args.venv.resolve():
        run_inside(args.venv.absolute())
    from tools.bench import peer_duels  # needs the packages of the virtual environment
    from tools.bench.timing import as_json, one_thread

    print(", ".join(f"{name} {number}" for name, number in versions().items()))
    with one_thread():
        found = peer_duels.measure(args.sizes, args.rounds)
    if args.json:
        figures = {size: {title: duel.as_json() for title, duel in duels.items()} for size, duels in found.items()}
        args.json.write_text(json.dumps({"versions": versions(), "sizes": figures}, indent=1, default=as_json) + "\n")
    misses = peer_duels.missed(found)
    for line in misses:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
