"""The commands of `synthgen`, in the order in which its help shows them."""

from typing import Annotated

import typer

from synthgen.cli import build, comparing, doctor, exporting, fit, inspect, plan, train, worth

app = typer.Typer(
    help="Make anomaly images with exact masks from normal images.",
    epilog="Start with `synthgen demo`: it needs no data. Then `synthgen build --dataset folder --root MY_GOOD_IMAGES`.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # a traceback is for bugs, and then plain
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from synthgen import __version__

        typer.echo(f"synthgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


for command in (
    build.build,
    build.demo,
    plan.plan,
    plan.init,
    inspect.replay,
    inspect.view,
    inspect.info,
    inspect.diff,
    inspect.status,
    inspect.verify,
    exporting.report,
    exporting.export,
    worth.worth,
    fit.fit,
    train.train,
    doctor.doctor,
):
    app.command()(command)
app.command("list")(inspect.list_)
app.command("compare-real")(comparing.compare_real)
