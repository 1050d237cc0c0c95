"""The comparison as one HTML file with pictures, as a table for the terminal, and as a recipe."""

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.table import Table

from detectors.real.comparison.compare import DefectComparison
from synthgen.files import write_text
from synthgen.fitting.measure import MEASURES, POOLED

_REAL, _MADE = "#c8443a", "#3b6fb6"
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .5em 0 1.5em }
td, th { padding: .25em .9em .25em 0; text-align: right; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left }
img { max-width: 100%; border-radius: 8px }
pre { background: #8882; padding: 1em; border-radius: 8px; overflow: auto }
"""


def summary_table(comparison: DefectComparison) -> Table:
    """10th, 50th and 90th percentile of each measure, the real kinds first."""
    table = Table(title=f"{comparison.category}: 10th / 50th / 90th percentile", title_justify="left")
    table.add_column("")
    table.add_column("images", justify="right")
    for name in MEASURES:
        table.add_column(name, justify="right")
    for row in _rows(comparison):
        table.add_row(*row)
    return table


def recipe_text(comparison: DefectComparison) -> str:
    """The suggested settings, as they stand in a recipe; empty if there are none."""
    if not comparison.suggested:
        return ""
    types = {
        kind: {name: [int(v) if name == "count_range" else v for v in values] for name, values in changes.items()}
        for kind, changes in comparison.suggested.items()
    }
    return str(yaml.safe_dump({"types": types}, sort_keys=False, default_flow_style=None))


def write_comparison(folder: Path, comparison: DefectComparison) -> Path:
    """Write `compare-real.html`, and the numbers as `compare-real.json`.

    Raises:
        StorageError: it cannot be written.
    """
    parts = [
        f"<h1>Synthetic beside real: {html.escape(comparison.category)}</h1>",
        f"<p>{comparison.real[POOLED].images} real images with masks, {comparison.synthetic[POOLED].images} synthetic ones, "
        "measured "
        "alike: each connected part of a mask is a defect, and its contrast is the difference to a ring around it.</p>",
        f'<p><img alt="Distributions of real and synthetic defects" src="{_picture(comparison)}"></p>',
        f'<p><img alt="Places of real and synthetic defects" src="{_places(comparison)}"></p>',
        _table([("", "images", *MEASURES), *_rows(comparison)]),
        "<ul>" + "".join(f"<li><b>{name}</b>: {html.escape(told)}</li>" for name, told in MEASURES.items()) + "</ul>",
        "<h2>Suggested ranges</h2>",
    ]
    text = recipe_text(comparison)
    if text:
        told = ", ".join(f"{kind} by {matched}" for kind, matched in comparison.matched.items() if kind != POOLED)
        parts.append(f"<p>For a recipe; held against the real kinds: {html.escape(told)}. Lengths are taken to scale with what "
                     "is measured, and few defects give wide ranges: build a few with them, and compare again.</p>"
                     f"<pre>{html.escape(text)}</pre>")  # fmt: skip
    else:
        parts.append("<p>None: too few real defects to say, or the ranges fit.</p>")
    page = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    page += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    page += f"<title>Synthetic beside real</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    write_text(folder / "compare-real.json", json.dumps(comparison.to_json(), indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "compare-real.html", page)
    return folder / "compare-real.html"


def _rows(comparison: DefectComparison) -> list[tuple[str, ...]]:
    rows = []
    for origin, kinds in (("real", comparison.real), ("synthetic", comparison.synthetic)):
        for kind, measured in kinds.items():
            cells = [" / ".join(f"{value:.3g}" for value in measured.percentiles(name)) for name in MEASURES]
            rows.append((f"{origin}, {kind}", str(measured.images), *cells))
    return rows


def _picture(comparison: DefectComparison) -> str:
    """Histograms of all real and all synthetic defects, one beside the other."""

    def draw(figure: Any) -> None:
        for place, (name, told) in enumerate(MEASURES.items(), 1):
            axes = figure.add_subplot(1, len(MEASURES), place)
            both = [measured.values[name] for measured in (comparison.real[POOLED], comparison.synthetic[POOLED])]
            low, high = min(values.min() for values in both), max(values.max() for values in both) * 1.001
            if name == "count":
                edges = np.arange(0.5, min(high, 20) + 1.5)
            elif name == "contrast":
                edges = np.linspace(0, high, 21)
            else:
                edges = np.geomspace(max(low, 1e-4), high, 21)
                axes.set_xscale("log")
            for values, colour, label in zip(both, (_REAL, _MADE), ("real", "synthetic"), strict=True):
                axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.55, label=label)
            axes.set(xlabel=told.replace(", ", ",\n"), ylabel="percent" if place == 1 else "", title=name)
        figure.axes[0].legend()

    return _drawn(draw, (13, 3.4))


def _places(comparison: DefectComparison) -> str:
    """Where masks lie, real and synthetic."""

    def draw(figure: Any) -> None:
        for place, (label, measured) in enumerate(
            (("real", comparison.real[POOLED]), ("synthetic", comparison.synthetic[POOLED])), 1
        ):
            axes = figure.add_subplot(1, 2, place)
            axes.imshow(100 * measured.places, cmap="inferno", vmin=0)
            axes.set(title=f"{label}: at most {100 * measured.places.max():.2g} % of images", xticks=[], yticks=[])

    return _drawn(draw, (7, 3.6))


def _drawn(draw: Any, size: tuple[float, float]) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=90, layout="tight")
    canvas = FigureCanvasAgg(figure)
    draw(figure)
    stream = io.BytesIO()
    canvas.print_png(stream)  # type: ignore[no-untyped-call]
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>'
