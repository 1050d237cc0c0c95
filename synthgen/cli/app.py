"""The typer application, and how commands talk: data to stdout, messages to stderr."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Make anomaly images with exact masks from normal images.",
    epilog="Start with `synthgen demo`: it needs no data. Then `synthgen build --dataset folder --root MY_GOOD_IMAGES`.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # a traceback is for bugs, and then plain
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from synthgen import __version__

        typer.echo(f"synthgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def console() -> "Console":
    """Where messages and tables go: stderr, in colours only on a terminal without NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def stdout_console() -> "Console":
    """For tables that are the answer: stdout, wide enough not to cut them where it is no terminal."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)


def print_json(values: Any) -> None:
    """Values to stdout, for programs."""
    typer.echo(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False))


Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
