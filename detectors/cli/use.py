"""The verbs that use a finished run: predict, export, score-samples."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detectors.cli.options import NetworkOptions, Run, Weights
from synthgen.errors import InputDataError
from synthgen.terminal.arguments import weights_of
from synthgen.terminal.console import Json, console, print_json
from synthgen.terminal.options import with_options

if TYPE_CHECKING:
    from detectors.inference.loading import LoadedRun
    from synthgen.runs.devices import Compute


@with_options
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    networks: NetworkOptions,
    *,
    out: Annotated[Path, typer.Option(help="Folder for overlays, masks, scores.csv and scores.json.")] = Path("predictions"),
    pictures: Annotated[bool, typer.Option(help="Write overlays and masks.")] = True,
    batch: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 8,
    json: Json = False,
) -> None:
    """Score images of one's own."""
    from detectors.inference.predict import find_images, predict
    from synthgen.runs.devices import choose_compute

    compute = choose_compute(networks.device, networks.precision)
    files = find_images(images)
    predictions, problems = predict(_loaded(run, networks.weights, compute), files, out, compute, batch, pictures)
    if json:
        print_json([asdict(prediction) for prediction in predictions])
    else:
        for prediction in predictions:
            typer.echo(f"{'anomalous' if prediction.anomalous else 'normal':9}  {prediction.score:.4f}  {prediction.image}")
    anomalous = sum(prediction.anomalous for prediction in predictions)
    console().print(f"{anomalous} of {len(predictions)} above the threshold; written to {out}")
    if problems:
        raise InputDataError("\n".join([f"{len(problems)} of {len(files)} files could not be scored:", *problems]))


@with_options
def export(
    run: Run,
    *,
    weights: Weights = (),
    out: Annotated[Path | None, typer.Option(help="The ONNX file. Default: model.onnx in the run.")] = None,
) -> None:
    """Write the whole detector as ONNX, checked against ONNX Runtime."""
    from detectors.inference.export import export_onnx
    from synthgen.runs.devices import choose_compute

    path = out or run / "model.onnx"
    difference = export_onnx(_loaded(run, weights, choose_compute("cpu")), path)
    typer.echo(path)
    console().print(f"ONNX Runtime's scores differ by at most {difference:.1e}")


@with_options
def score_samples(
    run: Annotated[Path, typer.Argument(help="A run folder of a detector that can tell.")],
    networks: NetworkOptions,
    *,
    shards: Annotated[Path, typer.Option(help="The samples to score: shards of `synthgen build`.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: quality.h5 in the run.")] = None,
) -> None:
    """Estimate how much each sample is worth, for `synthgen view --by quality` and `synthgen build --min-quality`."""
    import numpy as np

    from detectors.inference.sample_quality import score_samples
    from synthgen.runs.devices import choose_compute
    from synthgen.shards.quality import write_quality

    compute = choose_compute(networks.device, networks.precision)
    path = out or run / "quality.h5"
    table = score_samples(_loaded(run, networks.weights, compute), shards, compute)
    write_quality(path, table)
    typer.echo(path)
    low, high, middle = table.quality.min(), table.quality.max(), np.median(table.quality)
    console().print(f"{len(table)} samples: quality {low:.2f} to {high:.2f}, median {middle:.2f}")
    if not table.seen.any():
        console().print("none of these samples was learned from: only their qualities are known, not their losses")
    console().print(f"look: synthgen view {shards} --by quality --quality {path}", markup=False)


def _loaded(run: Path, weights: tuple[str, ...], compute: "Compute") -> "LoadedRun":
    from detectors.inference.loading import load_run

    backbone = weights_of(weights, ("backbone",)).get("backbone")
    return load_run(run, None if backbone is None else str(backbone), compute)
