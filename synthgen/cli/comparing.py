"""`synthgen compare-real`: synthetic anomalies beside real ones."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.errors import UsageError, to_install
from synthgen.terminal.arguments import assignments
from synthgen.terminal.console import Json, console, print_json, stdout_console


def compare_real(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset that `synthgen build` made.")],
    real: Annotated[
        Path,
        typer.Option(
            help="Real defects: a folder for each kind, masks in ground_truth/KIND; or a category in MVTec AD's layout."
        ),
    ],
    category: Annotated[str | None, typer.Option(help="Of the dataset, if it holds several.")] = None,
    match: Annotated[
        list[str] | None, typer.Option(help="TYPE=KIND: which real kind a type is held against; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page and the numbers; default: DIR/compare-real.")] = None,
    json: Json = False,
) -> None:
    """Set sizes, contrasts, places and counts of synthetic anomalies beside those of real ones, and suggest ranges.

    [bold]Example[/bold]

      synthgen compare-real my-set --real my_defects --match spot=pinhole
    """
    try:
        import matplotlib  # noqa: F401

        from detectors.real.comparison import compare_defects
        from detectors.real.comparison.report import recipe_text, summary_table, write_comparison
    except ModuleNotFoundError as error:
        raise UsageError(f"`synthgen compare-real` needs {error.name}: {to_install('detectors')}.") from error
    pairs = dict(assignments("--match", match or (), "TYPE=KIND, such as spot=pinhole"))
    result = compare_defects(folder, real, category, pairs)
    page = write_comparison(out if out is not None else folder / "compare-real", result)
    if json:
        print_json(result.to_json())
        return
    stdout_console().print(summary_table(result))
    if text := recipe_text(result):
        console().print("suggested, for a recipe:", markup=False)
        typer.echo(text.rstrip())
    typer.echo(page)
