"""How commands talk: data to stdout, messages to stderr."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


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
