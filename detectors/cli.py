"""The command line: `detectors VERB`. Data goes to stdout, everything else to stderr; errors say the way out.

Exit status: as of `synthgen`.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthgen.errors import InputDataError, SynthgenError, UsageError, suggest
from synthgen.terminal.console import Json, console, print_json
from synthgen.terminal.training import Interrupted, terminable, training_progress

if TYPE_CHECKING:
    from detectors.contract import AnyDetector
    from detectors.data.training_data import OnTheFly
    from detectors.training.run import TrainRequest

app = typer.Typer(
    help="Train anomaly detectors from normal images, and use them.",
    epilog="Start with `detectors list`, then `detectors train NAME --dataset mvtec --category bottle --root DIR`.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DATA, _HOW, _WHERE = "What to train on", "How to train", "Where"
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)]
Precision = Annotated[str, typer.Option(help="fp32, or bf16 (scores change slightly).", rich_help_panel=_WHERE)]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        help="backbone=PATH of a checkpoint; backbone=random for an untrained one. For detectors that look at "
        "edges: pidinet=PATH (finds them; research purposes only).",
        rich_help_panel=_DATA,
    ),
]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.", rich_help_panel=_WHERE)]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs.")]
RootOption = Annotated[
    Path | None, typer.Option(help="The dataset's folder. Default: $SYNTHGEN_DATA/DATASET.", rich_help_panel=_DATA)
]


@app.command("list")
def list_(json: Json = False) -> None:
    """Show the detectors, their presets, and the backbones."""
    from detectors.catalog import all_detectors
    from detectors.data.backbones import BACKBONES

    if json:
        print_json(
            {
                "detectors": {one.name: {"title": one.title, "presets": list(one.presets)} for one in all_detectors()},
                "backbones": {one.name: {"file": one.file, "sha256": one.sha256} for one in BACKBONES.values()},
            }
        )
        return
    for detector in all_detectors():
        typer.echo(f"{detector.name}: {detector.title} ({detector.source}); presets: {', '.join(detector.presets)}")
    for backbone in BACKBONES.values():
        typer.echo(f"backbone {backbone.name}: {backbone.file}, sha256 {backbone.sha256}...")


@app.command(epilog="Run the same command again to resume; the test split stays closed until `detectors eval`.")
def train(
    detector: Annotated[str, typer.Argument(help="Its name, of `detectors list`.")],
    dataset: Annotated[
        str | None, typer.Option(help="mvtec, visa, btad, mpdd, mvtec_loco, madsim, folder or demo.", rich_help_panel=_DATA)
    ] = None,
    category: Annotated[str | None, typer.Option(help="One category, or all.", rich_help_panel=_DATA)] = None,
    root: RootOption = None,
    shards: Annotated[
        Path | None, typer.Option(help="Train from a folder of shards of `synthgen build`.", rich_help_panel=_DATA)
    ] = None,
    on_the_fly: Annotated[
        bool, typer.Option("--on-the-fly", help="Make anomalies as they are needed (the default without --shards).")
    ] = False,
    types: Annotated[
        str | None,
        typer.Option(
            help="Without --shards, where a detector makes none itself: anomalies to learn from, comma-separated. "
            "Default: the detector's.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    per_image: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of these, of each image (and named type). Default: the detector's.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    edge_generator: Annotated[
        Path | None,
        typer.Option(
            help="A generator of `synthgen train edge-generator`, which draws what edits of edges leave behind. "
            "Default: runs/edge-generator/DATASET.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    sam_checkpoint: Annotated[
        Path | None,
        typer.Option(help="SAM's weights, which find the parts between edges.", rich_help_panel=_DATA),
    ] = None,
    bit_depth: Annotated[int, typer.Option(min=8, max=16, help="Bits in use of 16-bit files.", rich_help_panel=_DATA)] = 16,
    weights: Weights = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A set of settings, of `detectors list`. Default: the first.", rich_help_panel=_HOW),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="See `detectors list`.", rich_help_panel=_HOW)] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Side of the square that is seen, in pixels, or HEIGHTxWIDTH where it may be none.", rich_help_panel=_HOW
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the preset's.", rich_help_panel=_HOW)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Default: the preset's.", rich_help_panel=_HOW)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting, such as alpha=0.3 or synthesis=none.", rich_help_panel=_HOW),
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Train each of the detector's ablations, in a run of its own.", rich_help_panel=_HOW),
    ] = False,
    select: Annotated[
        str,
        typer.Option(
            help="last epoch; val: best on held-out images; test-best: on the test split (its numbers are stamped).",
            rich_help_panel=_HOW,
        ),
    ] = "last",
    seed: Annotated[int, typer.Option(min=0, help="Of initialisation and order.", rich_help_panel=_HOW)] = 0,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train with this many seeds, from --seed on.", rich_help_panel=_HOW)
    ] = None,
    split_seed: Annotated[int, typer.Option(min=0, help="Another one holds out other images.", rich_help_panel=_HOW)] = 0,
    evaluate_every: Annotated[
        int,
        typer.Option(min=0, help="Epochs between evaluations on held-out images; 0: about 20 in all.", rich_help_panel=_HOW),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: runs/DETECTOR/DATASET-CATEGORY/seed-N.", rich_help_panel=_WHERE)
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=_WHERE)] = False,
    cache: Annotated[
        str, typer.Option(help="Where features are kept: auto, device, host or disk.", rich_help_panel=_WHERE)
    ] = "auto",
) -> None:
    """Train a detector from normal images."""
    from detectors.catalog import find_detector
    from detectors.contract import TrainingOptions
    from detectors.training.run import TrainRequest, ablated, devices_for, spread, train_all
    from detectors.training.selection import check_selection
    from synthgen.runs.devices import choose_compute

    info = find_detector(detector)
    check_selection(select)
    if cache not in ("auto", "device", "host", "disk"):
        raise UsageError(f"--cache {cache}: expected auto, device, host or disk.")
    if on_the_fly and shards is not None:
        raise UsageError("--on-the-fly and --shards contradict each other.")
    if select == "test-best" and dataset is None:
        raise UsageError("--select test-best needs --dataset and --root: shards hold no test split.")
    changes = _settings(settings or [])
    named = {"backbone": backbone, "size": _size(size), "epochs": epochs, "batch_size": batch_size}
    changes |= {name: value for name, value in named.items() if value is not None}
    paths = _weights(weights, ("backbone", "pidinet"))
    learn = _learned(info, types, per_image, shards)
    if not info.looks_at_edges and ("pidinet" in paths or sam_checkpoint is not None):
        raise UsageError(f"--weights pidinet and --sam-checkpoint: {info.name} looks at no edges.")
    generator = _generator(info.name, edge_generator, learn, dataset, shards)
    request = TrainRequest(
        detector=info.name,
        preset=preset or info.presets[0],
        changes=changes,
        dataset=dataset,
        category=category,
        root=root,
        shards=shards,
        bit_depth=bit_depth,
        weights=paths.get("backbone"),
        seeds=tuple(range(seed, seed + (seeds or 1))),
        split_seed=split_seed,
        options=TrainingOptions(
            compute=choose_compute(device, precision, compile_),
            seed=seed,
            selection=select,
            evaluate_every=evaluate_every,
            cache=cache,  # type: ignore[arg-type]
            edge_generator=generator,
            pidinet=Path(paths["pidinet"]) if "pidinet" in paths else None,
            sam=sam_checkpoint,
        ),
        out=out,
        learn=learn,
    )
    requests = ablated(request) if ablation else [request]
    say = console().print
    if not ablation and (devices := devices_for(request) if device == "auto" else []):
        sys.exit(spread(_one_each(request), devices))
    with terminable() as check, training_progress(console()) as progress:

        def watch(name: str, epoch: int, epochs: int, measured: dict[str, float]) -> None:
            check()
            progress(name, epoch, epochs, measured)

        runs = [run for one in requests for run in train_all(one, say, watch)]
    for run in runs:
        typer.echo(run)
    if dataset == "folder" or (shards is not None and dataset is None):
        say(f"next: detectors predict {runs[0]} IMAGES, or detectors eval where there is a test split")
    elif dataset != "demo" or category == "tray":
        say(f"next: detectors eval {runs[0] if len(runs) == 1 else ' '.join(map(str, runs)) if ablation else runs[0].parent}")


@app.command("eval")
def eval_(
    runs: Runs,
    root: RootOption = None,
    protocol: Annotated[str, typer.Option(help="strict, or paper: as the reference code measures.")] = "strict",
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch: Batch = 8,
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
    from detectors.evaluation.report import write_report
    from detectors.inference.loading import load_run
    from detectors.metrics import PROTOCOLS
    from detectors.runs import METRICS, REPORT, find_runs
    from detectors.training.selection import TEST_STAMP
    from synthgen.files import write_json
    from synthgen.runs.devices import choose_compute

    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}: there is no such protocol.{suggest(protocol, list(PROTOCOLS))}")
    compute = choose_compute(device, precision)
    found = find_runs(runs)
    results = []
    for path in found:
        run = load_run(path, _weights(weights).get("backbone"), compute)
        place = root or (Path(run.config["root"]) if run.config.get("root") else None)
        own = maps if maps is None or len(found) == 1 else maps / "-".join(path.resolve().parts[-3:])
        evaluation = evaluate(run, place, protocol, compute, batch, own)
        values = results_json(run, evaluation, compute)
        write_json(path / METRICS, values)
        stamp = TEST_STAMP if values["selection"] == "test-best" else ""
        if report:
            write_report(path / REPORT, evaluation, f"{values['detector']} on {values['dataset']}/{values['category']}",
                         _report_facts(values), stamp, run.explained)  # fmt: skip
        for name, why in evaluation.missing.items():
            console().print(f"{path}: {name}: {why}")
        results.append(read_results(path))
    rows = comparison_table(results)
    if json:
        print_json(rows)
    else:
        typer.echo(format_markdown(rows))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays, masks, scores.csv and scores.json.")] = Path("predictions"),
    pictures: Annotated[bool, typer.Option(help="Write overlays and masks.")] = True,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch: Batch = 8,
    json: Json = False,
) -> None:
    """Score images of one's own."""
    from dataclasses import asdict

    from detectors.inference.loading import load_run
    from detectors.inference.predict import find_images, predict
    from synthgen.runs.devices import choose_compute

    compute = choose_compute(device, precision)
    files = find_images(images)
    loaded = load_run(run, _weights(weights).get("backbone"), compute)
    predictions, problems = predict(loaded, files, out, compute, batch, pictures)
    if json:
        print_json([asdict(one) for one in predictions])
    else:
        for one in predictions:
            typer.echo(f"{'anomalous' if one.anomalous else 'normal':9}  {one.score:.4f}  {one.image}")
    console().print(f"{sum(one.anomalous for one in predictions)} of {len(predictions)} above the threshold; written to {out}")
    if problems:
        raise InputDataError("\n".join([f"{len(problems)} of {len(files)} files could not be scored:", *problems]))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="The ONNX file. Default: model.onnx in the run.")] = None,
    weights: Weights = None,
) -> None:
    """Write the whole detector as ONNX, checked against ONNX Runtime."""
    from detectors.inference.export import export_onnx
    from detectors.inference.loading import load_run
    from synthgen.runs.devices import choose_compute

    path = out or run / "model.onnx"
    difference = export_onnx(load_run(run, _weights(weights).get("backbone"), choose_compute("cpu")), path)
    typer.echo(path)
    console().print(f"ONNX Runtime's scores differ by at most {difference:.1e}")


@app.command("score-samples")
def score_samples_(
    run: Annotated[Path, typer.Argument(help="A run folder of a detector that can tell.")],
    shards: Annotated[Path, typer.Option(help="The samples to score: shards of `synthgen build`.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: quality.h5 in the run.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Estimate how much each sample is worth, for `synthgen view --by quality` and `synthgen build --min-quality`."""
    import numpy as np

    from detectors.inference.loading import load_run
    from detectors.inference.sample_quality import score_samples
    from synthgen.runs.devices import choose_compute
    from synthgen.shards.quality import write_quality

    compute = choose_compute(device, precision)
    path = out or run / "quality.h5"
    table = score_samples(load_run(run, _weights(weights).get("backbone"), compute), shards, compute)
    write_quality(path, table)
    typer.echo(path)
    low, high, middle = table.quality.min(), table.quality.max(), np.median(table.quality)
    console().print(f"{len(table)} samples: quality {low:.2f} to {high:.2f}, median {middle:.2f}")
    if not table.seen.any():
        console().print("none of these samples was learned from: only their qualities are known, not their losses")
    console().print(f"look: synthgen view {shards} --by quality --quality {path}", markup=False)


@app.command()
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


def _learned(detector: "AnyDetector", types: str | None, per_image: int | None, shards: Path | None) -> "OnTheFly | None":
    """Which anomalies are made of training images; None where a detector makes its own."""
    from dataclasses import replace

    from synthgen.terminal.arguments import names_of

    usual = detector.learns
    if types is not None or per_image is not None:
        if usual is None:
            raise UsageError(f"--types and --per-image: {detector.name} makes its own anomalies.")
        if shards is not None:
            raise UsageError("--types and --per-image: with --shards the anomalies are those of the shards.")
    if usual is None:
        return None
    return replace(usual, types=tuple(names_of(types) or usual.types), per_image=per_image or usual.per_image)


def _generator(
    detector: str, given: Path | None, learn: "OnTheFly | None", dataset: str | None, shards: Path | None
) -> Path | None:
    """The edge generator: the given one, or the one that `synthgen train edge-generator` has put in its usual place.

    Raises:
        UsageError: there is none, and the anomalies are to be drawn by one.
    """
    from synthgen.anomalies.registry import TYPES
    from synthgen.runs.folder import MODEL

    edits = [name for name, kind in TYPES.items() if kind.edits_edges]
    drawn = learn is not None and any(name in edits for name in learn.types)
    if given is not None or shards is not None or not drawn:
        if given is not None and (learn is None or (shards is None and not drawn)):
            raise UsageError(f"--edge-generator: {detector} learns from no edge edits here (--types {','.join(edits)}).")
        return given
    usual = Path("runs") / "edge-generator" / str(dataset)
    if (usual / MODEL).is_file():
        return usual
    raise UsageError(
        f"{detector} learns from edited edges, which a network draws as pictures, and there is none in {usual}. Train it: "
        f"synthgen train edge-generator --dataset {dataset} ..., or name one with --edge-generator, or give "
        "--shards of a synthgen build, or --types auto for anomalies that need no network."
    )


def _size(text: str | None) -> int | list[int] | None:
    """`256`, or `256x320`: height, then width."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise UsageError(f"--size {text}: expected pixels, such as 256, or HEIGHTxWIDTH, such as 256x320.")
    return int(sides[0]) if len(sides) == 1 else [int(side) for side in sides]


def _settings(entries: Sequence[str]) -> dict[str, object]:
    import yaml

    changes: dict[str, object] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals:
            raise UsageError(f"--set {entry}: expected NAME=VALUE, such as alpha=0.3.")
        try:
            changes[name.strip()] = yaml.safe_load(f"[{text}]" if "," in text and not text.startswith("[") else text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"--set {entry}: {text!r} is not a value.") from error
    return changes


def _weights(entries: Sequence[str] | None, names: Sequence[str] = ("backbone",)) -> dict[str, str]:
    """What `--weights NAME=PATH` says, by name; the backbone's may be `random`."""
    paths = {}
    for entry in entries or ():
        name, _, path = entry.partition("=")
        if name not in names or not path:
            raise UsageError(f"--weights {entry}: expected {' or '.join(f'{name}=PATH' for name in names)}.")
        paths[name] = path
    return paths


def _one_each(request: "TrainRequest") -> list[list[str]]:
    """The arguments that train one category each."""
    from detectors.training.run import categories

    out: list[list[str]] = []
    for category in categories(request):
        arguments = [*sys.argv[1:], "--category", str(category)]
        if request.out is not None:
            arguments += ["--out", str(request.out / str(category))]
        out.append(arguments)
    return out


def _report_facts(values: dict[str, Any]) -> dict[str, str]:
    names = (
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
    facts = {name: str(values[name]) for name in names}
    return facts | {"backbone": f"{values['backbone']}, weights {values['backbone_sha256'][:16]}"}


def main() -> None:
    """Run the command that the arguments ask for."""
    if find_spec("torch") is None and len(sys.argv) > 1 and not {"-h", "--help"} & set(sys.argv[1:]):
        sys.stderr.write("detectors: PyTorch is not installed: pip install 'synthgen[detectors]'.\n")
        sys.exit(2)
    try:
        app(prog_name="detectors")
    except SynthgenError as error:
        sys.stderr.write(f"detectors: {error}\n")
        sys.exit(error.exit_status)
    except Interrupted as interrupt:
        sys.stderr.write(
            "detectors: interrupted. Run the same command again: it goes on from the last checkpoint, if there is one yet.\n"
        )
        sys.exit(interrupt.exit_status)
