"""`detectors train`: from what was typed to trained runs."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detectors.cli.options import DataOptions, LearningOptions, NetworkOptions
from synthgen.errors import UsageError
from synthgen.terminal.arguments import assignments, names_of, size_of, value_of, weights_of
from synthgen.terminal.console import console
from synthgen.terminal.options import with_options
from synthgen.terminal.training import watched_training

if TYPE_CHECKING:
    from detectors.contract import AnyDetector
    from detectors.data.training_data import OnTheFly
    from detectors.training.run import TrainRequest

_CACHES = ("auto", "device", "host", "disk")
_NAMED = ("backbone", "epochs", "batch_size")  # settings that are options of their own


@with_options
def train(
    detector: Annotated[str, typer.Argument(help="Its name, of `detectors list`.")],
    data: DataOptions,
    networks: NetworkOptions,
    learning: LearningOptions,
) -> None:
    """Train a detector from normal images."""
    from detectors.training.run import ablated, devices_for, spread, train_all

    request = _request(detector, data, networks, learning)
    requests = ablated(request) if learning.ablation else [request]
    if not learning.ablation and (devices := devices_for(request) if networks.device == "auto" else []):
        sys.exit(spread(_one_each(request), devices))
    messages = console()
    with watched_training(messages) as on_progress:
        runs = [run for each in requests for run in train_all(each, messages.print, on_progress)]
    for run in runs:
        typer.echo(run)
    if data.dataset == "folder" or (data.shards is not None and data.dataset is None):
        messages.print(f"next: detectors predict {runs[0]} IMAGES, or detectors eval where there is a test split")
    elif data.dataset != "demo" or data.category == "tray":
        several = " ".join(map(str, runs)) if learning.ablation else runs[0].parent
        messages.print(f"next: detectors eval {runs[0] if len(runs) == 1 else several}")


def _request(detector: str, data: DataOptions, networks: NetworkOptions, learning: LearningOptions) -> "TrainRequest":
    """What the options ask for.

    Raises:
        UsageError: they contradict each other, or what the detector is.
    """
    from detectors.catalog import find_detector
    from detectors.contract import TrainingOptions
    from detectors.training.run import TrainRequest
    from detectors.training.selection import check_selection
    from synthgen.runs.devices import choose_compute

    info = find_detector(detector)
    check_selection(learning.select)
    if learning.cache not in _CACHES:
        raise UsageError(f"--cache {learning.cache}: expected {', '.join(_CACHES[:-1])} or {_CACHES[-1]}.")
    if data.on_the_fly and data.shards is not None:
        raise UsageError("--on-the-fly and --shards contradict each other.")
    if learning.select == "test-best" and data.dataset is None:
        raise UsageError("--select test-best needs --dataset and --root: shards hold no test split.")
    paths = weights_of(networks.weights, ("backbone", "pidinet"))
    if not info.looks_at_edges and ("pidinet" in paths or data.sam_checkpoint is not None):
        raise UsageError(f"--weights pidinet and --sam-checkpoint: {info.name} looks at no edges.")
    learn = _learned(info, data)
    return TrainRequest(
        detector=info.name,
        preset=learning.preset or info.presets[0],
        changes=_changes(learning),
        dataset=data.dataset,
        category=data.category,
        root=data.root,
        shards=data.shards,
        bit_depth=data.bit_depth,
        weights=str(paths["backbone"]) if "backbone" in paths else None,
        seeds=tuple(range(learning.seed, learning.seed + (learning.seeds or 1))),
        split_seed=data.split_seed,
        options=TrainingOptions(
            compute=choose_compute(networks.device, networks.precision, learning.compile),
            seed=learning.seed,
            selection=learning.select,
            evaluate_every=learning.evaluate_every,
            cache=learning.cache,  # type: ignore[arg-type]
            edge_generator=_generator(info.name, data, learn),
            pidinet=paths.get("pidinet"),
            sam=data.sam_checkpoint,
        ),
        out=learning.out,
        learn=learn,
    )


def _changes(learning: LearningOptions) -> dict[str, object]:
    """The detector's settings that differ from its preset's."""
    entries = assignments("--set", learning.settings, "NAME=VALUE, such as alpha=0.3")
    changes: dict[str, object] = {name: value_of("--set", name, text) for name, text in entries}
    changes |= {name: getattr(learning, name) for name in _NAMED if getattr(learning, name) is not None}
    if learning.size is not None:
        changes["size"] = size_of(learning.size)
    return changes


def _learned(detector: "AnyDetector", data: DataOptions) -> "OnTheFly | None":
    """Which anomalies are made of training images; None where a detector makes its own."""
    usual = detector.learns
    if data.types is not None or data.per_image is not None:
        if usual is None:
            raise UsageError(f"--types and --per-image: {detector.name} makes its own anomalies.")
        if data.shards is not None:
            raise UsageError("--types and --per-image: with --shards the anomalies are those of the shards.")
    if usual is None:
        return None
    return replace(usual, types=tuple(names_of(data.types) or usual.types), per_image=data.per_image or usual.per_image)


def _generator(detector: str, data: DataOptions, learn: "OnTheFly | None") -> Path | None:
    """The edge generator: the given one, or the one that `synthgen train edge-generator` has put in its usual place.

    Raises:
        UsageError: there is none, and the anomalies are to be drawn by one.
    """
    from synthgen.anomalies.registry import TYPES
    from synthgen.runs.folder import MODEL

    edits = [name for name, kind in TYPES.items() if kind.edits_edges]
    drawn = learn is not None and any(name in edits for name in learn.types)
    given, shards = data.edge_generator, data.shards
    if given is not None or shards is not None or not drawn:
        if given is not None and (learn is None or (shards is None and not drawn)):
            raise UsageError(f"--edge-generator: {detector} learns from no edge edits here (--types {','.join(edits)}).")
        return given
    usual = Path("runs") / "edge-generator" / str(data.dataset)
    if (usual / MODEL).is_file():
        return usual
    raise UsageError(
        f"{detector} learns from edited edges, which a network draws as pictures, and there is none in {usual}. Train it: "
        f"synthgen train edge-generator --dataset {data.dataset} ..., or name one with --edge-generator, or give "
        "--shards of a synthgen build, or --types auto for anomalies that need no network."
    )


def _one_each(request: "TrainRequest") -> list[list[str]]:
    """The arguments that train one category each."""
    from detectors.training.run import categories

    commands: list[list[str]] = []
    for category in categories(request):
        arguments = [*sys.argv[1:], "--category", str(category)]
        if request.out is not None:
            arguments += ["--out", str(request.out / str(category))]
        commands.append(arguments)
    return commands
