"""The options that say what to make, how to store it and where: what the command lines share."""

from pathlib import Path
from typing import Annotated

import typer

_SOURCE, _WHAT, _HOW, _WHERE = "What to start from", "What to make", "How to store it", "Where to make it"

Dataset = Annotated[
    str | None,
    typer.Option(
        help="Where normal images come from: mvtec, visa, btad, mpdd, mvtec_loco, madsim, folder or demo.",
        rich_help_panel=_SOURCE,
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="A built-in recipe by name, or a YAML file; other options override it.", rich_help_panel=_SOURCE
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        help="The dataset's folder (of several datasets: the folder that holds theirs). Default: $SYNTHGEN_DATA/DATASET.",
        rich_help_panel=_SOURCE,
    ),
]
Categories = Annotated[str | None, typer.Option(help="Comma-separated; default: all.", rich_help_panel=_SOURCE)]
Material = Annotated[
    str | None, typer.Option(help="metal, wood, fabric, plastic, food or stone; default: by category.", rich_help_panel=_SOURCE)
]
BitDepth = Annotated[
    int | None,
    typer.Option(help="Bits in use of 16-bit files: 12 for a 12-bit camera (default: 16).", rich_help_panel=_SOURCE),
]
Foreground = Annotated[
    str | None,
    typer.Option(
        help="Where the object is: auto (by category), classical (always look for it), sam (Segment Anything draws it), "
        "none (everywhere).",
        rich_help_panel=_SOURCE,
    ),
]
ForegroundMasks = Annotated[
    Path | None, typer.Option(help="Folder of your own masks, named like the images.", rich_help_panel=_SOURCE)
]
SamCheckpoint = Annotated[
    Path | None,
    typer.Option(
        help="SAM's weights, for --foreground sam (default: $SYNTHGEN_SAM) and for the regions of logical.",
        rich_help_panel=_SOURCE,
    ),
]
EdgeGenerator = Annotated[
    Path | None,
    typer.Option(
        help="For logical and structural: a generator of `synthgen train edge-generator`, its folder or file.",
        rich_help_panel=_SOURCE,
    ),
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="NAME=FILE: pidinet (finds edges; research purposes only). `synthgen train edge-generator` takes vgg (VGG-19) "
        "too, `synthgen train npcf` encoder and vgg16.",
        rich_help_panel=_SOURCE,
    ),
]
RefineOption = Annotated[
    str | None,
    typer.Option(
        "--refine",
        help="none, phase-field (a smoother boundary), npcf or npcf++; auto, the default: as far as there are networks.",
        rich_help_panel=_WHAT,
    ),
]
NpcfOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--npcf", help="A network of `synthgen train npcf`, its folder or file; one for each dataset.", rich_help_panel=_SOURCE
    ),
]
NpcfppOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--npcfpp",
        help="A network of `synthgen train npcf++`, its folder or file; one for each dataset.",
        rich_help_panel=_SOURCE,
    ),
]
QualityOption = Annotated[
    Path | None,
    typer.Option(
        "--quality",
        help="How much samples are worth: a file of `detectors score-samples`, for shards of the same recipe and seed.",
        rich_help_panel=_SOURCE,
    ),
]
MinQuality = Annotated[
    float | None,
    typer.Option(
        "--min-quality",
        help="Leave out samples that --quality scores lower, 0 to 1; those without a score stay.",
        rich_help_panel=_WHAT,
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Of the networks, if any: auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)
]
Only = Annotated[str | None, typer.Option(help="Only these datasets of a recipe, comma-separated.", rich_help_panel=_SOURCE)]
SampleShare = Annotated[
    str | None,
    typer.Option(
        "--sample",
        help="Use only a share of each category's normal images, such as 1%.",
        rich_help_panel=_SOURCE,
    ),
]
Types = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated, such as crack,corrosion,deformation; see `synthgen list types`. auto (the default): "
        "a mixture of all surface types, by what suits each category.",
        rich_help_panel=_WHAT,
    ),
]
MixtureOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--mixture",
        help="worth.json of `synthgen worth`: what --types auto should know of a category; one for each.",
        rich_help_panel=_WHAT,
    ),
]
PerImage = Annotated[
    int | None,
    typer.Option(
        help="Samples per normal image and type (default: 3); with --types auto per normal image.", rich_help_panel=_WHAT
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Pixels: 512, or HEIGHTxWIDTH (default: 512; of edge edits alone, what the generator draws).",
        rich_help_panel=_WHAT,
    ),
]
StyleOption = Annotated[
    str | None, typer.Option("--style", help="realistic or paper (default: realistic).", rich_help_panel=_WHAT)
]
StrengthOption = Annotated[
    str | None, typer.Option("--strength", help="subtle, normal or strong (default: normal).", rich_help_panel=_WHAT)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="One setting of a type, such as crack.contrast_range=10,40; see `synthgen list settings`.",
        rich_help_panel=_WHAT,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Another seed gives other samples (default: 0).", rich_help_panel=_WHAT)]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout", help="delta (small, fast) or dense (a whole image per row) (default: delta).", rich_help_panel=_HOW
    ),
]
BaseCompression = Annotated[
    str | None, typer.Option(help="none, or gzip: smaller, slower to read (default: none).", rich_help_panel=_HOW)
]
SamplesPerShard = Annotated[int | None, typer.Option(help="Default: 1024.", rich_help_panel=_HOW)]
MaxRejected = Annotated[
    float | None,
    typer.Option(help="Share of rejected samples beyond which the exit status is 6 (default: 0.02).", rich_help_panel=_HOW),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: one per core.", rich_help_panel=_WHERE)
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend", help="loky: processes here; dask: a cluster's workers, with --scheduler.", rich_help_panel=_WHERE
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Address of a Dask scheduler, such as tcp://host:8786; all must see --out.", rich_help_panel=_WHERE),
]
Shards = Annotated[
    str | None,
    typer.Option(
        help="Only these shards of the plan, such as 0-49: one job of many. A last build without it completes.",
        rich_help_panel=_WHERE,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the shards (default: synthgen-out/NAME).", rich_help_panel=_HOW)]
