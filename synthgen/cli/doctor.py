"""`synthgen doctor`: what there is on this machine, and what is amiss."""

import importlib.metadata
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from synthgen.errors import InputDataError, SynthgenError, to_install
from synthgen.terminal.console import Json, console, print_json

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "h5py",
    "scikit-image",
    "pydantic",
    "torch",
    "torchvision",
    "onnxruntime",
    "pyarrow",
)
_EXTRAS = {
    "torch": "detectors, edges, refine", "torchvision": "detectors", "onnxruntime": "export", "pyarrow": "interop",
}  # fmt: skip
_WRITTEN = 64 << 20  # bytes that tell how fast a folder is
_SLOW = 30.0  # MB/s
_LEAST_FREE = 5.0  # GB


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        what: what was looked at.
        state: `ok`, `note` (fine to know) or `warning` (something will go wrong).
        told: what was found, and the way out where there is something amiss.
    """

    what: str
    state: str
    told: str


def doctor(
    out: Annotated[Path, typer.Option(help="The folder whose speed and room are measured.")] = Path(),
    json: Json = False,
) -> None:
    """Say what is on this machine: versions, GPU, weights, datasets, room and speed of a folder. Exit status 3 if amiss.

    [bold]Example[/bold]

      synthgen doctor --out /data/sets
    """
    checks = [*_versions(), *_machine(), *_gpu(), *_weights(), *_datasets(), *_folder(out), *_cache()]
    if json:
        print_json([asdict(check) for check in checks])
    else:
        width = max(len(check.what) for check in checks)
        for check in checks:
            mark = {"ok": "ok     ", "note": "note   ", "warning": "WARNING"}[check.state]
            typer.echo(f"{mark}  {check.what:{width}}  {check.told}")
    if any(check.state == "warning" for check in checks):
        raise InputDataError("something is amiss: see the lines with WARNING.")
    console().print("all is well")


def _versions() -> list[Check]:
    from synthgen import __version__

    checks = [Check("synthgen", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")]
    for name in _PACKAGES:
        try:
            checks.append(Check(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            extra = _EXTRAS.get(name)
            way = f"not installed: {to_install(extra.split(',')[0])}" if extra else "not installed"
            checks.append(Check(name, "note" if extra else "warning", way))
    return checks


def _machine() -> list[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [Check("machine", "ok", f"{cores} cores, {memory:.1f} GB of memory")]


def _gpu() -> list[Check]:
    if find_spec("torch") is None:
        return [Check("GPU", "note", "not looked for: PyTorch is not installed (building from renderers needs none)")]
    import torch

    if not torch.cuda.is_available():
        return [Check("GPU", "note", "none that PyTorch can use: trainings run on the CPU, slowly")]
    checks = []
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        try:
            torch.zeros(1024, device=f"cuda:{number}").sum().item()
            checks.append(Check(f"GPU {number}", "ok", f"{facts.name}, {facts.total_memory / 1e9:.0f} GB"))
        except RuntimeError as error:
            checks.append(Check(f"GPU {number}", "warning", f"{facts.name} fails: {str(error).splitlines()[0]}"))
    return checks


def _weights() -> list[Check]:
    checks = []
    if find_spec("torch") is not None:
        import torch

        from detectors.data.backbones import BACKBONES

        folder = Path(torch.hub.get_dir()) / "checkpoints"
        for backbone in BACKBONES.values():
            path = folder / backbone.file
            is_there = path.is_file()
            text = str(path) if is_there else f"not in {folder}: fetched when needed, or --weights backbone=FILE"
            checks.append(Check(f"backbone {backbone.name}", "ok" if is_there else "note", text))
    sam = os.environ.get("SYNTHGEN_SAM")
    if sam and not Path(sam).is_file():
        checks.append(Check("SAM", "warning", f"$SYNTHGEN_SAM names {sam}, which is no file"))
    elif sam:
        checks.append(Check("SAM", "ok", sam))
    return checks


def _datasets() -> list[Check]:
    from synthgen.datasets import dataset_names, scan

    root = os.environ.get("SYNTHGEN_DATA")
    if not root:
        return [Check("datasets", "note", "$SYNTHGEN_DATA is not set: give --root")]
    if not Path(root).is_dir():
        return [Check("datasets", "warning", f"$SYNTHGEN_DATA names {root}, which is no folder")]
    checks = []
    for name in dataset_names():
        if not (Path(root) / name).is_dir():
            continue
        try:
            categories = scan(name, None).categories
            images = sum(len(category.used) for category in categories)
            checks.append(Check(f"dataset {name}", "ok", f"{len(categories)} categories, {images} normal images"))
        except SynthgenError as error:
            checks.append(Check(f"dataset {name}", "warning", str(error).splitlines()[0]))
    return checks or [
        Check("datasets", "note", f"none in {root}: folders there are called {', '.join(dataset_names()[:4])}, ...")
    ]


def _folder(out: Path) -> list[Check]:
    import shutil

    try:
        free = shutil.disk_usage(out).free / 1e9
        with tempfile.TemporaryFile(dir=out) as file:
            data = os.urandom(1 << 20)
            start = time.monotonic()
            for _ in range(_WRITTEN >> 20):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
            speed = _WRITTEN / 1e6 / max(time.monotonic() - start, 1e-6)
    except OSError as error:
        return [Check(f"folder {out}", "warning", f"cannot be written: {error.strerror or error}")]
    state = "ok" if free >= _LEAST_FREE and speed >= _SLOW else "note"
    return [Check(f"folder {out}", state, f"{free:.0f} GB free, written at {speed:.0f} MB/s")]


def _cache() -> list[Check]:
    from synthgen import cache

    folder = cache.folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return [Check("cache", "ok", str(folder))]
    except OSError as error:
        text = f"{folder} cannot be written ({error.strerror or error}): what could be kept is worked out again"
        return [Check("cache", "note", text)]
