"""`synthgen worth`: what the samples of a dataset teach a small detector about real defects."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.errors import UsageError, to_install
from synthgen.terminal.arguments import counts_of
from synthgen.terminal.console import Json, console, print_json, stdout_console


def worth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset that `synthgen build` made.")],
    *,
    real: Annotated[
        Path,
        typer.Option(
            help="Real defects: a folder for each kind, masks in ground_truth/KIND; or a category in MVTec AD's layout."
        ),
    ],
    weights: Annotated[str | None, typer.Option(help="backbone=PATH of its weights; default: torchvision's own.")] = None,
    backbone: Annotated[str, typer.Option(help="resnet18 (quick), or another that `detectors` knows.")] = "resnet18",
    category: Annotated[str | None, typer.Option(help="Of the dataset, if it holds several.")] = None,
    samples: Annotated[int, typer.Option(min=8, help="At most so many of each set.")] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="How often each detector is trained.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 200,
    shots: Annotated[
        str | None,
        typer.Option(help="Also a learning curve: what so many real defects of each kind are worth, such as 1,2,5."),
    ] = None,
    objects: Annotated[
        str,
        typer.Option(
            metavar="similar|photographs|FILE",
            help="Which photographs show the same object, and stay together: told by likeness; none do; or a CSV file with the "
            "columns path and object.",
        ),
    ] = "similar",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for worth.html and worth.json; default: DIR/worth.")] = None,
    json: Json = False,
) -> None:
    """Measure what the samples teach a detector about your own real defects: which types help, for which defect.

    One small fixed detector is trained on each anomaly type alone and on all of them, and tested on the real images.
    """
    try:
        from detectors.real.worth import WorthOptions, measure_worth
        from detectors.real.worth.report import summary_table, write_json, write_report
        from synthgen.runs.devices import choose_compute
    except ModuleNotFoundError as error:
        raise UsageError(f"`synthgen worth` needs {error.name}: {to_install('detectors')}.") from error
    path = weights.removeprefix("backbone=") if weights else None
    options = WorthOptions(
        category,
        backbone,
        path,
        samples,
        seeds=tuple(range(seeds)),
        steps=steps,
        objects=objects,
        shots=counts_of("--shots", shots),
    )
    messages = console()
    result = measure_worth(folder, real, options, choose_compute(device).device, lambda text: messages.print(text, style="dim"))
    target = out if out is not None else folder / "worth"
    write_json(target / "worth.json", result)
    write_report(target / "worth.html", result)
    if json:
        print_json(result.to_json())
    else:
        stdout_console().print(summary_table(result))
        typer.echo(str(target / "worth.html"))
