"""The one way to call a benchmark.

    python -m tools.bench                    lists them
    python -m tools.bench NAME [options]     measures, prints tables, and keeps the run in benchmarks/

The exit status is 1 where something is wrong or a goal is missed.
"""

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import SynthgenError
from tools.bench.support.records import FOLDER, ROOT, Outcome, write
from tools.bench.support.tables import as_markdown


def scripts() -> dict[str, str]:
    """Name -> what the benchmark says of itself; nothing is imported."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("__"))
    return {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in files}


def main(words: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status."""
    known = scripts()
    if not words or words[0] not in known:
        for name, text in known.items():
            print(f"  {name:14}{text.splitlines()[0]}")
        print("\npython -m tools.bench NAME --help says more.")
        return 0 if not words or words[0] in ("-h", "--help") else 2
    name = words[0]
    script = importlib.import_module(f"tools.bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m tools.bench {name}", description=known[name], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER", help="where the run is kept (benchmarks/)")
    script.add_options(parser)
    options = parser.parse_args(words[1:])
    try:
        outcome: Outcome = script.run(options)
    except SynthgenError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    for title, table in outcome.tables.items():
        print(f"\n{title}\n\n{as_markdown(table)}", end="")
    if outcome.tables:
        path = write(options.into, words, outcome)
        print(f"\nkept in {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    for line in outcome.missed:
        print(line, file=sys.stderr)
    return 1 if outcome.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
