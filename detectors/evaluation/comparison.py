"""One table of several runs: mean and deviation over seeds, and all that tells whether numbers can be compared."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectors.runs import METRICS
from synthgen.errors import InputDataError, IntegrityError

_SAME = (
    "dataset",
    "category",
    "detector",
    "preset",
    "synthesis",
    "selection",
    "protocol",
    "split",
    "size",
    "backbone",
    "backbone_sha256",
    "settings_sha256",
)
_ALSO = ("anomalies_sha256",)  # of detectors that learn from some; absent in older files
_SHOWN = ("dataset", "category", "detector", "preset", "synthesis", "selection", "protocol", "size", "backbone")
_METRICS = (
    "image_auroc",
    "image_auroc_max",
    "image_auroc_logical",
    "image_auroc_structural",
    "image_auroc_mean",
    "image_ap",
    "image_f1_max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "au_pro",
    "au_spro_logical",
    "au_spro_structural",
    "au_spro_mean",
    "au_spro_pooled",
)
TEST_BEST = "test-best"
_NOTE = "* selected on the test split: not an honest estimate, only comparable with numbers made in the same way"


def read_results(run: Path) -> dict[str, Any]:
    """What `metrics.json` of a run says.

    Raises:
        InputDataError: the run was not evaluated.
        IntegrityError: the file is damaged.
    """
    path = run / METRICS
    if not path.is_file():
        raise InputDataError(f"{run}: there is no {METRICS}. `detectors eval {run}` makes it.")
    try:
        values = json.loads(path.read_bytes())
        if values["format"] != "detectors-metrics" or values["format_version"] != 1:
            raise ValueError("of another format")
        if not all(key in values for key in (*_SAME, "seed")) or not isinstance(values["metrics"], dict):
            raise ValueError("incomplete")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{path}: damaged ({error}). `detectors eval {run}` makes it again.") from error
    return dict(values)


def find_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The results of the runs that the paths are or hold.

    Raises:
        InputDataError: a path holds no evaluated run.
        IntegrityError: a file is damaged.
    """
    results = []
    for path in paths:
        runs = [path] if (path / METRICS).is_file() else sorted(file.parent for file in path.rglob(METRICS))
        if not runs:
            raise InputDataError(f"{path}: no evaluated run. `detectors eval RUN` makes {METRICS} in a run.")
        results += [read_results(run) for run in runs]
    return results


def comparison_table(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for the runs that differ in nothing but the seed.

    Returns:
        Rows of the columns that say what was measured; `seeds`, a list; and for each metric its `mean` and sample
        `deviation` (None of one run), 0 to 1, over the runs that have it.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((*(result[key] for key in _SAME), *(result.get(key) for key in _ALSO)), []).append(result)
    rows = []
    for key, members in groups.items():
        row: dict[str, Any] = dict(zip((*_SAME, *_ALSO), key, strict=True)) | {
            "seeds": sorted(member["seed"] for member in members)
        }
        row["metrics"] = {}
        for name in _METRICS:
            values = [member["metrics"][name] for member in members if name in member["metrics"]]
            if values:
                deviation = statistics.stdev(values) if len(values) > 1 else None
                row["metrics"][name] = {"mean": statistics.fmean(values), "deviation": deviation}
        rows.append(row)
    return rows


def format_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, metrics in per cent."""
    names = [name for name in _METRICS if any(name in row["metrics"] for row in rows)]
    table = [[*_SHOWN, "weights", "seeds", *names]]
    for row in rows:
        cells = [_cell(row, key) for key in _SHOWN]
        table.append(
            [
                *cells,
                row["backbone_sha256"][:8],
                str(len(row["seeds"])),
                *(_percent(row["metrics"].get(name)) for name in names),
            ]
        )
    widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    if any(row["selection"] == TEST_BEST for row in rows):
        lines += ["", _NOTE]
    return "\n".join(lines)


def format_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV: each metric's mean and deviation, 0 to 1."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_SAME, *_ALSO, "seeds", *(f"{name}{part}" for name in _METRICS for part in ("", "_deviation"))])
    for row in rows:
        measured = [row["metrics"].get(name, {"mean": None, "deviation": None}) for name in _METRICS]
        numbers = [metric[part] for metric in measured for part in ("mean", "deviation")]
        writer.writerow([*(row[key] for key in (*_SAME, *_ALSO)), len(row["seeds"]), *numbers])
    return stream.getvalue()


def _cell(row: dict[str, Any], key: str) -> str:
    mark = "*" if key == "selection" and row[key] == TEST_BEST else ""
    return str(row[key]).replace("|", "\\|") + mark


def _percent(measured: dict[str, float | None] | None) -> str:
    if measured is None or measured["mean"] is None:
        return ""
    deviation = "" if measured["deviation"] is None else f" ± {100 * measured['deviation']:.2f}"
    return f"{100 * measured['mean']:.2f}{deviation}"
