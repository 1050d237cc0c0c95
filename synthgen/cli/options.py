"""What the commands that make samples can be told: each option once, as a field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

_SOURCE, _WHAT, _HOW, _WHERE = "What to start from", "What to make", "How to store it", "Where to make it"

Folder = Annotated[Path, typer.Argument(help="The folder that `synthgen build` wrote (or a single shard).")]
Categories = Annotated[str | None, typer.Option("--categories", "--category", help="Comma-separated; default: all.")]
Types = Annotated[str | None, typer.Option("--types", "--type", help="Comma-separated; default: all.")]
Root = Annotated[
    Path | None,
    typer.Option(
        help="The dataset's folder (of several datasets: the folder that holds theirs). Default: $SYNTHGEN_DATA/DATASET.",
        rich_help_panel=_SOURCE,
    ),
]
ForegroundMasks = Annotated[
    Path | None, typer.Option(help="Folder of your own masks, named like the images.", rich_help_panel=_SOURCE)
]
FromReal = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Real defects to copy (type real): a folder for each kind, masks in ground_truth/KIND; or a category in MVTec "
        "AD's layout. Of several categories, a folder for each.",
        rich_help_panel=_SOURCE,
    ),
]
Quality = Annotated[
    Path | None,
    typer.Option(
        help="How much samples are worth: a file of `detectors score-samples`, for shards of the same recipe and seed.",
        rich_help_panel=_SOURCE,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Pixels: 512, or HEIGHTxWIDTH (default: 512; of edge edits alone, what the generator draws).",
        rich_help_panel=_WHAT,
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: one per core.", rich_help_panel=_WHERE)
]
Device = Annotated[str, typer.Option(help="Of the networks, if any: auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)]
Weights = Annotated[
    tuple[str, ...],
    typer.Option(
        help="NAME=FILE: pidinet (finds edges; research purposes only). `synthgen train edge-generator` takes vgg (VGG-19) "
        "too, `synthgen train npcf` encoder and vgg16.",
        rich_help_panel=_SOURCE,
    ),
]


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What is to be made, as typed; None where nothing was said."""

    dataset: Annotated[
        str | None,
        typer.Option(
            help="Where normal images come from: mvtec, visa, btad, mpdd, mvtec_loco, madsim, folder or demo.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(help="A built-in recipe by name, or a YAML file; other options override it.", rich_help_panel=_SOURCE),
    ] = None
    root: Root = None
    only: Annotated[
        str | None, typer.Option(help="Only these datasets of a recipe, comma-separated.", rich_help_panel=_SOURCE)
    ] = None
    sample: Annotated[
        str | None,
        typer.Option(help="Use only a share of each category's normal images, such as 1%.", rich_help_panel=_SOURCE),
    ] = None
    categories: Annotated[str | None, typer.Option(help="Comma-separated; default: all.", rich_help_panel=_SOURCE)] = None
    material: Annotated[
        str | None,
        typer.Option(help="metal, wood, fabric, plastic, food or stone; default: by category.", rich_help_panel=_SOURCE),
    ] = None
    bit_depth: Annotated[
        int | None,
        typer.Option(help="Bits in use of 16-bit files: 12 for a 12-bit camera (default: 16).", rich_help_panel=_SOURCE),
    ] = None
    foreground: Annotated[
        str | None,
        typer.Option(
            help="Where the object is: auto (by category), object (always look for it), sam (Segment Anything draws it), "
            "none (everywhere).",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    foreground_masks: ForegroundMasks = None
    from_real: FromReal = None
    quality: Quality = None
    types: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, such as crack,corrosion,deformation; see `synthgen list types`. auto (the default): "
            "a mixture of all surface types, by what suits each category.",
            rich_help_panel=_WHAT,
        ),
    ] = None
    per_image: Annotated[
        int | None,
        typer.Option(
            help="Samples per normal image and type (default: 3); with --types auto per normal image.", rich_help_panel=_WHAT
        ),
    ] = None
    size: Size = None
    style: Annotated[str | None, typer.Option(help="realistic or paper (default: realistic).", rich_help_panel=_WHAT)] = None
    strength: Annotated[str | None, typer.Option(help="subtle, normal or strong (default: normal).", rich_help_panel=_WHAT)] = (
        None
    )
    settings: Annotated[
        tuple[str, ...],
        typer.Option(
            "--set",
            help="One setting of a type, such as crack.contrast_range=10,40; see `synthgen list settings`.",
            rich_help_panel=_WHAT,
        ),
    ] = ()
    refine: Annotated[
        str | None,
        typer.Option(
            help="none, phase-field (a smoother boundary), npcf or npcf++; auto, the default: as far as there are networks.",
            rich_help_panel=_WHAT,
        ),
    ] = None
    min_quality: Annotated[
        float | None,
        typer.Option(
            help="Leave out samples that --quality scores lower, 0 to 1; those without a score stay.", rich_help_panel=_WHAT
        ),
    ] = None
    mixtures: Annotated[
        tuple[Path, ...],
        typer.Option(
            "--mixture",
            metavar="FILE|surface",
            help="worth.json of `synthgen worth`: what --types auto should know of a category; one for each. Or surface: "
            "by the surface alone, without what manifests know from the published names of test defects.",
            rich_help_panel=_WHAT,
        ),
    ] = ()
    seed: Annotated[int | None, typer.Option(help="Another seed gives other samples (default: 0).", rich_help_panel=_WHAT)] = (
        None
    )
    layout: Annotated[
        str | None,
        typer.Option(help="delta (small, fast) or dense (a whole image per row) (default: delta).", rich_help_panel=_HOW),
    ] = None
    base_compression: Annotated[
        str | None, typer.Option(help="none, or gzip: smaller, slower to read (default: none).", rich_help_panel=_HOW)
    ] = None
    samples_per_shard: Annotated[int | None, typer.Option(help="Default: 1024.", rich_help_panel=_HOW)] = None
    max_rejected: Annotated[
        float | None,
        typer.Option(help="Share of rejected samples beyond which the exit status is 6 (default: 0.02).", rich_help_panel=_HOW),
    ] = None


@dataclass(frozen=True, kw_only=True)
class EdgeRequest:
    """What draws edge edits, as typed."""

    sam_checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="SAM's weights, for --foreground sam (default: $SYNTHGEN_SAM) and for the regions of logical.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    edge_generator: Annotated[
        Path | None,
        typer.Option(
            help="For logical and structural: a generator of `synthgen train edge-generator`, its folder or file.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    weights: Weights = ()


@dataclass(frozen=True, kw_only=True)
class RefinementRequest:
    """The networks that refine samples, as typed."""

    npcf: Annotated[
        tuple[Path, ...],
        typer.Option(
            help="A network of `synthgen train npcf`, its folder or file; one for each dataset.", rich_help_panel=_SOURCE
        ),
    ] = ()
    npcfpp: Annotated[
        tuple[Path, ...],
        typer.Option(
            help="A network of `synthgen train npcf++`, its folder or file; one for each dataset.", rich_help_panel=_SOURCE
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Where a build writes, and who does its work."""

    out: Annotated[
        Path | None, typer.Option(help="Folder for the shards (default: synthgen-out/NAME).", rich_help_panel=_HOW)
    ] = None
    jobs: Jobs = None
    backend: Annotated[
        str, typer.Option(help="loky: processes here; dask: a cluster's workers, with --scheduler.", rich_help_panel=_WHERE)
    ] = "loky"
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, such as tcp://host:8786; all must see --out.", rich_help_panel=_WHERE),
    ] = None
    shards: Annotated[
        str | None,
        typer.Option(
            help="Only these shards of the plan, such as 0-49: one job of many. A last build without it completes.",
            rich_help_panel=_WHERE,
        ),
    ] = None
