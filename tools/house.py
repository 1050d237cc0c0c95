"""How the house stands, in one table: modules, circles, imports against the order, what is too long or goes by position.

    python -m tools.house [CHECKOUT ...] [--moves FILE]

A column for each checkout, this one if none is named. The rules are those of tests/test_house.py. An old checkout, whose
folders do not stand in the order, wants FILE: a line `OLD NEW` for each module (or folder) that has moved, both with dots;
without it, its imports against the order are unknown.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import test_house as house
from tests.support.paths import ROOT
from tools.bench.support.tables import Column, Table, as_markdown

LIBRARY = ("synthgen", "detectors")


def facts(root: Path, moves: Mapping[str, str]) -> dict[str, int | str]:
    """What the table says about a checkout, by row."""
    library, everything = (house.read_modules(root, folders) for folders in (LIBRARY, house.CHECKED))
    variadic = house.variadic_names(everything)
    graph = house.imports(library)
    groups = house.circles(graph)
    largest = max(everything.values(), key=lambda module: module.lines)
    same_names = [name for name, places in house.class_names(library).items() if len(places) > 1]
    return {
        "modules of the two packages": len(library),
        "circles of imports": len(groups),
        "modules in circles": sum(map(len, groups)),
        "imports against the order": against_the_order(graph, moves),
        f"functions over {house.LONGEST_FUNCTION} lines": sum(len([*house.long_functions(m)]) for m in everything.values()),
        "largest file": f"{largest.lines} ({largest.name})",
        f"files over {house.LONGEST_FILE} lines": sum(m.lines > house.LONGEST_FILE for m in everything.values()),
        f"functions and calls over {house.MOST_POSITIONAL} by position": sum(
            len([*house.positional(module, variadic)]) for module in everything.values()
        ),
        "names of more than one class": len(same_names),
        "lines of tests": sum(module.lines for name, module in everything.items() if name.split(".")[0] == "tests"),
    }


def against_the_order(graph: Mapping[str, set[str]], moves: Mapping[str, str]) -> int | str:
    """The number of such imports, with modules where they are now; a text where modules have no place in the order."""
    if any(not has_place(name) for name in graph):
        graph = {name: set(targets) for name, targets in graph.items()}
        moved: dict[str, set[str]] = {}
        for name, targets in graph.items():
            moved.setdefault(now_at(name, moves), set()).update(now_at(target, moves) for target in targets)
        graph = moved
    known = {name: {target for target in targets if has_place(target)} for name, targets in graph.items() if has_place(name)}
    homeless = len(graph) - len(known)
    if homeless and not moves:
        return f"unknown: {homeless} modules have no place"
    count = len(house.against_the_order(known))
    return f"{count}, and {homeless} modules have no place" if homeless else count


def has_place(name: str) -> bool:
    """Whether the order says where a module stands."""
    package, *inner = name.split(".")
    return not inner or inner[0] in house.ORDER[package]


def now_at(name: str, moves: Mapping[str, str]) -> str:
    """A module's name after the moves; the longest old name that fits counts."""
    fitting = [old for old in moves if name == old or name.startswith(old + ".")]
    old = max(fitting, key=len, default="")
    return moves[old] + name.removeprefix(old) if old else name


def read_moves(path: Path) -> dict[str, str]:
    """Old name -> new name."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if wrong := [line for line in lines if len(line) != 2]:
        sys.exit(f"{path}: expected lines `OLD NEW`, not `{' '.join(wrong[0])}`")
    return dict(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", default=[ROOT], metavar="CHECKOUT")
    parser.add_argument("--moves", type=Path, metavar="FILE")
    options = parser.parse_args(words)
    moves = read_moves(options.moves) if options.moves else {}
    columns = [facts(checkout, moves) for checkout in options.checkouts]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    names = [Column(checkout.resolve().name) for checkout in options.checkouts]
    sys.stdout.write(as_markdown(Table([Column(""), *names], rows)))


if __name__ == "__main__":
    main()
