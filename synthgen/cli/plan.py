"""The verbs before a build: plan, init."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.cli.options import Device, EdgeRequest, PlanRequest, RefinementRequest
from synthgen.cli.request import plan_from
from synthgen.errors import StorageError, UsageError
from synthgen.terminal.console import Json, console, print_json, stdout_console
from synthgen.terminal.options import with_options

if TYPE_CHECKING:
    from synthgen.plan import Plan


@with_options
def plan(
    request: PlanRequest,
    edges: EdgeRequest,
    refinement: RefinementRequest,
    *,
    device: Device = "auto",
    samples: Annotated[bool, typer.Option("--samples", help="List the ids of all samples, one per line.")] = False,
    json: Json = False,
) -> None:
    """Say what a build would make, without making it.

    [bold]Example[/bold]

      synthgen plan --dataset mvtec --root ~/data/mvtec --per-image 2 --samples | head
    """
    planned = plan_from(request, edges=edges, refinement=refinement, device=device)
    if samples:
        for spec in planned.specs():
            typer.echo(spec.sample_id)
    else:
        show_plan(planned, json)


def show_plan(planned: "Plan", json: bool) -> None:
    """A table of a plan on stdout, or JSON."""
    from synthgen.report.tables import plan_json, plan_table, scan_table

    if json:
        print_json(plan_json(planned))
        return
    for scan in planned.scans:
        console().print(scan_table(scan))
    stdout_console().print(plan_table(planned))


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
