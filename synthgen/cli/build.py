"""The verbs that make samples: build, demo, plan, replay."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthgen.cli import options as o
from synthgen.cli.request import Request, edge_tools, make_plan_from, opener_of, part_of, refinement_tools, refuse_inside, roots
from synthgen.errors import IntegrityError, PartialBuildError, StorageError, UsageError
from synthgen.terminal.console import Json, console, print_json, stdout_console

if TYPE_CHECKING:
    from synthgen.builder import BuildResult, Part
    from synthgen.builder.backends import Opener
    from synthgen.plan import Plan

MOST_FAILED = 0.01
"""Share of a type's draws that may fail before a build ends with an error."""


def build(
    dataset: o.Dataset = None,
    recipe: o.RecipeOption = None,
    root: o.Root = None,
    only: o.Only = None,
    sample: o.SampleShare = None,
    categories: o.Categories = None,
    material: o.Material = None,
    bit_depth: o.BitDepth = None,
    foreground: o.Foreground = None,
    foreground_masks: o.ForegroundMasks = None,
    sam_checkpoint: o.SamCheckpoint = None,
    edge_generator: o.EdgeGenerator = None,
    weights: o.WeightsOption = None,
    device: o.DeviceOption = "auto",
    types: o.Types = None,
    per_image: o.PerImage = None,
    size: o.SizeOption = None,
    style: o.StyleOption = None,
    strength: o.StrengthOption = None,
    settings: o.Set = None,
    refine: o.RefineOption = None,
    npcf: o.NpcfOption = None,
    npcfpp: o.NpcfppOption = None,
    quality: o.QualityOption = None,
    min_quality: o.MinQuality = None,
    mixture: o.MixtureOption = None,
    seed: o.Seed = None,
    layout: o.LayoutOption = None,
    base_compression: o.BaseCompression = None,
    samples_per_shard: o.SamplesPerShard = None,
    max_rejected: o.MaxRejected = None,
    out: o.Out = None,
    jobs: o.Jobs = None,
    backend: o.BackendOption = "loky",
    scheduler: o.Scheduler = None,
    shards: o.Shards = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and stop.")] = False,
    json: Json = False,
) -> None:
    """Make a dataset of anomaly images with masks. Run it again to go on after an interruption.

    [bold]Examples[/bold]

      synthgen build --dataset visa --types crack,corrosion --root ~/data/VisA

      synthgen build --dataset folder --root good_images --material metal --strength subtle

      synthgen build --dataset mvtec --root ~/data/mvtec --categories bottle,screw --set crack.width_px_range=2,6
    """
    request = Request(
        dataset, recipe, root, categories, material, foreground, foreground_masks, types, per_image, size, style, strength,
        tuple(settings or ()), seed, layout, base_compression, samples_per_shard, max_rejected, only, sample, bit_depth,
        sam_checkpoint, edge_generator, tuple(weights or ()), device, refine, tuple(npcf or ()), tuple(npcfpp or ()),
        quality, min_quality, tuple(mixture or ()),
    )  # fmt: skip
    made = make_plan_from(request)
    if dry_run:
        _show_plan(made, json, samples=False)
        return
    folder = out or Path("synthgen-out") / made.recipe.name
    _refuse_inside(folder, made, root, recipe is not None)
    result = _run(made, folder, jobs, opener_of(backend, scheduler), part_of(shards))
    if json:
        print_json(_result_json(result))
    else:
        typer.echo(str(folder))
    _judge(made, result)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the shards and the contact sheet.")] = Path("synthgen-demo"),
    size: o.SizeOption = "256",
    per_image: Annotated[int, typer.Option(min=1, help="Samples per normal image and type.")] = 1,
    jobs: o.Jobs = None,
) -> None:
    """Try it without any data: build a small set from rendered normal images, with a contact sheet to look at.

    [bold]Example[/bold]

      synthgen demo --out my-demo
    """
    from synthgen.report.sheet import Selection
    from synthgen.report.sheets import write_sheet

    made = make_plan_from(Request(dataset="demo", size=size, per_image=per_image, samples_per_shard=128))
    result = _run(made, out, jobs)
    sheet = write_sheet(out, out / "sheet.png", Selection(per_group=2), per_row=6)
    console().print(f"Look at {sheet}; `synthgen info {out}` says what is in it.", markup=False)
    typer.echo(str(sheet))
    _judge(made, result)


def init(
    path: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")] = Path("recipe.yaml"),
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of recipes instead.")] = False,
) -> None:
    """Write a commented recipe to start from.

    [bold]Examples[/bold]

      synthgen init my-set.yaml

      synthgen init --schema > recipe.schema.json
    """
    from synthgen.recipe.schema import recipe_schema, starter_recipe

    if schema:
        print_json(recipe_schema())
        return
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter_recipe())
    except FileExistsError as error:
        raise UsageError(f"{path}: exists already. Give another name.") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
    console().print(f"Edit {path}, then: synthgen build --recipe {path} --root DIR", markup=False)
    typer.echo(str(path))


def plan(
    dataset: o.Dataset = None,
    recipe: o.RecipeOption = None,
    root: o.Root = None,
    only: o.Only = None,
    sample: o.SampleShare = None,
    categories: o.Categories = None,
    material: o.Material = None,
    bit_depth: o.BitDepth = None,
    foreground: o.Foreground = None,
    foreground_masks: o.ForegroundMasks = None,
    sam_checkpoint: o.SamCheckpoint = None,
    edge_generator: o.EdgeGenerator = None,
    weights: o.WeightsOption = None,
    device: o.DeviceOption = "auto",
    types: o.Types = None,
    per_image: o.PerImage = None,
    size: o.SizeOption = None,
    style: o.StyleOption = None,
    strength: o.StrengthOption = None,
    settings: o.Set = None,
    refine: o.RefineOption = None,
    npcf: o.NpcfOption = None,
    npcfpp: o.NpcfppOption = None,
    quality: o.QualityOption = None,
    min_quality: o.MinQuality = None,
    mixture: o.MixtureOption = None,
    seed: o.Seed = None,
    samples_per_shard: o.SamplesPerShard = None,
    samples: Annotated[bool, typer.Option("--samples", help="List the ids of all samples, one per line.")] = False,
    json: Json = False,
) -> None:
    """Say what a build would make, without making it.

    [bold]Example[/bold]

      synthgen plan --dataset mvtec --root ~/data/mvtec --per-image 2 --samples | head
    """
    request = Request(
        dataset, recipe, root, categories, material, foreground, foreground_masks, types, per_image, size, style, strength,
        tuple(settings or ()), seed, samples_per_shard=samples_per_shard, only=only, sample=sample, bit_depth=bit_depth,
        sam_checkpoint=sam_checkpoint, edge_generator=edge_generator, weights=tuple(weights or ()), device=device,
        refine=refine, npcf=tuple(npcf or ()), npcfpp=tuple(npcfpp or ()), quality=quality, min_quality=min_quality,
        mixtures=tuple(mixture or ()),
    )  # fmt: skip
    _show_plan(make_plan_from(request), json, samples)


def replay(
    sample_id: Annotated[str, typer.Argument(help="Such as mvtec/bottle/000/crack/0; `synthgen plan --samples` lists them.")],
    shards: Annotated[Path, typer.Option("--in", help="The dataset that holds it.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for PNGs: image, mask and normal image.")] = None,
    foreground_masks: o.ForegroundMasks = None,
    sam_checkpoint: o.SamCheckpoint = None,
    edge_generator: o.EdgeGenerator = None,
    weights: o.WeightsOption = None,
    npcf: o.NpcfOption = None,
    npcfpp: o.NpcfppOption = None,
    device: o.DeviceOption = "auto",
    root: o.Root = None,
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
        foreground_masks,
        sam_checkpoint,
        edge_tools(edge_generator, weights or (), sam_checkpoint, device),
        root,
        refinement_tools(npcf or (), npcfpp or (), device),
    )
    if out is not None:
        save_pictures(out, result.sample)
    print_json(result.to_json())
    if not result.same:
        raise IntegrityError(
            f"{sample_id}: made again it differs from the stored sample. "
            "Another version of synthgen, numpy or OpenCV made the dataset, or its foreground masks have changed."
        )


def _refuse_inside(folder: Path, made: "Plan", root: Path | None, in_recipe: bool) -> None:
    """A user's dataset is only ever read."""
    from synthgen.datasets import resolve_root

    given = roots(root, [scan.dataset for scan in made.scans], in_recipe)
    for scan in made.scans:
        refuse_inside(folder, resolve_root(scan.dataset, given.get(scan.dataset)))


def _run(
    made: "Plan", folder: Path, jobs: int | None, opener: "Opener | None" = None, part: "Part | None" = None
) -> "BuildResult":
    """Build with a progress bar (on a terminal) or a line now and then, and say what was found before."""
    from synthgen.anomalies.registry import SURFACE_TYPES
    from synthgen.builder.backends import open_loky
    from synthgen.builder.driver import InterruptedBuildError, build
    from synthgen.report.tables import scan_table
    from synthgen.terminal.progress import occasionally, progress_display

    talk = console()
    for scan in made.scans:
        talk.print(scan_table(scan))
        refines = made.refiner(scan.dataset)
        unseen = refines.unseen([name for shard in made.shards for name in shard.allotment.types]) if refines else []
        if unseen:
            talk.print(f"refinement: its networks have never learned {', '.join(unseen)}", markup=False)
        surfaces = made.recipe.types.keys() & SURFACE_TYPES.keys()
        if scan.dataset == "folder" and made.recipe.datasets["folder"].material is None and surfaces:
            default = made.recipe.material("folder", "")
            talk.print(f"material: {default}, since nothing else was said; --material tells what corrosion looks like")
    try:
        total = sum(len(shard) for shard in (part.of(made) if part else made.shards))
        with progress_display(total) as advance:
            result = build(
                made, folder, jobs, opener=opener or open_loky, part=part, on_samples=advance, on_message=occasionally(talk)
            )
    except InterruptedBuildError as error:
        command = " ".join(_quoted(argument) for argument in ["synthgen", *sys.argv[1:]])
        name = str(error)
        talk.print(f"\nInterrupted ({name}). What is finished stays; this goes on with the rest:\n  {command}", markup=False)
        raise typer.Exit(error.exit_status) from None
    _say_result(result)
    return result


def _quoted(argument: str) -> str:
    import shlex

    return shlex.quote(argument)


def _say_result(result: "BuildResult") -> None:
    talk = console()
    warnings = [line for report in result.reports for line in report.warnings]
    for line in warnings[:5]:
        talk.print(f"warning: {line}", markup=False)
    if len(warnings) > 5:
        talk.print(f"warning: ... and {len(warnings) - 5} more like these (journal.jsonl has all).")
    for report in result.reports:
        for source, reason in report.unreadable:
            talk.print(f"not used: {source}: {reason}", markup=False)
    for sample, reason in result.quarantined.items():
        talk.print(f"left out: {sample}: {reason}", markup=False)
    for name, failures in result.failures.items():
        talk.print(f"a bug of a type: {failures.sentence(name)}", markup=False)
    before = f" ({result.already} of them by an earlier run)" if result.already else ""
    shards = f"{len(result.reports)} shard{'s' if len(result.reports) != 1 else ''}"
    talk.print(f"{result.folder}: {result.made} samples in {shards}{before}; {result.rejected} rejected", markup=False)


def _judge(made: "Plan", result: "BuildResult") -> None:
    """Raise a PartialBuildError if a type fails too often, or too much is missing."""
    from collections import Counter

    texts = []
    broken = [failures.sentence(name) for name, failures in result.failures.items() if failures.share > MOST_FAILED]
    if broken:
        texts.append(
            "\n".join(broken) + f"\nMore than {MOST_FAILED:.0%}: that is a bug of the type. Report it to whoever wrote it, or "
            "leave the type out (--types, or the recipe). The samples that were made are complete and can be used."
        )
    missing = result.planned - result.made
    if missing > made.recipe.max_rejected * result.planned:
        reasons = Counter(reason for report in result.reports for _, reason in report.rejected)
        lines = "".join(f"\n  {count:6d}  {reason}" for reason, count in reasons.most_common(8))
        if result.unreadable:
            lines += f"\n  {result.unreadable:6d}  normal image unreadable"
        advice = "Try --strength strong for faint surfaces, another --foreground, "
        if made.edges is not None:
            advice = "`synthgen view --steps` shows what the generator draws; train it longer, "
        texts.append(
            f"{missing} of {result.planned} samples could not be made, more than "
            f"--max-rejected {made.recipe.max_rejected}:{lines}\n"
            f"The others are complete and can be used. {advice}or allow more with --max-rejected."
        )
    if texts:
        raise PartialBuildError("\n".join(texts))


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


def _show_plan(made: "Plan", json: bool, samples: bool) -> None:
    from synthgen.report.tables import plan_json, plan_table, scan_table

    if samples:
        for spec in made.specs():
            typer.echo(spec.sample_id)
    elif json:
        print_json(plan_json(made))
    else:
        for scan in made.scans:
            console().print(scan_table(scan))
        stdout_console().print(plan_table(made))
