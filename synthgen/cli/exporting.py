"""`synthgen report` and `synthgen export`: a dataset for people, and for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.cli.options import Categories, Folder, Types
from synthgen.errors import UsageError, suggest
from synthgen.terminal.arguments import names_of, shares_of
from synthgen.terminal.console import Json, console, print_json


def export(
    folder: Folder,
    *,
    to: Annotated[str, typer.Option(help="mvtec, coco, yolo, webdataset, parquet or numpy.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; nothing may lie in it.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares such as 0.8/0.2 or 0.7/0.15/0.15: all samples of a normal image go to the same split. "
            "Default: 0.8/0.2 for mvtec and yolo, else none."
        ),
    ] = None,
    split_seed: Annotated[int, typer.Option(min=0, help="Another one splits otherwise.")] = 0,
    categories: Categories = None,
    types: Types = None,
    json: Json = False,
) -> None:
    """Write a dataset in the format of another tool: images, exact masks, and what is known about them.

    [bold]Examples[/bold]

      synthgen export my-set --to mvtec --out my-set-mvtec      # for anomalib and research code

      synthgen export my-set --to coco --split 0.8/0.2 --out my-set-coco
    """
    from importlib import import_module

    from synthgen.export import FORMATS
    from synthgen.export import export as write
    from synthgen.export.selection import choose

    if to not in FORMATS:
        raise UsageError(f"--to {to}: there is no such format.{suggest(to, list(FORMATS))}")
    writer = import_module(f"synthgen.export.{to}")
    shares = writer.SHARES if split is None else shares_of(split)
    chosen = choose(folder, names_of(categories) or (), names_of(types) or (), shares, split_seed, writer.NAMES)
    counts = write(chosen, to, out)
    if json:
        print_json(counts)
        return
    typer.echo(out)
    console().print(", ".join(f"{count} {name}" for name, count in counts.items()))


def report(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    most: Annotated[int, typer.Option(min=1, max=20000, help="Samples to show, evenly of each category and type.")] = 2000,
    categories: Categories = None,
    types: Types = None,
    quality: Annotated[Path | None, typer.Option(help="Scores of `detectors score-samples`, to filter and order by.")] = None,
) -> None:
    """Write one HTML file to look at a dataset: pictures with masks, filters, numbers. It needs no network.

    [bold]Example[/bold]

      synthgen report my-set -o my-set.html
    """
    from synthgen.report.gallery import collect, write_gallery
    from synthgen.shards.quality import read_quality

    table = None if quality is None else read_quality(quality)
    gallery = collect(folder, most, names_of(categories) or (), names_of(types) or (), table)
    size = write_gallery(out, gallery)
    typer.echo(out)
    shown, samples = gallery.facts["shown"], gallery.facts["samples"]
    console().print(f"{shown} of {samples} samples, {size / 1e6:.1f} MB: open it in a browser", markup=False)
