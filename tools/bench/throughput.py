"""A whole build as a user runs it: images per second, memory of parent and workers over time, parent CPU per sample.

    python tools/make_standin.py STANDIN
    python tools/bench/throughput.py --out OUT -- --recipe maphc2f --root STANDIN --size 64

Everything after `--` goes to `synthgen build`. The folder OUT must not exist yet, so that the whole build is measured.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

SECONDS_BETWEEN_LOOKS = 0.5
WARM_UP = 0.2  # of the run, left out of the memory slope: caches and allocators fill first


@dataclass
class Result:
    """What a build cost; times in seconds, memory in MB (10^6 bytes)."""

    samples: int
    rejected: int
    seconds: float
    images_per_second: float
    megabytes_on_disk: float
    parent_cpu_ms_per_sample: float
    worker_peak_mb: float
    worker_slope_mb_per_1000_samples: float
    parent_peak_mb: float


def main() -> None:
    """Run and measure one build."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--json", type=Path)
    options.add_argument("build", nargs=argparse.REMAINDER, help="-- and the arguments of `synthgen build`")
    given = options.parse_args()
    if given.out.exists():
        options.error(f"{given.out} exists already")
    result = measure(given.out, [argument for argument in given.build if argument != "--"])
    for name, value in asdict(result).items():
        print(f"{name:36s} {value:12.4g}" if isinstance(value, float) else f"{name:36s} {value:12d}")
    if given.json:
        given.json.write_text(json.dumps(asdict(result), indent=1))


def measure(out: Path, arguments: list[str]) -> Result:
    """Run `synthgen build` and look at its processes while it runs."""
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
    return Result(
        samples=samples,
        rejected=len(manifest["rejected"]),
        seconds=seconds,
        images_per_second=rate,
        megabytes_on_disk=sum(file.stat().st_size for file in out.glob("*.h5")) / 1e6,
        parent_cpu_ms_per_sample=1000 * parent_cpu / samples,
        worker_peak_mb=max(max(rss for _, rss in looks) for looks in workers),
        worker_slope_mb_per_1000_samples=max(slope(looks, len(workers), rate) for looks in workers),
        parent_peak_mb=max(rss for _, rss in memory[process.pid]),
    )


def slope(looks: list[tuple[float, float]], workers: int, rate: float) -> float:
    """Growth of one worker's memory per 1,000 samples that it made, after the warm-up."""
    late = np.array(looks[int(WARM_UP * len(looks)) :])
    if len(late) < 4:
        return 0.0
    per_second = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    return per_second / (rate / workers) * 1000


if __name__ == "__main__":
    main()
