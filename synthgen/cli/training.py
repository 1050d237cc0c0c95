"""`synthgen train`: the networks that draw anomalies. They need PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthgen.cli import options as o
from synthgen.cli.app import Json, console, print_json
from synthgen.cli.progress import occasionally
from synthgen.errors import UsageError, suggest

if TYPE_CHECKING:
    from synthgen.datasets import DatasetScan
    from synthgen.edges.config import GeneratorConfig
    from synthgen.edges.detector import EdgeDetector

_MODELS = ("edge-generator",)
_DATA, _HOW, _WHERE = "What to train on", "How to train", "Where"


def train(
    model: Annotated[str, typer.Argument(help="edge-generator: draws pictures from edges, for logical and structural.")],
    dataset: Annotated[str, typer.Option(help="See `synthgen list datasets`.", rich_help_panel=_DATA)],
    root: Annotated[Path | None, typer.Option(help="The dataset's folder.", rich_help_panel=_DATA)] = None,
    categories: Annotated[str | None, typer.Option(help="Comma-separated; default: all.", rich_help_panel=_DATA)] = None,
    bit_depth: Annotated[int, typer.Option(min=8, max=16, help="Bits in use of 16-bit files.", rich_help_panel=_DATA)] = 16,
    weights: o.WeightsOption = None,
    config: Annotated[
        str,
        typer.Option(help="paper256, gpu_small, cpu or cpu64. Default: gpu_small on a GPU, else cpu.", rich_help_panel=_HOW),
    ] = "",
    size: Annotated[str | None, typer.Option(help="Pixels: 256, or HEIGHTxWIDTH.", rich_help_panel=_HOW)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another setting, such as steps=800: epochs, steps, batch_size, rate, width, halvings, blocks, perceptual, "
            "flip, warp_share, warp_amount, averaging, beta1, beta2, judge_width, judge_layers, judge_scales.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of first weights, order and warps.", rich_help_panel=_HOW)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)] = "auto",
    precision: Annotated[str, typer.Option(help="fp32 or bf16; default: bf16 on a GPU.", rich_help_panel=_WHERE)] = "",
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: runs/edge-generator/DATASET.", rich_help_panel=_WHERE)
    ] = None,
    json: Json = False,
) -> None:
    """Train a network on normal images alone. Run it again to go on after an interruption.

    The edges come from PiDiNet with --weights pidinet=FILE (its weights are for research purposes only), else from image
    gradients, which need no weights.

    [bold]Examples[/bold]

      synthgen train edge-generator --dataset demo --categories tray

      synthgen train edge-generator --dataset mvtec_loco --root ~/data/loco --weights pidinet=table5_pidinet.pth
    """
    if model not in _MODELS:
        raise UsageError(f"train {model}: there is no such model.{suggest(model, list(_MODELS))}")
    o.require_torch("synthgen train")
    from synthgen.datasets import scan
    from synthgen.edges.config import make_config
    from synthgen.edges.detector import make_detector
    from synthgen.edges.model import ModelCard, read_card
    from synthgen.edges.pairs import read_pairs, split
    from synthgen.edges.training import choose_perceptual, load_perceptual, train_generator
    from synthgen.training.devices import choose_compute
    from synthgen.training.folder import CHECKPOINT, RunFolder
    from synthgen.training.terminal import Interrupted, terminable, training_progress

    talk = console()
    compute = choose_compute(device, precision or "fp32")
    on_gpu = compute.device.type == "cuda"
    if on_gpu and not precision:
        compute = choose_compute(device, "bf16")
    paths = o.weights_of(weights)
    changes = _changes(settings or [])
    if size is not None:
        side = o.size_of(size)
        changes["size"] = (side, side) if isinstance(side, int) else side
    chosen = choose_perceptual(
        make_config(config or ("gpu_small" if on_gpu else "cpu"), changes), paths.get("vgg"), paths.get("pidinet")
    )
    found = scan(dataset, root, o.names_of(categories))
    folder = out or Path("runs") / "edge-generator" / dataset
    o.refuse_inside(folder, found.root)
    detector = make_detector(paths.get("pidinet"), str(compute.device))
    _say_edges(detector)
    names = tuple(category.name for category in found.categories)
    card = ModelCard(chosen, dataset, names, found.licence, detector.name, detector.sha256, detector.licence, {})
    own = ("format", "format_version", "measured")
    facts = {name: value for name, value in card.to_json().items() if name not in own}
    facts |= {"seed": seed, "precision": compute.precision, "device": str(compute.device), "bit_depth": bit_depth}
    held = True
    if RunFolder.look(folder, facts):
        talk.print(f"{folder}: is finished already", markup=False)
        card = read_card(folder)
    else:
        perceptual = load_perceptual(chosen, paths, compute.device)
        try:
            with terminable() as check, training_progress(talk) as progress:
                learned, unseen_sources = split([source for category in found.categories for source in category.used])
                pictures = read_pairs(learned, chosen.size, bit_depth, detector, on_gpu, occasionally(talk))
                held = bool(unseen_sources)
                unseen = pictures
                if held:
                    unseen = read_pairs(unseen_sources, chosen.size, bit_depth, detector, on_gpu, occasionally(talk))
                facts |= {"pictures_sha256": pictures.sha256, "held_out_sha256": unseen.sha256 if held else ""}
                epochs = chosen.epochs_of(len(pictures))
                talk.print(_summary(found, chosen, len(pictures), len(unseen_sources), epochs), markup=False)
                with RunFolder(folder, facts, "synthgen-run") as run:

                    def watch(name: str, epoch: int, epochs: int, measured: dict[str, float]) -> None:
                        check()
                        progress(name, epoch, epochs, measured)

                    if (folder / CHECKPOINT).is_file():
                        talk.print(f"{folder}: goes on from its checkpoint", markup=False)
                    card = train_generator(pictures, unseen, card, run, compute, seed, perceptual, watch)
        except Interrupted as interrupt:
            talk.print("synthgen: interrupted. Run the same command again: it goes on after the last whole epoch.")
            raise typer.Exit(interrupt.exit_status) from None
    which = "held-out pictures" if held else "its own pictures (there are too few to hold some out)"
    talk.print(f"{which}: mean difference {card.measured['l1']:.3f} of 1, structural similarity {card.measured['ssim']:.2f}")
    talk.print(f"look at {folder / 'samples.png'}: what it cannot draw there, it cannot draw in an anomaly", markup=False)
    more = {"--root": root, "--categories": categories, "--weights": f"pidinet={paths['pidinet']}" if detector.sha256 else None}
    given = "".join(f" {name} {value}" for name, value in more.items() if value is not None)
    command = f"synthgen build --dataset {dataset}{given} --types logical,structural --edge-generator {folder}"
    talk.print(f"next: {command}", markup=False)
    print_json({"run": str(folder)} | card.measured) if json else typer.echo(str(folder))


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


def _changes(entries: list[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(f"--set {entry}: expected NAME=VALUE, such as steps=800.")
        if name == "size":
            raise UsageError(f"--set {entry}: give --size {value or 'N'} instead.")
        changes[name] = value
    return changes
