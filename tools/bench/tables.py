"""Puts the tables of BENCHMARKS.md in again, from the records that they name.

    python -m tools.bench tables [--from benchmarks/RUN.json] [--check]

A table stands between `<!-- table: RUN/NAME begin -->` and `<!-- table: RUN/NAME end -->`: the table NAME of the record
benchmarks/RUN.json. With `--from`, the tables of that run take the place of those of the same name.
"""

import argparse
import json
import re
from pathlib import Path

from tools.bench.support.records import FOLDER, ROOT, Outcome
from tools.bench.support.tables import as_markdown, from_json

PAGE = ROOT / "BENCHMARKS.md"
_MARKER = re.compile(r"<!-- table: (?P<run>[\w.-]+)/(?P<name>[\w-]+) (?P<side>begin|end) -->")
_PLACE = re.compile(
    r"(<!-- table: (?P<run>[\w.-]+)/(?P<name>[\w-]+) begin -->\n).*?(<!-- table: (?P=run)/(?P=name) end -->)", re.S
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--from", dest="run", type=Path, metavar="RUN.json", help="use this run's tables from now on")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a table differs")


def run(options: argparse.Namespace) -> Outcome:
    """Write the page, or say whether it would change."""
    before = PAGE.read_text(encoding="utf-8")
    try:
        after = filled(before if options.run is None else pointed_to(before, options.run), FOLDER)
    except (OSError, ValueError, KeyError) as error:
        return Outcome({}, [str(error)])
    if options.check:
        return Outcome({}, [] if after == before else [f"{PAGE.name} differs from its records: python -m tools.bench tables"])
    PAGE.write_text(after, encoding="utf-8")
    return Outcome({})


def places(text: str) -> list[tuple[str, str]]:
    """(run, table) of each place for a table. Raises `ValueError` where a marker has no partner."""
    pairs = [(place["run"], place["name"]) for place in _PLACE.finditer(text)]
    markers = [(marker["run"], marker["name"], marker["side"]) for marker in _MARKER.finditer(text)]
    if markers != [(*pair, side) for pair in pairs for side in ("begin", "end")]:
        raise ValueError(f"{PAGE.name}: each table needs its begin and its end, in this order: {markers}")
    return pairs


def filled(text: str, folder: Path) -> str:
    """The page with all tables as their records in `folder` have them."""
    places(text)

    def put_in(place: re.Match[str]) -> str:
        path = folder / f"{place['run']}.json"
        tables = json.loads(path.read_text(encoding="utf-8"))["figures"]
        if place["name"] not in tables:
            raise ValueError(f"{path} has no table {place['name']}, only {', '.join(tables)}")
        return place[1] + as_markdown(from_json(tables[place["name"]])) + place[4]

    return _PLACE.sub(put_in, text)


def pointed_to(text: str, path: Path) -> str:
    """The page with the tables of the record `path` in place of those of the same name. Raises `ValueError` if it has none."""
    names = json.loads(path.read_text(encoding="utf-8"))["figures"]
    changed = _MARKER.sub(
        lambda m: f"<!-- table: {path.stem}/{m['name']} {m['side']} -->" if m["name"] in names else m[0], text
    )
    if changed == text and not any(place == (path.stem, name) for place in places(text) for name in names):
        raise ValueError(f"{PAGE.name} has no place for any of {', '.join(names)}")
    return changed
