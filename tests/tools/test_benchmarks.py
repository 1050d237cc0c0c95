"""BENCHMARKS.md shows what the records in benchmarks/ hold; records say what their figures depend on, and nothing private."""

import json
import platform
import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tools.bench.__main__ import main, scripts
from tools.bench.support.records import FOLDER, Outcome, command_line, write
from tools.bench.support.tables import Column, Table, as_markdown, from_json
from tools.bench.tables import PAGE, filled, places, pointed_to

RECORDS = sorted(FOLDER.glob("*.json"))
TABLE = Table(
    [Column("what"), Column("ms", ("{:.1f}", "{:.1f} ± {:.2f}"), best=True), Column("range", ("{:.0f} to {:.0f}",))],
    [["a", 1.26, (1, 2, 7)], ["b", [3.5, 0.125], None], ["c", {"values": [2], "format": "{} of 3"}, "none"]],
)
MARKDOWN = "| what | ms | range |\n|---|---|---|\n| a | 1.3 | 1 to 2 |\n| b | **3.5 ± 0.12** | |\n| c | 2 of 3 | none |\n"
PLACE = "words\n<!-- table: {run}/t begin -->\n{table}<!-- table: {run}/t end -->\nmore\n"


def test_the_page_shows_what_the_records_hold():
    page = PAGE.read_text()
    assert filled(page, FOLDER) == page, "python -m tools.bench tables"
    assert {f"{run}.json" for run, _ in places(page)} == {path.name for path in RECORDS}


def test_all_tables_of_the_page_are_made_from_records():
    without = re.sub(r"<!-- table: (\S+) begin -->.*?<!-- table: \1 end -->", "", PAGE.read_text(), flags=re.S)
    assert [line for line in without.splitlines() if line.startswith("|")] == []


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_what_its_figures_depend_on(path):
    text = path.read_text()
    record = json.loads(text)
    assert {"bench", "recorded", "machine", "versions", "commit", "command", "figures"} <= record.keys()
    assert record["recorded"] in ("measured", "transcribed")
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", record["commit"])
    assert {"processor", "cores"} <= record["machine"].keys()
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)\b", text)
    for table in record["figures"].values():
        as_markdown(from_json(table))


def test_a_table_is_written_as_its_columns_say():
    assert as_markdown(TABLE) == MARKDOWN
    assert as_markdown(from_json(json.loads(json.dumps(TABLE.as_json())))) == MARKDOWN
    with pytest.raises(ValueError, match="2 cells under 3 columns"):
        as_markdown(Table(TABLE.columns, [["a", 1]]))


def test_a_run_is_kept_without_names_of_machines_and_folders(tmp_path):
    path = write(tmp_path / "records", ["metrics", "--root", str(tmp_path / "sets"), f"a={tmp_path}/b"], Outcome({"t": TABLE}))
    text = path.read_text()
    record = json.loads(text)
    assert record["command"] == "python -m tools.bench metrics --root sets a=b"
    assert str(tmp_path) not in text
    assert platform.node() not in text.replace(record["machine"]["processor"], "")
    assert record["versions"]["python"] == platform.python_version()
    assert filled(PLACE.format(run=path.stem, table="stale\n"), path.parent) == PLACE.format(run=path.stem, table=MARKDOWN)


def test_relative_paths_and_other_words_stay_in_the_command():
    words = ["a", "--into", "/z/y", "b/c", "x=1/2", "/one/two/", "--s=/p/q,/r"]
    assert command_line(words) == "python -m tools.bench a b/c x=1/2 two --s=q,r"


def test_another_run_takes_the_place_of_its_tables(tmp_path):
    path = write(tmp_path, ["metrics"], Outcome({"t": TABLE}))
    before = PLACE.format(run="old", table="stale\n") + PLACE.replace("/t", "/other").format(run="old", table="")
    after = PLACE.format(run=path.stem, table="stale\n") + PLACE.replace("/t", "/other").format(run="old", table="")
    assert pointed_to(before, path) == after
    with pytest.raises(ValueError, match="no place for any of t"):
        pointed_to("nothing here", path)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: a/t begin -->\n",
        "<!-- table: a/t begin -->\n<!-- table: a/u end -->\n",
        PLACE.format(run="a", table="") + "<!-- table: a/t end -->",
    ],
)
def test_a_marker_without_its_partner_is_refused(text):
    with pytest.raises(ValueError, match="each table needs its begin and its end"):
        filled(text, FOLDER)


def test_benchmarks_are_listed_with_a_line_each(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert 2 < len(scripts()) <= 13
    assert all(any(re.match(rf"  {name}\s+\S", line) for line in listed) for name in scripts())
    assert main(["nothing"]) == 2


def test_help_needs_no_network_library():
    code = """
import contextlib, io, sys
from tools.bench.__main__ import main, scripts
for name in scripts():
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
        main([name, "--help"])
    assert f"python -m tools.bench {name}" in text.getvalue(), name
print([heavy for heavy in ("torch", "sklearn") if heavy in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
