"""A whole build as a user runs it: images per second, memory of parent and workers over time, parent CPU per sample.

    python -m tools.make_standin STANDIN
    python -m tools.bench throughput --out OUT -- --recipe maphc2f --root STANDIN --size 64

Everything after `--` goes to `synthgen build`. The folder OUT must not exist yet, so that the whole build is measured.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil

from tools.bench.support.records import Outcome
from tools.bench.support.tables import Column, Table

SECONDS_BETWEEN_LOOKS = 0.5
WARM_UP = 0.2  # of the run, left out of the memory slope: caches and allocators fill first


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--out", type=Path, required=True, help="folder that does not exist yet")
    parser.add_argument("build", nargs=argparse.REMAINDER, help="-- and the arguments of `synthgen build`")


def run(options: argparse.Namespace) -> Outcome:
    """Run and measure one build."""
    if options.out.exists():
        return Outcome({}, [f"{options.out} exists already: name another folder, so that the whole build is measured"])
    figures = measure(options.out, [argument for argument in options.build if argument != "--"])
    rows = [[name, value if value % 1 else {"values": [value], "format": "{:,}"}] for name, value in figures.items()]
    return Outcome({"throughput": Table([Column(""), Column("", ("{:.4g}",))], rows)})


def measure(out: Path, arguments: list[str]) -> dict[str, float]:
    """Run `synthgen build` and look at its processes while it runs; memory in MB (10^6 bytes)."""
    code = "from synthgen.cli import main; main()"
    command = [sys.executable, "-c", code, "build", "--out", str(out), *arguments]
    started = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    memory: dict[int, list[tuple[float, float]]] = defaultdict(list)
    parent_cpu = 0.0
    while process.poll() is None:
        now = time.monotonic() - started
        try:
            parent_cpu = sum(process.cpu_times()[:2])
            memory[process.pid].append((now, process.memory_info().rss / 1e6))
            for child in process.children(recursive=True):
                memory[child.pid].append((now, child.memory_info().rss / 1e6))
        except psutil.Error:
            pass  # it has just ended
        time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds = time.monotonic() - started
    manifest = json.loads((out / "manifest.json").read_text())
    samples = sum(count for types in manifest["made"].values() for count in types.values()) + len(manifest["rejected"])
    workers = [looks for pid, looks in memory.items() if pid != process.pid and max(rss for _, rss in looks) > 60]
    rate = samples / seconds
    return {
        "samples": samples,
        "rejected": len(manifest["rejected"]),
        "wall time, s": seconds,
        "images/s": rate,
        "kB per sample on disk": sum(file.stat().st_size for file in out.glob("*.h5")) / 1e3 / samples,
        "CPU of the parent, ms per sample": 1000 * parent_cpu / samples,
        "memory of a worker, MB at most": max(max(rss for _, rss in looks) for looks in workers),
        "growth of a worker, MB per 1,000 samples": max(slope(looks, len(workers), rate) for looks in workers),
        "memory of the parent, MB at most": max(rss for _, rss in memory[process.pid]),
    }


def slope(looks: list[tuple[float, float]], workers: int, rate: float) -> float:
    """Growth of one worker's memory per 1,000 samples that it made, after the warm-up."""
    late = np.array(looks[int(WARM_UP * len(looks)) :])
    if len(late) < 4:
        return 0.0
    per_second = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    return per_second / (rate / workers) * 1000
