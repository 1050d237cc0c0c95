"""`synthgen train edge-generator`: the network that draws pictures from edges."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from synthgen.cli.request import refuse_inside
from synthgen.errors import UsageError
from synthgen.terminal.arguments import names_of, size_of, weights_of
from synthgen.terminal.console import console, print_json
from synthgen.terminal.progress import occasionally

if TYPE_CHECKING:
    from synthgen.cli.train_request import TrainRequest
    from synthgen.datasets import DatasetScan
    from synthgen.edges.config import GeneratorConfig
    from synthgen.edges.detector import EdgeDetector


def train_edge_generator(request: "TrainRequest") -> None:
    """Train a generator, or say that it is trained already."""
    request.refuse("shards", "types", "per_image", "style", "npcf", "devices", "jobs")
    if request.dataset is None:
        raise UsageError("--dataset is needed: whose normal images are to be learned? `synthgen list datasets` shows them.")
    from synthgen.datasets import scan
    from synthgen.edges.config import make_config
    from synthgen.edges.detector import make_detector
    from synthgen.edges.model import ModelCard, read_card
    from synthgen.runs.devices import choose_compute
    from synthgen.runs.folder import CHECKPOINT, RunFolder
    from synthgen.terminal.training import Interrupted, terminable, training_progress
    from synthgen.training.edge_generator import GeneratorTraining, choose_perceptual, load_perceptual, train_generator
    from synthgen.training.edge_pairs import read_pairs, split

    talk = console()
    compute = choose_compute(request.device, request.precision or "fp32")
    on_gpu = compute.device.type == "cuda"
    if on_gpu and not request.precision:
        compute = choose_compute(request.device, "bf16")
    paths = weights_of(request.weights, ("pidinet", "vgg"))
    changes = request.changes
    if request.size is not None:
        side = size_of(request.size)
        changes["size"] = (side, side) if isinstance(side, int) else side
    chosen = choose_perceptual(
        make_config(request.config or ("gpu_small" if on_gpu else "cpu"), changes), paths.get("vgg"), paths.get("pidinet")
    )
    found = scan(request.dataset, request.root, names_of(request.categories))
    folder = request.out or Path("runs") / "edge-generator" / request.dataset
    refuse_inside(folder, found.root)
    detector = make_detector(paths.get("pidinet"), str(compute.device))
    _say_edges(detector)
    names = tuple(category.name for category in found.categories)
    card = ModelCard(chosen, request.dataset, names, found.licence, detector.name, detector.sha256, detector.licence, {})
    own = ("format", "format_version", "measured")
    facts = {name: value for name, value in card.to_json().items() if name not in own}
    facts |= {
        "seed": request.seed,
        "precision": compute.precision,
        "device": str(compute.device),
        "bit_depth": request.bit_depth,
    }
    held = True
    if RunFolder.look(folder, facts):
        talk.print(f"{folder}: is finished already", markup=False)
        card = read_card(folder)
    else:
        perceptual = load_perceptual(chosen, paths, compute.device)
        try:
            with terminable() as check, training_progress(talk) as progress:
                learned, unseen_sources = split([source for category in found.categories for source in category.used])
                pictures = read_pairs(learned, chosen.size, request.bit_depth, detector, on_gpu, occasionally(talk))
                held = bool(unseen_sources)
                unseen = pictures
                if held:
                    unseen = read_pairs(unseen_sources, chosen.size, request.bit_depth, detector, on_gpu, occasionally(talk))
                facts |= {"pictures_sha256": pictures.sha256, "held_out_sha256": unseen.sha256 if held else ""}
                epochs = chosen.epochs_of(len(pictures))
                talk.print(_summary(found, chosen, len(pictures), len(unseen_sources), epochs), markup=False)
                with RunFolder(folder, facts, "synthgen-run") as run:

                    def watch(name: str, epoch: int, epochs: int, measured: dict[str, float]) -> None:
                        check()
                        progress(name, epoch, epochs, measured)

                    if (folder / CHECKPOINT).is_file():
                        talk.print(f"{folder}: goes on from its checkpoint", markup=False)
                    training = GeneratorTraining(
                        pairs=pictures, held_out=unseen, card=card, compute=compute, seed=request.seed, perceptual=perceptual
                    )
                    card = train_generator(training, run, watch)
        except Interrupted as interrupt:
            talk.print("synthgen: interrupted. Run the same command again: it goes on after the last whole epoch.")
            raise typer.Exit(interrupt.exit_status) from None
    which = "held-out pictures" if held else "its own pictures (there are too few to hold some out)"
    talk.print(f"{which}: mean difference {card.measured['l1']:.3f} of 1, structural similarity {card.measured['ssim']:.2f}")
    talk.print(f"look at {folder / 'samples.png'}: what it cannot draw there, it cannot draw in an anomaly", markup=False)
    more = {
        "--root": request.root,
        "--categories": request.categories,
        "--weights": f"pidinet={paths['pidinet']}" if detector.sha256 else None,
    }
    given = "".join(f" {name} {value}" for name, value in more.items() if value is not None)
    command = f"synthgen build --dataset {request.dataset}{given} --types logical,structural --edge-generator {folder}"
    talk.print(f"next: {command}", markup=False)
    print_json({"run": str(folder)} | card.measured) if request.json else typer.echo(str(folder))


def _say_edges(detector: "EdgeDetector") -> None:
    if detector.licence:
        console().print(f"edges: {detector.name}. {detector.licence}", markup=False)
    else:
        console().print("edges: from image gradients, since there are no weights (--weights pidinet=FILE)", markup=False)


def _summary(found: "DatasetScan", config: "GeneratorConfig", pictures: int, held: int, epochs: int) -> str:
    height, width = config.size
    categories = f"{len(found.categories)} categories" if len(found.categories) > 1 else found.categories[0].name
    return (
        f"{found.dataset} ({categories}): {pictures} pictures at {height}x{width}, {held} more held out; "
        f"{epochs} epochs of batches of {config.batch_size}; perceptual loss: {config.perceptual}"
    )
