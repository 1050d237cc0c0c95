"""`detectors eval`: the one command that opens the test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detectors.cli.options import NetworkOptions, Root, Runs
from synthgen.errors import UsageError, suggest
from synthgen.terminal.arguments import weights_of
from synthgen.terminal.console import Json, console, print_json
from synthgen.terminal.options import with_options

if TYPE_CHECKING:
    from detectors.inference.loading import LoadedRun
    from detectors.results import Evaluation

_FACTS = (
    "detector",
    "preset",
    "dataset",
    "category",
    "seed",
    "selection",
    "epoch",
    "protocol",
    "size",
    "resizing",
    "precision",
)


@with_options
def eval_(
    runs: Runs,
    networks: NetworkOptions,
    *,
    root: Root = None,
    protocol: Annotated[str, typer.Option(help="strict, or paper: as the reference code measures.")] = "strict",
    batch: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 8,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for anomaly maps as TIFF, as MVTec LOCO's evaluation reads them; of several runs, a folder in it each."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Score the official test split: metrics.json and report.html in each run, a table on stdout."""
    from detectors.evaluation.comparison import comparison_table, format_markdown, read_results
    from detectors.evaluation.evaluate import evaluate, results_json
    from detectors.inference.loading import load_run
    from detectors.metrics import PROTOCOLS
    from detectors.runs import METRICS, find_runs
    from synthgen.files import write_json
    from synthgen.runs.devices import choose_compute

    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}: there is no such protocol.{suggest(protocol, list(PROTOCOLS))}")
    compute = choose_compute(networks.device, networks.precision)
    paths = find_runs(runs)
    weights = weights_of(networks.weights, ("backbone",)).get("backbone")
    results = []
    for path in paths:
        run = load_run(path, None if weights is None else str(weights), compute)
        place = root or (Path(run.config["root"]) if run.config.get("root") else None)
        folder = maps if maps is None or len(paths) == 1 else maps / "-".join(path.resolve().parts[-3:])
        evaluation = evaluate(run, place, protocol, compute, batch, maps=folder)
        values = results_json(run, evaluation, compute)
        write_json(path / METRICS, values)
        if report:
            _write_report(run, evaluation, values)
        for name, why in evaluation.missing.items():
            console().print(f"{path}: {name}: {why}")
        results.append(read_results(path))
    rows = comparison_table(results)
    print_json(rows) if json else typer.echo(format_markdown(rows))


def _write_report(run: "LoadedRun", evaluation: "Evaluation", values: dict[str, Any]) -> None:
    from detectors.evaluation.report import write_report
    from detectors.runs import REPORT
    from detectors.training.selection import TEST_STAMP

    facts = {name: str(values[name]) for name in _FACTS}
    facts["backbone"] = f"{values['backbone']}, weights {values['backbone_sha256'][:16]}"
    write_report(
        run.path / REPORT,
        evaluation,
        title=f"{values['detector']} on {values['dataset']}/{values['category']}",
        facts=facts,
        stamp=TEST_STAMP if values["selection"] == "test-best" else "",
        explain=run.explained,
    )
