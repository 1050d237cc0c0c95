"""Options are declared once, as fields of a dataclass; values are parsed in one place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from synthgen.errors import UsageError
from synthgen.terminal.arguments import assignments, names_of, range_of, share_of, shares_of, size_of, value_of, weights_of
from synthgen.terminal.options import with_options


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of a command."""

    size: Annotated[int, typer.Option(min=1, help="In pixels.")] = 8
    root: Annotated[Path | None, typer.Option(help="A folder.")] = None
    settings: Annotated[tuple[str, ...], typer.Option("--set", help="NAME=VALUE.")] = ()


def run(*arguments):
    """What a command with these options was called with; its exit status and output."""
    calls = []
    app = typer.Typer()

    @app.command()
    @with_options
    def command(
        name: Annotated[str, typer.Argument()],
        asked: Asked,
        *,
        files: Annotated[tuple[Path, ...], typer.Option()] = (),
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Say a name."""
        calls.append((name, asked, files, loud))

    result = CliRunner().invoke(app, arguments)
    return calls, result


def test_a_dataclass_is_filled_by_name():
    calls, _ = run("me", "--root", "x", "--set", "a=1", "--set", "b=2", "--loud", "--files", "f", "--size", "3")
    assert calls == [("me", Asked(size=3, root=Path("x"), settings=("a=1", "b=2")), (Path("f"),), True)]


def test_what_is_not_given_has_its_default():
    assert run("me")[0] == [("me", Asked(), (), False)]


def test_rules_and_help_are_typers():
    calls, result = run("me", "--size", "0")
    assert not calls
    assert result.exit_code == 2
    assert "In pixels." in run("--help")[1].output


def test_values_are_read_as_people_type_them():
    assert names_of(" a, b ,") == ["a", "b"]
    assert names_of(None) is None
    assert size_of("64") == 64
    assert size_of("64x80") == size_of("64×80") == [64, 80]
    assert share_of("5%") == share_of("0.05")
    assert shares_of("0.7/0.3") == shares_of("0.7,0.3") == (0.7, 0.3)
    assert range_of("3-7") == (3, 7)
    assert range_of("3") == (3, 3)
    assert assignments("--set", ["a = 1", "b=c=d"], "NAME=VALUE") == [("a", "1"), ("b", "c=d")]
    assert value_of("--set", "a", "1,2") == [1, 2]
    assert weights_of(["vgg=x/y.pth"], ("vgg",)) == {"vgg": Path("x/y.pth")}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: names_of(","), "names nothing"),
        (lambda: size_of("big"), "--size big"),
        (lambda: size_of("1x2x3"), "HEIGHTxWIDTH"),
        (lambda: share_of("half"), "--sample half"),
        (lambda: shares_of("a/b"), "--split a/b"),
        (lambda: range_of("3-"), "--shards 3-"),
        (lambda: assignments("--set", ["a"], "NAME=VALUE"), "--set a: expected NAME=VALUE"),
        (lambda: assignments("--match", ["=b"], "TYPE=KIND"), "--match =b: expected TYPE=KIND"),
        (lambda: value_of("--set", "a", "[1"), "--set a=\\[1"),
        (lambda: weights_of(["vgg=x"], ("pidinet",)), "pidinet=FILE"),
        (lambda: weights_of(["pidinet="], ("pidinet",)), "pidinet=FILE"),
    ],
)
def test_what_cannot_be_read_names_the_option(call, named):
    with pytest.raises(UsageError, match=named):
        call()
