"""`synthgen train npcf` and `synthgen train npcf++`: the networks that refine anomalies."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from synthgen.cli.request import Request, make_plan_from, refuse_inside
from synthgen.errors import UsageError
from synthgen.terminal.arguments import names_of, weights_of
from synthgen.terminal.console import console, print_json

if TYPE_CHECKING:
    from synthgen.cli.train_request import TrainRequest
    from synthgen.refine.model import RefinementCard
    from synthgen.runs.devices import Compute
    from synthgen.training.stage_a import StageA

_PAPERS_TYPES = "crack,corrosion,deformation"


def train_refinement(request: "TrainRequest") -> None:
    """Train a network on stage A, or say that it is trained already."""
    from synthgen.files import file_sha256
    from synthgen.refine.config import NPCF, NPCFPP, NpcfConfig, make_config
    from synthgen.refine.features import choose_network
    from synthgen.refine.model import RefinementCard, model_file, read_card
    from synthgen.runs.devices import choose_compute
    from synthgen.runs.folder import RunFolder

    talk = console()
    fine = request.model == NPCFPP
    if request.devices > 1 and ":" in request.device:
        raise UsageError(f"--devices {request.devices} takes the first ones: give --device cuda without a number.")
    if fine != (request.npcf is not None):
        raise UsageError("`synthgen train npcf++` refines a trained npcf: --npcf RUN; npcf itself needs none.")
    paths = weights_of(request.weights, () if fine else ("encoder", "vgg16"))
    compute = choose_compute(request.device, request.precision or "fp32")
    if compute.device.type == "cuda" and not request.precision:
        compute = choose_compute(request.device, "bf16")
    config = make_config(
        request.model, request.config or ("default" if compute.device.type == "cuda" else "cpu"), request.changes
    )
    if isinstance(config, NpcfConfig):
        config = choose_network(config, paths)
    stage_a = _samples(request)
    card = RefinementCard(
        request.model, config, stage_a.size, stage_a.dataset, stage_a.categories, stage_a.types, stage_a.styles,
        stage_a.licence,
        file_sha256(paths["encoder"]) if "encoder" in paths else "",
        file_sha256(model_file(request.npcf, NPCF)) if request.npcf is not None else "", {},
    )  # fmt: skip
    if request.npcf is not None:
        _check_pair(request.npcf, read_card(request.npcf, NPCF), card)
    folder = request.out or Path("runs") / request.model / stage_a.dataset
    _refuse_inside(folder, request)
    own = ("format", "format_version", "measured")
    facts = {name: value for name, value in card.to_json().items() if name not in own}
    facts |= {"seed": request.seed, "precision": compute.precision, "device": str(compute.device), "devices": request.devices}
    facts |= {"samples_sha256": stage_a.digest}
    if "vgg16" in paths:
        facts["vgg16_sha256"] = file_sha256(paths["vgg16"])
    if RunFolder.look(folder, facts):
        talk.print(f"{folder}: is finished already", markup=False)
    else:
        _train(request, stage_a, card, RunFolder(folder, facts, "synthgen-run"), compute, paths)
    card = read_card(folder, request.model)
    _say_result(request, folder, card, stage_a.holds_out)


def _train(
    request: "TrainRequest", stage_a: "StageA", card: "RefinementCard", run: Any, compute: "Compute", paths: dict[str, Path]
) -> None:
    from synthgen.builder.backends import usable_cores
    from synthgen.runs.folder import CHECKPOINT
    from synthgen.terminal.training import Interrupted, terminable, training_progress
    from synthgen.training.refinement import Training, train

    talk = console()
    for line in _summary(stage_a, card, paths):
        talk.print(line, markup=False)
    workers = request.jobs
    if workers is None:  # shards are read faster than a CPU learns
        workers = 0 if request.shards is not None and compute.device.type == "cpu" else max(usable_cores() - 1, 1)
    try:
        with terminable() as check, training_progress(talk, "step") as progress, run:

            def watch(name: str, step: int, steps: int, measured: dict[str, float]) -> None:
                check()
                progress(name, step, steps, measured)

            if (run.path / CHECKPOINT).is_file():
                talk.print(f"{run.path}: goes on from its checkpoint", markup=False)
            training = Training(
                stage_a.training,
                stage_a.held_out,
                card,
                run,
                compute,
                paths,
                request.npcf,
                request.seed,
                request.devices,
                workers,
            )  # fmt: skip
            train(training, watch)
    except Interrupted as interrupt:
        talk.print("synthgen: interrupted. Run the same command again: it goes on from its last checkpoint.")
        raise typer.Exit(interrupt.exit_status) from None


def _samples(request: "TrainRequest") -> "StageA":
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
    plan = make_plan_from(
        Request(
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


def _refuse_inside(folder: Path, request: "TrainRequest") -> None:
    from synthgen.datasets import resolve_root

    place = request.shards if request.dataset is None else resolve_root(request.dataset, request.root)
    refuse_inside(folder, place)


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


def _say_result(request: "TrainRequest", folder: Path, card: "RefinementCard", held: bool) -> None:
    from synthgen.refine.config import NPCF, NPCFPP

    talk = console()
    which = "held-out samples" if held else "its own samples (there are too few sources to hold some out)"
    kept = card.measured["kept_change"]
    talk.print(f"{which}: loss {card.measured['held_out_loss']:.4f}, {kept:.0%} of stage A's change is kept", markup=False)
    talk.print(f"look at {folder / 'samples.png'}", markup=False)
    models = f"--npcf {folder}" if card.model == NPCF else f"--npcf {request.npcf} --npcfpp {folder}"
    height, width = card.size
    side = None if card.size == (512, 512) else str(height) if height == width else f"{height}x{width}"
    bits = request.bit_depth if request.bit_depth != 16 else None
    root = "DIR" if request.shards is not None and card.dataset != "demo" else request.root
    given = {"root": root, "categories": request.categories, "bit-depth": bits, "size": side, "style": request.style}
    data = "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
    types = ",".join(card.types)
    talk.print(f"next: synthgen build --dataset {card.dataset}{data} --types {types} {models}", markup=False)
    if card.model == NPCF:
        many = f" --per-image {request.per_image}" if request.per_image is not None else ""
        again = f"--dataset {card.dataset}{data} --types {types}{many}"
        again = f"--shards {request.shards}" if request.shards is not None else again
        talk.print(f"or:   synthgen train {NPCFPP} {again} --npcf {folder}", markup=False)
    print_json({"run": str(folder)} | card.measured) if request.json else typer.echo(str(folder))
