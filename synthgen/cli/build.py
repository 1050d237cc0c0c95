"""The verbs that make samples: build, demo."""

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthgen.cli.options import BuildRequest, Device, EdgeRequest, Jobs, PlanRequest, RefinementRequest, Size
from synthgen.cli.plan import show_plan
from synthgen.cli.request import opener_of, plan_from, refuse_inside, roots
from synthgen.errors import PartialBuildError
from synthgen.terminal.arguments import range_of
from synthgen.terminal.console import Json, console, print_json
from synthgen.terminal.options import with_options

if TYPE_CHECKING:
    from rich.console import Console

    from synthgen.builder import BuildResult
    from synthgen.datasets import DatasetScan
    from synthgen.plan import Plan

_SHOWN_WARNINGS = 5
_MOST_FAILED = 0.01  # share of a type's draws that may fail before a build ends with an error


@with_options
def build(
    request: PlanRequest,
    edges: EdgeRequest,
    refinement: RefinementRequest,
    work: BuildRequest,
    *,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and stop.")] = False,
    json: Json = False,
) -> None:
    """Make a dataset of anomaly images with masks. Run it again to go on after an interruption.

    [bold]Examples[/bold]

      synthgen build --dataset visa --types crack,corrosion --root ~/data/VisA

      synthgen build --dataset folder --root good_images --material metal --strength subtle

      synthgen build --dataset mvtec --root ~/data/mvtec --categories bottle,screw --set crack.width_px_range=2,6
    """
    planned = plan_from(request, edges=edges, refinement=refinement, device=device)
    if dry_run:
        show_plan(planned, json)
        return
    folder = work.out or Path("synthgen-out") / planned.recipe.name
    _refuse_inside_datasets(folder, planned, request)
    result = _run(planned, folder, work)
    if json:
        print_json(_result_json(result))
    else:
        typer.echo(str(folder))
    _judge(planned, result)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the shards and the contact sheet.")] = Path("synthgen-demo"),
    size: Size = "256",
    per_image: Annotated[int, typer.Option(min=1, help="Samples per normal image and type.")] = 1,
    jobs: Jobs = None,
) -> None:
    """Try it without any data: build a small set from rendered normal images, with a contact sheet to look at.

    [bold]Example[/bold]

      synthgen demo --out my-demo
    """
    from synthgen.report.sheet import Selection
    from synthgen.report.sheets import write_sheet

    planned = plan_from(PlanRequest(dataset="demo", size=size, per_image=per_image, samples_per_shard=128))
    result = _run(planned, out, BuildRequest(jobs=jobs))
    sheet = write_sheet(out, out / "sheet.png", Selection(per_group=2), per_row=6)
    console().print(f"Look at {sheet}; `synthgen info {out}` says what is in it.", markup=False)
    typer.echo(str(sheet))
    _judge(planned, result)


def _refuse_inside_datasets(folder: Path, planned: "Plan", request: PlanRequest) -> None:
    """A user's dataset is only ever read."""
    from synthgen.datasets import resolve_root

    given = roots(request.root, [scan.dataset for scan in planned.scans], request.recipe is not None)
    for scan in planned.scans:
        refuse_inside(folder, resolve_root(scan.dataset, given.get(scan.dataset)))


def _run(planned: "Plan", folder: Path, work: BuildRequest) -> "BuildResult":
    """Build with a progress bar (on a terminal) or a line now and then, and say what was found before."""
    from synthgen.builder import Part
    from synthgen.builder.driver import InterruptedBuildError, build
    from synthgen.terminal.progress import occasionally, progress_display

    opener = opener_of(work.backend, work.scheduler)
    part = None if work.shards is None else Part(*range_of(work.shards))
    messages = console()
    _tell_scans(messages, planned)
    _tell_exemplars(messages, planned)
    try:
        total = sum(len(shard) for shard in (part.of(planned) if part else planned.shards))
        with progress_display(total) as advance:
            result = build(
                planned, folder, work.jobs, on_samples=advance, opener=opener, part=part, on_message=occasionally(messages)
            )
    except InterruptedBuildError as error:
        command = shlex.join(["synthgen", *sys.argv[1:]])
        messages.print(
            f"\nInterrupted ({error}). What is finished stays; this goes on with the rest:\n  {command}", markup=False
        )
        raise typer.Exit(error.exit_status) from None
    _tell_result(messages, result)
    return result


def _tell_scans(messages: "Console", planned: "Plan") -> None:
    """What was found of each dataset, and what a person should know before its samples are made."""
    from synthgen.anomalies.registry import SURFACE_TYPES
    from synthgen.report.tables import scan_table

    types = [name for shard in planned.shards for name in shard.allotment.types]
    for scan in planned.scans:
        messages.print(scan_table(scan))
        for category in scan.categories:
            choice = planned.decisions.foregrounds[scan.dataset, category.name]
            messages.print(f"foreground of {scan.dataset}/{category.name}: {choice.sentence()}", markup=False)
        refines = planned.refiner(scan.dataset)
        if refines is not None and (unseen := refines.unseen(types)):
            messages.print(f"refinement: its networks have never learned {', '.join(unseen)}", markup=False)
        surfaces = planned.recipe.types.keys() & SURFACE_TYPES.keys()
        unknown = [c.name for c in scan.categories if planned.recipe.known_material(scan.dataset, c.name) is None]
        if unknown and surfaces:
            messages.print(
                f"material of {', '.join(unknown)}: unknown; --material tells what corrosion looks like", markup=False
            )
        for place, source in planned.decisions.exemplars.items():
            if place[0] == scan.dataset:
                still = ", on a product that lies still" if source.still else ""
                messages.print(f"copies for {'/'.join(place)}: {source.sentence()}{still}", markup=False)
        if known := _known_mixtures(planned, scan):
            messages.print(
                f"mixture of {', '.join(known)}: mostly by the published names of the test defects; --mixture surface leaves "
                "them out",
                markup=False,
            )


def _tell_exemplars(messages: "Console", planned: "Plan") -> None:
    """What a person should know of the real defects that are copied."""
    for line in planned.decisions.told[:_SHOWN_WARNINGS]:
        messages.print(f"real defects: {line}", markup=False)
    if len(planned.decisions.told) > _SHOWN_WARNINGS:
        messages.print(f"real defects: ... and {len(planned.decisions.told) - _SHOWN_WARNINGS} more like these.")


def _known_mixtures(planned: "Plan", scan: "DatasetScan") -> list[str]:
    """Categories of which the manifest's weights were used."""
    own, mixed = planned.recipe.datasets[scan.dataset].mixtures, planned.decisions.mixtures
    names = [category.name for category in scan.categories if (scan.dataset, category.name) in mixed]
    return [name for name in names if name not in own and planned.recipe.known_mixture(scan.dataset, name)]


def _tell_result(messages: "Console", result: "BuildResult") -> None:
    warnings = [line for report in result.reports for line in report.warnings]
    for line in warnings[:_SHOWN_WARNINGS]:
        messages.print(f"warning: {line}", markup=False)
    if len(warnings) > _SHOWN_WARNINGS:
        messages.print(f"warning: ... and {len(warnings) - _SHOWN_WARNINGS} more like these (journal.jsonl has all).")
    for report in result.reports:
        for source, reason in report.unreadable:
            messages.print(f"not used: {source}: {reason}", markup=False)
    for sample, reason in result.quarantined.items():
        messages.print(f"left out: {sample}: {reason}", markup=False)
    for name, failures in result.failures.items():
        messages.print(f"a bug of a type: {failures.sentence(name)}", markup=False)
    before = f" ({result.already} of them by an earlier run)" if result.already else ""
    shards = f"{len(result.reports)} shard{'s' if len(result.reports) != 1 else ''}"
    messages.print(f"{result.folder}: {result.made} samples in {shards}{before}; {result.rejected} rejected", markup=False)


def _judge(planned: "Plan", result: "BuildResult") -> None:
    """Raise a PartialBuildError if a type fails too often, or too much is missing."""
    if texts := [*_broken_types(result), *_missing_samples(planned, result)]:
        raise PartialBuildError("\n".join(texts))


def _broken_types(result: "BuildResult") -> Iterator[str]:
    """What to say of types whose draws fail too often."""
    broken = [failures.sentence(name) for name, failures in result.failures.items() if failures.share > _MOST_FAILED]
    if broken:
        lines = "\n".join(broken)
        yield (
            f"{lines}\nMore than {_MOST_FAILED:.0%}: that is a bug of the type. Report it to whoever wrote it, or "
            "leave the type out (--types, or the recipe). The samples that were made are complete and can be used."
        )


def _missing_samples(planned: "Plan", result: "BuildResult") -> Iterator[str]:
    """What to say where more samples are missing than is allowed."""
    missing = result.planned - result.made
    if missing <= planned.recipe.max_rejected * result.planned:
        return
    reasons = Counter(reason for report in result.reports for _, reason in report.rejected)
    lines = "".join(f"\n  {count:6d}  {reason}" for reason, count in reasons.most_common(8))
    if result.unreadable:
        lines += f"\n  {result.unreadable:6d}  normal image unreadable"
    advice = "Try --strength strong for faint surfaces, another --foreground, "
    if planned.edges is not None:
        advice = "`synthgen view --steps` shows what the generator draws; train it longer, "
    yield (
        f"{missing} of {result.planned} samples could not be made, more than "
        f"--max-rejected {planned.recipe.max_rejected}:{lines}\n"
        f"The others are complete and can be used. {advice}or allow more with --max-rejected."
    )


def _result_json(result: "BuildResult") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "folder": str(result.folder),
        "planned": result.planned,
        "made": result.made,
        "already": result.already,
        "rejected": result.rejected,
        "unreadable": result.unreadable,
        "quarantined": result.quarantined,
        "failed": {name: asdict(failures) for name, failures in result.failures.items()},
        "shards": len(result.reports),
    }
