"""Records: a file of JSON for each run, with its figures and with what they depend on."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tools.bench.support.tables import Table

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "benchmarks"
_PACKAGES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "h5py": "h5py",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
    "anomalib": "anomalib",
    "noise": "noise",
}
"""Module -> package whose version is worth keeping where the module was used."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a benchmark comes to: tables by name, and lines about what is wrong or missed a goal."""

    tables: Mapping[str, Table]
    missed: Sequence[str] = ()


def machine() -> dict[str, Any]:
    """Processor, cores, memory and operating system, and how busy it is; neither its name nor a path."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "os": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of Python, and of the packages that this process has imported."""
    numbers = {"python": platform.python_version()}
    for module, package in _PACKAGES.items():
        if module in sys.modules:
            try:
                numbers[package] = version(package)
            except PackageNotFoundError:
                continue
    return numbers


def commit() -> str:
    """The commit that was measured, with `+changes` where files differ from it (records aside); empty outside of git."""

    def git(words: list[str]) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    changes = git(["status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks", ":!*.md"])
    return git(["rev-parse", "HEAD"]) + ("+changes" if changes else "")


def command_line(words: Sequence[str]) -> str:
    """The command as others may read it: of an absolute path, only the last part; and without where the run is kept."""
    short = [re.sub(r"(^|[=,])(/[^=,]*)", lambda part: part[1] + Path(part[2]).name, word) for word in words]
    return re.sub(r" --into[ =]\S+", "", " ".join(["python -m tools.bench", *short]))


def write(folder: Path, words: Sequence[str], outcome: Outcome) -> Path:
    """Keep a run in a file of its own.

    Args:
        folder: where; made if need be.
        words: the command line after `python -m tools.bench`, the benchmark's name first.
        outcome: its tables.

    Returns:
        The file.
    """
    now = datetime.now(UTC)
    facts = {
        "bench": words[0],
        "recorded": "measured",
        "date": now.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "command": command_line(words),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{words[0]}-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(as_text(facts, {name: table.as_json() for name, table in outcome.tables.items()}), encoding="utf-8")
    return path


def as_text(facts: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    """A record as JSON with a line for each fact, column and row, so that differences can be read."""

    def listed(name: str, items: Sequence[Any]) -> str:
        return (
            f'   "{name}": [\n    ' + ",\n    ".join(json.dumps(rounded(item), ensure_ascii=False) for item in items) + "\n   ]"
        )

    head = [f' "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in facts.items()]
    parts = [
        f"  {json.dumps(name)}: {{\n" + ",\n".join(listed(key, table[key]) for key in ("columns", "rows")) + "\n  }"
        for name, table in tables.items()
    ]
    return "{\n" + ",\n".join([*head, ' "figures": {\n' + ",\n".join(parts) + "\n }"]) + "\n}\n"


def rounded(item: Any) -> Any:
    """The same with six digits of each number: more is noise."""
    if isinstance(item, float):
        return float(f"{item:.6g}")
    if isinstance(item, list | tuple):
        return [rounded(part) for part in item]
    return {name: rounded(part) for name, part in item.items()} if isinstance(item, dict) else item
