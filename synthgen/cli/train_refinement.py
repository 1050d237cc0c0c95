"""`synthgen train npcf` and `synthgen train npcf++`: the networks that refine anomalies."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from synthgen.cli.options import PlanRequest
from synthgen.cli.request import plan_from, refuse_inside
from synthgen.cli.train_options import NOT_IN_FACTS, NetworkTraining
from synthgen.errors import UsageError
from synthgen.terminal.arguments import names_of, weights_of
from synthgen.terminal.console import console, print_json
from synthgen.terminal.training import watched_training

if TYPE_CHECKING:
    from synthgen.refine.config import NpcfConfig, NpcfppConfig
    from synthgen.refine.model import RefinementCard
    from synthgen.runs.devices import Compute
    from synthgen.runs.folder import RunFolder
    from synthgen.training.stage_a import StageA

_PAPERS_TYPES = "crack,corrosion,deformation"


def train_refinement(request: NetworkTraining, json: bool) -> None:
    """Train a network on stage A, or say that it is trained already."""
    from synthgen.files import file_sha256
    from synthgen.refine.config import NPCF, NPCFPP
    from synthgen.refine.model import RefinementCard, model_file, read_card
    from synthgen.runs.folder import RunFolder

    if request.devices > 1 and ":" in request.device:
        raise UsageError(f"--devices {request.devices} takes the first ones: give --device cuda without a number.")
    if (request.model == NPCFPP) != (request.npcf is not None):
        raise UsageError("`synthgen train npcf++` refines a trained npcf: --npcf RUN; npcf itself needs none.")
    paths = _weights(request)
    compute = request.compute()
    config = _config(request, paths, on_gpu=compute.device.type == "cuda")
    stage_a = _samples(request)
    card = RefinementCard(
        model=request.model,
        config=config,
        size=stage_a.size,
        dataset=stage_a.dataset,
        categories=stage_a.categories,
        types=stage_a.types,
        styles=stage_a.styles,
        licence=stage_a.licence,
        encoder_sha256=file_sha256(paths["encoder"]) if "encoder" in paths else "",
        coarse_sha256=file_sha256(model_file(request.npcf, NPCF)) if request.npcf is not None else "",
        measured={},
    )
    if request.npcf is not None:
        _check_pair(request.npcf, read_card(request.npcf, NPCF), card)
    folder = request.out or Path("runs") / request.model / stage_a.dataset
    _refuse_inside(folder, request)
    facts = {name: value for name, value in card.to_json().items() if name not in NOT_IN_FACTS}
    facts |= {"seed": request.seed, "precision": compute.precision, "device": str(compute.device), "devices": request.devices}
    facts |= {"samples_sha256": stage_a.digest}
    if "vgg16" in paths:
        facts["vgg16_sha256"] = file_sha256(paths["vgg16"])
    if RunFolder.look(folder, facts):
        console().print(f"{folder}: is finished already", markup=False)
    else:
        _train(request, stage_a, card, RunFolder(folder, facts, "synthgen-run"), compute)
    card = read_card(folder, request.model)
    _tell_result(request, folder, card, stage_a.holds_out)
    print_json({"run": str(folder)} | card.measured) if json else typer.echo(str(folder))


def _weights(request: NetworkTraining) -> dict[str, Path]:
    """The files of `--weights`, by name."""
    return weights_of(request.weights, () if request.model == "npcf++" else ("encoder", "vgg16"))


def _config(request: NetworkTraining, paths: Mapping[str, Path], on_gpu: bool) -> "NpcfConfig | NpcfppConfig":
    """The settings, with the perceptual loss that there are weights for."""
    from synthgen.refine.config import NpcfConfig, make_config
    from synthgen.refine.features import choose_network

    config = make_config(request.model, request.config or ("default" if on_gpu else "cpu"), request.changes)
    return choose_network(config, dict(paths)) if isinstance(config, NpcfConfig) else config


def _train(request: NetworkTraining, stage_a: "StageA", card: "RefinementCard", run: "RunFolder", compute: "Compute") -> None:
    from synthgen.builder.backends import usable_cores
    from synthgen.runs.folder import CHECKPOINT
    from synthgen.training.refinement import Training, train

    messages, paths = console(), _weights(request)
    for line in _summary(stage_a, card, paths):
        messages.print(line, markup=False)
    workers = request.jobs
    if workers is None:  # shards are read faster than a CPU learns
        workers = 0 if request.shards is not None and compute.device.type == "cpu" else max(usable_cores() - 1, 1)
    with watched_training(messages, "step") as on_progress, run:
        if (run.path / CHECKPOINT).is_file():
            messages.print(f"{run.path}: goes on from its checkpoint", markup=False)
        training = Training(
            samples=stage_a.training,
            held_out=stage_a.held_out,
            card=card,
            run=run,
            compute=compute,
            weights=paths,
            coarse=request.npcf,
            seed=request.seed,
            devices=request.devices,
            workers=workers,
        )
        train(training, on_progress)


def _samples(request: NetworkTraining) -> "StageA":
    """What is to be learned."""
    from synthgen.anomalies.registry import AUTO, TYPES, canonical_type
    from synthgen.training.stage_a import from_plan, from_shards

    if (request.dataset is None) == (request.shards is None):
        raise UsageError("give either --dataset NAME (anomalies are made as they are needed) or --shards DIR.")
    if request.shards is not None:
        request.refuse("root", "categories", "types", "per_image", "style", "size", "bit_depth", beside="--shards")
        return from_shards(request.shards)
    for name in names_of(request.types) or ():
        if name != AUTO and TYPES[canonical_type(name)].edits_edges:
            raise UsageError(f"--types {name}: is drawn by a network of its own, and is not refined.")
    plan = plan_from(
        PlanRequest(
            dataset=request.dataset, root=request.root, categories=request.categories, types=request.types or _PAPERS_TYPES,
            per_image=request.per_image, size=request.size, style=request.style, seed=request.seed,
            bit_depth=request.bit_depth if request.bit_depth != 16 else None, refine="none",
        )
    )  # fmt: skip
    return from_plan(plan)


def _check_pair(path: Path, coarse: "RefinementCard", card: "RefinementCard") -> None:
    if (coarse.dataset, coarse.size) != (card.dataset, card.size):
        known = f"{coarse.dataset} at {coarse.size[0]}x{coarse.size[1]}"
        raise UsageError(
            f"--npcf {path}: was trained on {known}, the samples are {card.dataset} at {card.size[0]}x{card.size[1]}. "
            "Both stages learn the same dataset at the same size."
        )
    if strange := sorted(set(card.categories) - set(coarse.categories)):
        raise UsageError(f"--npcf {path}: has never seen {', '.join(strange)}. Both stages learn the same categories.")


def _refuse_inside(folder: Path, request: NetworkTraining) -> None:
    from synthgen.datasets import resolve_root

    data = request.shards if request.dataset is None else resolve_root(request.dataset, request.root)
    refuse_inside(folder, data)


def _summary(stage_a: "StageA", card: "RefinementCard", paths: dict[str, Path]) -> list[str]:
    from synthgen.refine.config import NpcfConfig

    height, width = stage_a.size
    held = f"{len(stage_a.held_out)} more held out" if stage_a.holds_out else "none held out, since there are so few sources"
    steps = card.config.steps_of(len(stage_a.training))
    lines = [
        f"{stage_a.dataset} ({', '.join(stage_a.categories)}): {len(stage_a.training)} samples at {height}x{width}, {held}; "
        f"{steps} steps of {card.config.batch_size} windows"
    ]
    if isinstance(card.config, NpcfConfig):
        if "encoder" not in paths:
            lines.append("the encoder begins untrained, since there are no weights (--weights encoder=FILE)")
        lines.append(f"perceptual loss: {card.config.perc_network}")
    return lines


def _tell_result(request: NetworkTraining, folder: Path, card: "RefinementCard", held: bool) -> None:
    from synthgen.refine.config import NPCF, NPCFPP

    messages = console()
    which = "held-out samples" if held else "its own samples (there are too few sources to hold some out)"
    kept_change = card.measured["kept_change"]
    messages.print(
        f"{which}: loss {card.measured['held_out_loss']:.4f}, {kept_change:.0%} of stage A's change is kept", markup=False
    )
    messages.print(f"look at {folder / 'samples.png'}", markup=False)
    models = f"--npcf {folder}" if card.model == NPCF else f"--npcf {request.npcf} --npcfpp {folder}"
    height, width = card.size
    side = None if card.size == (512, 512) else str(height) if height == width else f"{height}x{width}"
    bits = request.bit_depth if request.bit_depth != 16 else None
    root = "DIR" if request.shards is not None and card.dataset != "demo" else request.root
    given = {"root": root, "categories": request.categories, "bit-depth": bits, "size": side, "style": request.style}
    data = "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
    types = ",".join(card.types)
    messages.print(f"next: synthgen build --dataset {card.dataset}{data} --types {types} {models}", markup=False)
    if card.model == NPCF:
        many = f" --per-image {request.per_image}" if request.per_image is not None else ""
        again = f"--dataset {card.dataset}{data} --types {types}{many}"
        again = f"--shards {request.shards}" if request.shards is not None else again
        messages.print(f"or:   synthgen train {NPCFPP} {again} --npcf {folder}", markup=False)
