"""The virtual environment with other people's packages: made where it is missing, and entered."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools.bench.support.records import ROOT

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
    if lacking := missing(python, core + PEERS):
        install(python, "-c", str(ROOT / "constraints.txt"), *lacking)
    if missing(python, [ANOMALIB]):
        install(python, "--no-deps", ANOMALIB)
    return python


def enter(folder: Path) -> None:
    """Become this benchmark in the virtual environment, with one thread and this repository's packages; once there, return."""
    folder = folder.absolute()
    if Path(sys.prefix).resolve() == folder.resolve():
        return
    python = ensure_environment(folder)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.execve(python, [str(python), "-m", "tools.bench", *sys.argv[1:]], {**os.environ, **threads, "PYTHONPATH": str(ROOT)})


def default_environment() -> Path:
    """Where the virtual environment is made if nothing is said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthgen" / "bench-peers"
