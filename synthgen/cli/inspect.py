"""The verbs that look: list, status, info, verify, view, diff, replay."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.cli.options import (
    Categories,
    Device,
    EdgeRequest,
    Folder,
    ForegroundMasks,
    FromReal,
    Quality,
    RefinementRequest,
    Root,
    Types,
)
from synthgen.cli.request import edge_assets, refinement_tools
from synthgen.errors import InputDataError, IntegrityError, UsageError, suggest
from synthgen.terminal.arguments import names_of
from synthgen.terminal.console import Json, console, print_json, stdout_console
from synthgen.terminal.options import with_options

_LISTS = ("datasets", "types", "settings", "materials", "recipes")


def list_(
    what: Annotated[
        str, typer.Argument(help="datasets, types, settings, materials or recipes; default: all but settings.")
    ] = "",
) -> None:
    """List datasets, anomaly types and their settings, materials, recipes.

    [bold]Example[/bold]

      synthgen list settings
    """
    from synthgen.report import tables

    if what and what not in _LISTS:
        raise UsageError(f"list {what}: there is no such list.{suggest(what, list(_LISTS))}")
    show = {
        "datasets": tables.datasets_table,
        "types": tables.types_table,
        "settings": tables.settings_table,
        "materials": tables.materials_table,
        "recipes": tables.recipes_table,
    }
    for name in [what] if what else [name for name in _LISTS if name != "settings"]:
        stdout_console().print(show[name]())


def status(folder: Folder, json: Json = False) -> None:
    """Say how far a build is.

    [bold]Example[/bold]

      synthgen status synthgen-out/visa
    """
    from synthgen.report.summary import status as find

    progress = find(folder)
    if json:
        print_json(progress)
        return
    shards, samples = progress["shards"], progress["samples"]
    typer.echo(f"{progress['state']}: {samples[0]} of {samples[1]} samples, {shards[0]} of {shards[1]} shards")
    typer.echo(f"rejected: {progress['rejected']}, unreadable normal images: {len(progress['unreadable'])}")
    for sample, reason in progress["quarantined"].items():
        typer.echo(f"left out: {sample}: {reason}")
    if progress["state"] == "unfinished":
        console().print("Run the same `synthgen build` again: it goes on where it stopped.")


def info(folder: Folder, json: Json = False) -> None:
    """Say what a dataset holds: counts, areas, contrast, sizes, licence.

    [bold]Example[/bold]

      synthgen info synthgen-out/visa
    """
    from synthgen.report.summary import failure_lines
    from synthgen.report.summary import info as find
    from synthgen.report.tables import info_table

    summary = find(folder)
    if json:
        print_json(summary)
        return
    out = stdout_console()
    out.print(info_table(summary))
    state = "" if summary["complete"] else "  (not complete: see `synthgen status`)"
    size = f"{summary['bytes'] / 2**20:.1f} MiB, {summary['bytes'] / max(summary['samples'], 1) / 1000:.1f} kB per sample"
    out.print(
        f"{summary['samples']} samples in {summary['shards']} shards, {size}, {', '.join(summary['image_sizes'])} pixels{state}"
    )
    for place, sentence in sorted(summary["foregrounds"].items()):
        out.print(f"foreground of {place}: {sentence}", markup=False)
    for place, sentence in sorted(summary["exemplars"].items()):
        out.print(f"copied for {place}: {sentence}", markup=False)
    if summary["refine"] not in ([], ["none"]):
        out.print(f"refined: {', '.join(summary['refine'])}")
    for minimum in summary["min_quality"]:
        out.print(f"samples that were scored below {minimum:g} are left out")
    for dataset, licence in summary["licences"].items():
        barred = "; not for commercial use" if summary["commercial_use"].get(dataset) is False else ""
        out.print(f"licence of {dataset}: {licence}{barred} (the samples are derived from its images)", markup=False)
    for name, reasons in sorted(summary["redrawn"].items()):
        out.print(f"drawn again, {name}: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()), markup=False)
    for line in failure_lines(summary["failed"]):
        out.print(f"a bug of a type: {line}", markup=False)


def verify(
    folder: Folder,
    quick: Annotated[bool, typer.Option("--quick", help="Checksums and structure only; do not decode samples.")] = False,
    json: Json = False,
) -> None:
    """Check every byte and every sample of a dataset; exit status 4 if anything is wrong.

    [bold]Example[/bold]

      synthgen verify synthgen-out/visa
    """
    from dataclasses import asdict

    from synthgen.shards import verify as check

    findings = check(folder, deep=not quick)
    if json:
        print_json([asdict(finding) for finding in findings])
    for finding in findings if not json else []:
        typer.echo(f"{finding.shard}: {finding.sample_id + ': ' if finding.sample_id else ''}{finding.problem}")
    if findings:
        shards = sorted({finding.shard for finding in findings})
        raise IntegrityError(
            f"{folder}: {len(findings)} problems in {len(shards)} files. Remove {', '.join(shards[:3])}"
            f"{' and the others' if len(shards) > 3 else ''}, and run the same `synthgen build` again: it makes only these."
        )
    if not json:
        typer.echo(f"{folder}: whole")
    if (folder / "config.json").exists() and not (folder / "manifest.json").exists():
        console().print("But it is not complete: `synthgen status` says how far its build is.")


@with_options
def view(
    folder: Folder,
    edges: EdgeRequest,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path("sheet.png"),
    categories: Categories = None,
    types: Types = None,
    n: Annotated[int, typer.Option("-n", min=1, max=200, help="Samples of each category and type.")] = 4,
    per_row: Annotated[int, typer.Option(min=1, max=12, help="Samples in a row.")] = 4,
    steps: Annotated[
        bool, typer.Option("--steps", help="Of edge edits, every step from the normal image on; needs what the build had.")
    ] = False,
    compare: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Another dataset with the same samples, close up beside them; may be repeated."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="quality: the best and the worst samples of each category and type.")
    ] = None,
    quality: Quality = None,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="The outlines of the objects, what was decided and why; FOLDER may hold normal images instead of a dataset.",
        ),
    ] = False,
    foreground_masks: ForegroundMasks = None,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Write a contact sheet: each sample whole with its mask outlined, and close up.

    [bold]Examples[/bold]

      synthgen view synthgen-out/visa --type crack -n 8 -o cracks.png

      synthgen view synthgen-out/visa --by quality --quality scores.h5 -n 8 -o best-and-worst.png

      synthgen view visa-none --compare visa-phase-field --compare visa-npcf -o stages.png

      synthgen view good_images --foreground -o outlines.png
    """
    from synthgen.anomalies.registry import canonical_type
    from synthgen.report.outlines import Wanted, write_outlines
    from synthgen.report.sheet import Selection
    from synthgen.report.sheets import write_comparison, write_sheet, write_steps
    from synthgen.shards import read_quality

    _check_picture(out)
    if foreground:
        if steps or compare or by or types:
            raise UsageError("--foreground shows normal images: leave --types, --steps, --compare and --by away.")
        wanted = Wanted(tuple(names_of(categories) or ()), n, masks=foreground_masks, sam_checkpoint=edges.sam_checkpoint)
        typer.echo(str(write_outlines(folder, out, wanted, per_row)))
        return
    names = tuple(canonical_type(name) for name in names_of(types) or ())
    selection = Selection(tuple(names_of(categories) or ()), names, n)
    if steps and compare:
        raise UsageError("--steps and --compare show different sheets: give one of them.")
    if by not in (None, "quality"):
        raise UsageError(f"--by {by}: expected quality.")
    if (by is None) != (quality is None):
        raise UsageError("--by quality and --quality FILE go together; `detectors score-samples RUN --shards DIR` writes FILE.")
    if by is not None and (steps or compare):
        raise UsageError("--by quality chooses the samples of a plain sheet: leave --steps and --compare away.")
    if compare:
        typer.echo(str(write_comparison([folder, *compare], out, selection)))
    elif steps:
        typer.echo(str(write_steps(folder, out, selection, edge_assets(edges, device), root)))
    else:
        typer.echo(str(write_sheet(folder, out, selection, per_row, read_quality(quality) if quality else None)))


def _check_picture(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the contact sheet is a PNG; give it that ending.")
    if not out.absolute().parent.is_dir():
        raise InputDataError(f"--out {out}: there is no folder {out.absolute().parent}.")


def diff(
    first: Annotated[Path, typer.Argument(help="A dataset.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    json: Json = False,
) -> None:
    """Say how two datasets differ: in their making, and which samples.

    [bold]Example[/bold]

      synthgen diff synthgen-out/visa-old synthgen-out/visa
    """
    from synthgen.report.difference import compare

    difference = compare(first, second)
    if json:
        print_json(difference.to_json())
        return
    for line in difference.config:
        typer.echo(line)
    for title, ids in (
        (f"only in {first}", difference.only_first),
        (f"only in {second}", difference.only_second),
        ("changed", difference.changed),
    ):
        shown = "".join(f"\n  {sample}" for sample in ids[:5]) + (f"\n  ... and {len(ids) - 5} more" if len(ids) > 5 else "")
        typer.echo(f"{title}: {len(ids)}{shown}")
    typer.echo(f"equal: {difference.same}")


@with_options
def replay(
    sample_id: Annotated[str, typer.Argument(help="Such as mvtec/bottle/000/crack/0; `synthgen plan --samples` lists them.")],
    edges: EdgeRequest,
    refinement: RefinementRequest,
    *,
    shards: Annotated[Path, typer.Option("--in", help="The dataset that holds it.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for PNGs: image, mask and normal image.")] = None,
    foreground_masks: ForegroundMasks = None,
    from_real: FromReal = None,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Make one sample of a dataset again, from its seed and from its parameters, and show the parameters.

    The normal image is taken from the shard. The dataset it came from (--root) is needed only for edge edits of a set that
    was made with --sample.

    [bold]Example[/bold]

      synthgen replay mvtec/bottle/000/crack/0 --in synthgen-out/mvtec --out look
    """
    from synthgen.replay import replay_from_shards, save_pictures

    result = replay_from_shards(
        shards,
        sample_id,
        foreground_masks=foreground_masks,
        sam_checkpoint=edges.sam_checkpoint,
        edges=edge_assets(edges, device),
        root=root,
        refinement=refinement_tools(refinement, device),
        from_real=from_real,
    )
    if out is not None:
        save_pictures(out, result.sample)
    print_json(result.to_json())
    if not result.same:
        raise IntegrityError(
            f"{sample_id}: made again it differs from the stored sample. "
            "Another version of synthgen, numpy or OpenCV made the dataset, or its foreground masks have changed."
        )
