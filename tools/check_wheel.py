"""Builds the wheel and checks what is in it: two packages, the manifests inside, nothing else that could be imported."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = {"synthgen", "detectors"}
NEEDED = (
    "synthgen/py.typed",
    "synthgen/_manifests/datasets/mvtec.yaml",
    "synthgen/cli/__init__.py",
    "synthgen/foreground/network.onnx",
    *(f"synthgen/report/gallery/page.{kind}" for kind in ("html", "css", "js")),
    "detectors/__init__.py",
)


def problems(names: list[str]) -> list[str]:
    """What is wrong with a wheel that holds these files."""
    tops = {name.split("/")[0] for name in names}
    foreign = sorted(top for top in tops if top not in PACKAGES and not top.endswith(".dist-info"))
    wrong = [f"would become importable or be left behind: {top}" for top in foreign]
    wrong += [f"is missing: {name}" for name in NEEDED if name not in names]
    return wrong + [f"does not belong there: {name}" for name in names if "__pycache__" in name or name.endswith(".h5")]


def main() -> None:
    """Build, look, and leave with status 1 if anything is wrong."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(root)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        wrong = problems(names)
        if wrong:
            sys.exit("\n".join(f"{wheel.name}: {line}" for line in wrong))
        # the manifests are found where a user has them
        target = Path(folder) / "installed"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        code = "from synthgen.datasets import dataset_names; import synthgen; print(synthgen.__file__, len(dataset_names()))"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=target, env={"PYTHONPATH": str(target), "PATH": ""})
    sys.stdout.write(f"{wheel.name}: {len(names)} files, importable: {', '.join(sorted(PACKAGES))}\n")


if __name__ == "__main__":
    main()
