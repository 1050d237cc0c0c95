"""`synthgen train`: the networks that draw anomalies, and those that refine them. They need PyTorch."""

from dataclasses import replace

import typer

from synthgen.cli.request import require_torch
from synthgen.cli.train_options import NetworkTraining
from synthgen.errors import UsageError, suggest
from synthgen.terminal.console import Json, console
from synthgen.terminal.options import with_options

_MODELS = ("edge-generator", "npcf", "npcf++")
_ALIASES = {"npcfpp": "npcf++"}


@with_options
def train(request: NetworkTraining, *, json: Json = False) -> None:
    """Train a network on normal images, or on anomalies made of them. Run it again to go on after an interruption.

    edge-generator: the edges come from PiDiNet with --weights pidinet=FILE (its weights are for research purposes only),
    else from image gradients, which need no weights. npcf begins with --weights encoder=FILE (torchvision's ImageNet
    weights of its backbone), and takes --weights vgg16=FILE for its perceptual loss.

    [bold]Examples[/bold]

      synthgen train edge-generator --dataset demo --categories tray

      synthgen train npcf --dataset visa --root ~/data/VisA --weights encoder=wide_resnet50_2-95faca4d.pth

      synthgen train npcf++ --dataset visa --root ~/data/VisA --npcf runs/npcf/visa
    """
    request = replace(request, model=_ALIASES.get(request.model, request.model))
    if request.model not in _MODELS:
        raise UsageError(f"train {request.model}: there is no such model.{suggest(request.model, list(_MODELS))}")
    require_torch("synthgen train")
    from synthgen.cli.train_edge_generator import train_edge_generator
    from synthgen.cli.train_refinement import train_refinement
    from synthgen.terminal.training import Interrupted, terminable

    try:
        with terminable():
            (train_edge_generator if request.model == "edge-generator" else train_refinement)(request, json)
    except Interrupted as interrupt:
        console().print("synthgen: interrupted. Run the same command again: it goes on from its last checkpoint.")
        raise typer.Exit(interrupt.exit_status) from None
