"""What the commands of `detectors` can be told: each option once, as a field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

_DATA, _HOW, _WHERE = "What to train on", "How to train", "Where"

Run = Annotated[Path, typer.Argument(help="A run folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs.")]
Root = Annotated[
    Path | None, typer.Option(help="The dataset's folder. Default: $SYNTHGEN_DATA/DATASET.", rich_help_panel=_DATA)
]
Weights = Annotated[
    tuple[str, ...],
    typer.Option(
        help="backbone=PATH of a checkpoint; backbone=random for an untrained one. For detectors that look at edges: "
        "pidinet=PATH (finds them; research purposes only).",
        rich_help_panel=_DATA,
    ),
]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The networks' weights, and where and how precisely they work, as typed."""

    weights: Weights = ()
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)] = "auto"
    precision: Annotated[str, typer.Option(help="fp32, or bf16 (scores change slightly).", rich_help_panel=_WHERE)] = "fp32"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to train on, as typed; None where nothing was said."""

    dataset: Annotated[
        str | None, typer.Option(help="mvtec, visa, btad, mpdd, mvtec_loco, madsim, folder or demo.", rich_help_panel=_DATA)
    ] = None
    category: Annotated[str | None, typer.Option(help="One category, or all.", rich_help_panel=_DATA)] = None
    root: Root = None
    shards: Annotated[
        Path | None, typer.Option(help="Train from a folder of shards of `synthgen build`.", rich_help_panel=_DATA)
    ] = None
    on_the_fly: Annotated[
        bool,
        typer.Option(
            "--on-the-fly", help="Make anomalies as they are needed (the default without --shards).", rich_help_panel=_DATA
        ),
    ] = False
    types: Annotated[
        str | None,
        typer.Option(
            help="Without --shards, where a detector makes none itself: anomalies to learn from, comma-separated. "
            "Default: the detector's.",
            rich_help_panel=_DATA,
        ),
    ] = None
    per_image: Annotated[
        int | None,
        typer.Option(min=1, help="Of these, of each image (and named type). Default: the detector's.", rich_help_panel=_DATA),
    ] = None
    edge_generator: Annotated[
        Path | None,
        typer.Option(
            help="A generator of `synthgen train edge-generator`, which draws what edits of edges leave behind. "
            "Default: runs/edge-generator/DATASET.",
            rich_help_panel=_DATA,
        ),
    ] = None
    sam_checkpoint: Annotated[
        Path | None, typer.Option(help="SAM's weights, which find the parts between edges.", rich_help_panel=_DATA)
    ] = None
    bit_depth: Annotated[int, typer.Option(min=8, max=16, help="Bits in use of 16-bit files.", rich_help_panel=_DATA)] = 16
    split_seed: Annotated[int, typer.Option(min=0, help="Another one holds out other images.", rich_help_panel=_DATA)] = 0


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """How to train, as typed; None where nothing was said."""

    preset: Annotated[
        str | None,
        typer.Option(help="A set of settings, of `detectors list`. Default: the first.", rich_help_panel=_HOW),
    ] = None
    backbone: Annotated[str | None, typer.Option(help="See `detectors list`.", rich_help_panel=_HOW)] = None
    size: Annotated[
        str | None,
        typer.Option(
            help="Side of the square that is seen, in pixels, or HEIGHTxWIDTH where it may be none.", rich_help_panel=_HOW
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option(help="Default: the preset's.", rich_help_panel=_HOW)] = None
    batch_size: Annotated[int | None, typer.Option(help="Default: the preset's.", rich_help_panel=_HOW)] = None
    settings: Annotated[
        tuple[str, ...],
        typer.Option("--set", help="Another setting, such as alpha=0.3 or synthesis=none.", rich_help_panel=_HOW),
    ] = ()
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Train each of the detector's ablations, in a run of its own.", rich_help_panel=_HOW),
    ] = False
    select: Annotated[
        str,
        typer.Option(
            help="last epoch; val: best on held-out images; test-best: on the test split (its numbers are stamped).",
            rich_help_panel=_HOW,
        ),
    ] = "last"
    seed: Annotated[int, typer.Option(min=0, help="Of initialisation and order.", rich_help_panel=_HOW)] = 0
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train with this many seeds, from --seed on.", rich_help_panel=_HOW)
    ] = None
    evaluate_every: Annotated[
        int,
        typer.Option(min=0, help="Epochs between evaluations on held-out images; 0: about 20 in all.", rich_help_panel=_HOW),
    ] = 0
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=_WHERE)] = False
    cache: Annotated[str, typer.Option(help="Where features are kept: auto, device, host or disk.", rich_help_panel=_WHERE)] = (
        "auto"
    )
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: runs/DETECTOR/DATASET-CATEGORY/seed-N.", rich_help_panel=_WHERE)
    ] = None
