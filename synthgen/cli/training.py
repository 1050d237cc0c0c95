"""`synthgen train`: the networks that draw anomalies, and those that refine them. They need PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.cli import options as o
from synthgen.cli.request import require_torch
from synthgen.cli.train_request import TrainRequest
from synthgen.errors import UsageError, suggest
from synthgen.terminal.console import Json

_MODELS = ("edge-generator", "npcf", "npcf++")
_DATA, _HOW, _WHERE = "What to train on", "How to train", "Where"


def train(
    model: Annotated[
        str,
        typer.Argument(help="edge-generator: draws pictures from edges, for logical and structural. npcf, npcf++: refine."),
    ],
    dataset: Annotated[str | None, typer.Option(help="See `synthgen list datasets`.", rich_help_panel=_DATA)] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder.", rich_help_panel=_DATA)] = None,
    categories: Annotated[str | None, typer.Option(help="Comma-separated; default: all.", rich_help_panel=_DATA)] = None,
    bit_depth: Annotated[int, typer.Option(min=8, max=16, help="Bits in use of 16-bit files.", rich_help_panel=_DATA)] = 16,
    shards: Annotated[
        Path | None,
        typer.Option(
            help="npcf, npcf++: instead of --dataset, samples of a `synthgen build` without refinement.", rich_help_panel=_DATA
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(help="npcf, npcf++: anomalies to learn; default: crack,corrosion,deformation.", rich_help_panel=_DATA),
    ] = None,
    per_image: Annotated[
        int | None,
        typer.Option(min=1, help="npcf, npcf++: anomalies per normal image and type; default: 3.", rich_help_panel=_DATA),
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="npcf, npcf++: realistic or paper; default: realistic.", rich_help_panel=_DATA)
    ] = None,
    npcf: Annotated[
        Path | None, typer.Option(help="npcf++: the trained npcf whose pictures it refines.", rich_help_panel=_DATA)
    ] = None,
    weights: o.WeightsOption = None,
    config: Annotated[
        str,
        typer.Option(
            help="A preset. edge-generator: paper256, gpu_small (on a GPU), cpu or cpu64. "
            "npcf, npcf++: default (on a GPU), paper, gpu_small or cpu.",
            rich_help_panel=_HOW,
        ),
    ] = "",
    size: Annotated[
        str | None,
        typer.Option(help="Pixels: 256, or HEIGHTxWIDTH. npcf, npcf++: of the samples; default: 512.", rich_help_panel=_HOW),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another setting, such as steps=800. A name that does not exist is answered with those that do.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of first weights, order and windows or warps.", rich_help_panel=_HOW)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="npcf, npcf++: so many GPUs share each step.", rich_help_panel=_WHERE)
    ] = 1,
    precision: Annotated[str, typer.Option(help="fp32 or bf16; default: bf16 on a GPU.", rich_help_panel=_WHERE)] = "",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=0, help="npcf, npcf++: processes that make or read samples.", rich_help_panel=_WHERE),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/MODEL/DATASET.", rich_help_panel=_WHERE)] = None,
    json: Json = False,
) -> None:
    """Train a network on normal images, or on anomalies made of them. Run it again to go on after an interruption.

    edge-generator: the edges come from PiDiNet with --weights pidinet=FILE (its weights are for research purposes only),
    else from image gradients, which need no weights. npcf begins with --weights encoder=FILE (torchvision's ImageNet
    weights of its backbone), and takes --weights vgg16=FILE for its perceptual loss.

    [bold]Examples[/bold]

      synthgen train edge-generator --dataset demo --categories tray

      synthgen train npcf --dataset visa --root ~/data/VisA --weights encoder=wide_resnet50_2-95faca4d.pth

      synthgen train npcf++ --dataset visa --root ~/data/VisA --npcf runs/npcf/visa
    """
    model = {"npcfpp": "npcf++"}.get(model, model)
    if model not in _MODELS:
        raise UsageError(f"train {model}: there is no such model.{suggest(model, list(_MODELS))}")
    require_torch("synthgen train")
    request = TrainRequest(
        model, dataset, root, categories, bit_depth, shards, types, per_image, style, npcf, tuple(weights or ()), config, size,
        tuple(settings or ()), seed, device, devices, precision, jobs, out, json,
    )  # fmt: skip
    if model == "edge-generator":
        from synthgen.cli.train_edge_generator import train_edge_generator

        train_edge_generator(request)
    else:
        from synthgen.cli.train_refinement import train_refinement

        train_refinement(request)
