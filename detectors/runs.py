"""Run folders of detectors: one training each, with everything that is needed to predict with it and to compare it.

Beside what `synthgen.runs.folder` keeps in it:

split.json  the split card                       validation.json  metrics on held-out images
sheet.png   what the network really saw          metrics.json     metrics on the test split (by `eval`)
                                                 report.html      curves and pictures (by `eval`)

The backbone's weights stay where they are, config.json has their digest.
"""

from pathlib import Path
from typing import Any

from synthgen.errors import InputDataError, IntegrityError
from synthgen.files import read_json
from synthgen.runs.folder import CONFIG, MODEL, VERSION, WAY_OUT

FORMAT = "detectors-run"
SPLIT, SHEET = "split.json", "sheet.png"
VALIDATION, METRICS, REPORT = "validation.json", "metrics.json", "report.html"


def read_config(run: Path) -> dict[str, Any]:
    """The configuration of a finished run.

    Raises:
        InputDataError: the folder is no run, or its training did not end.
        IntegrityError: its files are damaged.
    """
    if not (run / CONFIG).is_file():
        raise InputDataError(f"{run}: not a run: there is no {CONFIG}. `detectors train` makes runs.")
    config = read_json(run / CONFIG, WAY_OUT)
    if config.get("format") != FORMAT or config.get("format_version") != VERSION:
        raise IntegrityError(f"{run / CONFIG}: not a run that this version reads (format {config.get('format_version')}).")
    if not (run / MODEL).is_file():
        raise InputDataError(f"{run}: its training did not end. Run the same `detectors train` again: it goes on.")
    return config


def find_runs(paths: list[Path]) -> list[Path]:
    """The runs that are the paths or lie in them, sorted within each path.

    Raises:
        InputDataError: a path is or holds no run.
    """
    runs: list[Path] = []
    for path in paths:
        here = [path] if (path / CONFIG).is_file() else sorted(config.parent for config in path.rglob(CONFIG))
        if not here:
            raise InputDataError(f"{path}: neither a run nor a folder of runs. `detectors train` makes runs.")
        runs += here
    return runs
