"""The verbs that look: list, compare."""

from typing import Annotated

import typer

from detectors.cli.options import Runs
from synthgen.terminal.console import Json, print_json


def list_(json: Json = False) -> None:
    """Show the detectors, their presets, and the backbones."""
    from detectors.catalog import all_detectors
    from detectors.data.backbones import BACKBONES

    detectors, backbones = all_detectors(), list(BACKBONES.values())
    if json:
        print_json(
            {
                "detectors": {each.name: {"title": each.title, "presets": list(each.presets)} for each in detectors},
                "backbones": {each.name: {"file": each.file, "sha256": each.sha256} for each in backbones},
            }
        )
        return
    for detector in detectors:
        typer.echo(f"{detector.name}: {detector.title} ({detector.source}); presets: {', '.join(detector.presets)}")
    for backbone in backbones:
        typer.echo(f"backbone {backbone.name}: {backbone.file}, sha256 {backbone.sha256}...")


def compare(
    runs: Runs,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
) -> None:
    """Make one table of evaluated runs: mean and deviation over seeds."""
    from detectors.evaluation.comparison import comparison_table, find_results, format_csv, format_markdown

    rows = comparison_table(find_results(runs))
    if json:
        print_json(rows)
    elif csv:
        typer.echo(format_csv(rows), nl=False)
    else:
        typer.echo(format_markdown(rows))
