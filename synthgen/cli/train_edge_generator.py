"""`synthgen train edge-generator`: the network that draws pictures from edges."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from synthgen.cli.request import refuse_inside
from synthgen.cli.train_options import NOT_IN_FACTS, NetworkTraining
from synthgen.errors import UsageError
from synthgen.terminal.arguments import names_of, size_of, weights_of
from synthgen.terminal.console import console, print_json
from synthgen.terminal.progress import occasionally
from synthgen.terminal.training import watched_training

if TYPE_CHECKING:
    from synthgen.datasets import DatasetScan
    from synthgen.edges.config import GeneratorConfig
    from synthgen.edges.detector import EdgeDetector
    from synthgen.edges.model import ModelCard
    from synthgen.runs.devices import Compute
    from synthgen.runs.folder import RunFolder
    from synthgen.training.edge_pairs import Pairs


def train_edge_generator(request: NetworkTraining, json: bool) -> None:
    """Train a generator, or say that it is trained already."""
    request.refuse("shards", "types", "per_image", "style", "npcf", "devices", "jobs")
    if request.dataset is None:
        raise UsageError("--dataset is needed: whose normal images are to be learned? `synthgen list datasets` shows them.")
    from synthgen.datasets import scan
    from synthgen.edges.detector import make_detector
    from synthgen.edges.model import ModelCard, read_card
    from synthgen.runs.folder import RunFolder

    compute = request.compute()
    paths = weights_of(request.weights, ("pidinet", "vgg"))
    config = _config(request, paths, on_gpu=compute.device.type == "cuda")
    dataset = scan(request.dataset, request.root, names_of(request.categories))
    folder = request.out or Path("runs") / "edge-generator" / request.dataset
    refuse_inside(folder, dataset.root)
    detector = make_detector(paths.get("pidinet"), str(compute.device))
    _tell_edges(detector)
    card = ModelCard(
        config=config,
        dataset=request.dataset,
        categories=tuple(category.name for category in dataset.categories),
        licence=dataset.licence,
        edges=detector.name,
        edges_sha256=detector.sha256,
        edges_licence=detector.licence,
        measured={},
    )
    facts = {name: value for name, value in card.to_json().items() if name not in NOT_IN_FACTS}
    facts |= {
        "seed": request.seed,
        "precision": compute.precision,
        "device": str(compute.device),
        "bit_depth": request.bit_depth,
    }
    holds_out = True
    if RunFolder.look(folder, facts):
        console().print(f"{folder}: is finished already", markup=False)
        card = read_card(folder)
    else:
        pictures, held_out = _pictures(request, dataset, card, detector, compute)
        holds_out = held_out is not None
        facts |= {"pictures_sha256": pictures.sha256, "held_out_sha256": held_out.sha256 if held_out is not None else ""}
        console().print(_summary(dataset, config, len(pictures), len(held_out or ())), markup=False)
        card = _train(request, RunFolder(folder, facts, "synthgen-run"), card, (pictures, held_out or pictures), compute)
    _tell_result(request, folder, card, holds_out)
    print_json({"run": str(folder)} | card.measured) if json else typer.echo(str(folder))


def _config(request: NetworkTraining, paths: Mapping[str, Path], on_gpu: bool) -> "GeneratorConfig":
    """The settings, with the perceptual loss that there are weights for."""
    from synthgen.edges.config import make_config
    from synthgen.training.edge_generator import choose_perceptual

    changes: dict[str, Any] = dict(request.changes)
    if request.size is not None:
        side = size_of(request.size)
        changes["size"] = (side, side) if isinstance(side, int) else side
    config = make_config(request.config or ("gpu_small" if on_gpu else "cpu"), changes)
    return choose_perceptual(config, paths.get("vgg"), paths.get("pidinet"))


def _pictures(
    request: NetworkTraining, dataset: "DatasetScan", card: "ModelCard", detector: "EdgeDetector", compute: "Compute"
) -> tuple["Pairs", "Pairs | None"]:
    """Pictures with their edges to learn from, and held-out ones; None for these where there are too few."""
    from synthgen.training.edge_pairs import read_pairs, split

    def read(sources: Any) -> "Pairs":
        return read_pairs(
            sources,
            size=card.config.size,
            bit_depth=request.bit_depth,
            detector=detector,
            on_gpu=compute.device.type == "cuda",
            on_message=occasionally(console()),
        )

    learned, held_out = split([source for category in dataset.categories for source in category.used])
    return read(learned), read(held_out) if held_out else None


def _train(
    request: NetworkTraining, run: "RunFolder", card: "ModelCard", pictures: tuple["Pairs", "Pairs"], compute: "Compute"
) -> "ModelCard":
    """The card of the trained generator; `pictures` are those to learn from, and those to measure it on."""
    from synthgen.runs.folder import CHECKPOINT
    from synthgen.training.edge_generator import GeneratorTraining, load_perceptual, train_generator

    perceptual = load_perceptual(card.config, weights_of(request.weights, ("pidinet", "vgg")), compute.device)
    with run, watched_training(console()) as on_progress:
        if (run.path / CHECKPOINT).is_file():
            console().print(f"{run.path}: goes on from its checkpoint", markup=False)
        training = GeneratorTraining(
            pairs=pictures[0], held_out=pictures[1], card=card, compute=compute, seed=request.seed, perceptual=perceptual
        )
        return train_generator(training, run, on_progress)


def _tell_edges(detector: "EdgeDetector") -> None:
    if detector.licence:
        console().print(f"edges: {detector.name}. {detector.licence}", markup=False)
    else:
        console().print("edges: from image gradients, since there are no weights (--weights pidinet=FILE)", markup=False)


def _summary(dataset: "DatasetScan", config: "GeneratorConfig", pictures: int, held_out: int) -> str:
    height, width = config.size
    categories = f"{len(dataset.categories)} categories" if len(dataset.categories) > 1 else dataset.categories[0].name
    return (
        f"{dataset.dataset} ({categories}): {pictures} pictures at {height}x{width}, {held_out} more held out; "
        f"{config.epochs_of(pictures)} epochs of batches of {config.batch_size}; perceptual loss: {config.perceptual}"
    )


def _tell_result(request: NetworkTraining, folder: Path, card: "ModelCard", holds_out: bool) -> None:
    """What came of it, and what to do next."""
    messages = console()
    which = "held-out pictures" if holds_out else "its own pictures (there are too few to hold some out)"
    l1, ssim = card.measured["l1"], card.measured["ssim"]
    messages.print(f"{which}: mean difference {l1:.3f} of 1, structural similarity {ssim:.2f}")
    messages.print(f"look at {folder / 'samples.png'}: what it cannot draw there, it cannot draw in an anomaly", markup=False)
    pidinet = weights_of(request.weights, ("pidinet", "vgg")).get("pidinet")
    options = {
        "--root": request.root,
        "--categories": request.categories,
        "--weights": f"pidinet={pidinet}" if pidinet is not None else None,
    }
    given = "".join(f" {name} {value}" for name, value in options.items() if value is not None)
    command = f"synthgen build --dataset {request.dataset}{given} --types logical,structural --edge-generator {folder}"
    messages.print(f"next: {command}", markup=False)
