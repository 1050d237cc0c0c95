"""The measurement as one HTML file, and as a table for the terminal."""

import html
import json
from pathlib import Path

import numpy as np
from rich.table import Table

from detectors.real.worth.measure import NEAREST, REAL, Worth, suggested_weights
from synthgen.files import write_text

_METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_ap": "pixel AP", "au_pro": "AU-PRO"}
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .5em 0 1.5em }
td, th { padding: .25em .9em .25em 0; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child { text-align: left }
.best { font-weight: 700 }
.reference { opacity: .65 }
p, pre { max-width: 70ch }
"""


def summary_table(worth: Worth) -> Table:
    """All metrics of each set, in percent: mean and deviation over seeds."""
    table = Table(title=f"worth of the samples on real defects of {worth.category}, percent", title_justify="left")
    table.add_column("trained on")
    shown = _shown(worth)
    for metric in shown:
        table.add_column(_METRICS[metric], justify="right")
    for name in worth.names():
        table.add_row(name, *(_cell(worth.values(name, metric)) for metric in shown))
    for shots in worth.options.shots:
        for name in worth.names(shots):
            table.add_row(f"{shots} of each kind: {name}", *(_cell(worth.values(name, m, shots=shots)) for m in shown))
    return table


def write_report(path: Path, worth: Worth) -> None:
    """Write the measurement as one HTML file.

    Raises:
        StorageError: it cannot be written.
    """
    kinds = sorted({kind for row in worth.rows if not row.shots for kind in row.kinds})
    parts = [
        f"<h1>Worth of synthetic anomalies: {html.escape(worth.category)}</h1>",
        "<p>One fixed detector was trained on each set of samples and tested on the real defects. Only the samples differ. "
        "Percent, mean and standard deviation over seeds; the best set of each column is bold.</p>",
        _table(
            [("trained on", *(_METRICS[m] for m in _shown(worth)))],
            {name: [worth.values(name, metric) for metric in _shown(worth)] for name in worth.names()},
        ),
    ]
    for metric in ("pixel_ap", "au_pro", "image_auroc"):
        if metric in _shown(worth):
            rows = {name: [worth.values(name, metric, kind) for kind in kinds] for name in worth.names()}
            parts += [f"<h2>{_METRICS[metric]} by kind of real defect</h2>", _table([("trained on", *kinds)], rows)]
    parts += _curve(worth)
    parts += [
        "<h2>Suggested mixture</h2>",
        "<p>Types that find a kind of defect better than the median type do, each kind of defect counting the same. "
        "<code>synthgen build --types auto --mixture worth.json</code> makes most samples by it, and the others by what suits "
        "the surface; in a recipe it is the whole mixture. It was chosen on these defects: figures measured on the same ones "
        "are no benchmark.</p>",
        f"<pre>{html.escape(_recipe(worth))}</pre>",
        "<h2>How it was measured</h2><ul>",
        *(f"<li>{html.escape(name)}: {html.escape(value)}</li>" for name, value in worth.facts.items()),
        f"</ul><p>`{NEAREST}`: distance to the nearest normal patch, nothing synthetic. `{REAL}`: the same detector trained on "
        "half of the real defects and tested on the other half.</p>",
    ]
    page = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    page += f"<title>Worth: {html.escape(worth.category)}</title><style>{_STYLE}</style>" + "\n".join(parts) + "</html>"
    write_text(path, page)


def _curve(worth: Worth) -> list[str]:
    """What a few real defects are worth; nothing where that was not asked for."""
    if not worth.options.shots:
        return []
    shown = _shown(worth)
    parts = [
        "<h2>A few real defects</h2>",
        "<p>So many of each kind were shown, drawn anew for each seed, and left out of the test: by themselves, copied "
        "(<code>--from-real</code>), and copied beside the types. What shows the same "
        "objects is in no test.</p>",
    ]
    for shots in worth.options.shots:
        rows = {name: [worth.values(name, metric, shots=shots) for metric in shown] for name in worth.names(shots)}
        if rows:
            parts.append(_table([(f"{shots} of each kind", *(_METRICS[metric] for metric in shown))], rows))
    return parts


def write_json(path: Path, worth: Worth) -> None:
    """Write all figures.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(path, json.dumps(worth.to_json(), indent=1))


def _recipe(worth: Worth) -> str:
    weights = {name: weight for name, weight in suggested_weights(worth).items() if weight > 0}
    return "types:\n" + "".join(f"  {name}: {{weight: {weight}}}\n" for name, weight in weights.items())


def _shown(worth: Worth) -> list[str]:
    return [metric for metric in _METRICS if any(metric in row.metrics for row in worth.rows)]


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def _table(header: list[tuple[str, ...]], rows: dict[str, list[list[float]]]) -> str:
    compared = {name: values for name, values in rows.items() if name not in (NEAREST, REAL)}
    columns = len(header[0]) - 1
    best = [max((float(np.mean(v[k])) for v in compared.values() if v[k]), default=np.inf) for k in range(columns)]
    lines = ["<div class=wide><table><tr>", *(f"<th>{html.escape(title)}</th>" for title in header[0]), "</tr>"]
    for name, values in rows.items():
        kind = " class=reference" if name in (NEAREST, REAL) else ""
        lines.append(f"<tr{kind}><td>{html.escape(name)}</td>")
        for k, cell in enumerate(values):
            bold = " class=best" if cell and name in compared and float(np.mean(cell)) >= best[k] - 1e-9 else ""
            lines.append(f"<td{bold}>{_cell(cell)}</td>")
        lines.append("</tr>")
    return "".join(lines) + "</table></div>"
