"""The documentation agrees with the program: links, commands, settings, columns."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from detectors.catalog import detector_names
from synthgen.anomalies.registry import TYPES
from synthgen.errors import to_install
from synthgen.export import FORMATS
from synthgen.shards.layout import _COLUMNS, _INDEX_COLUMNS, ATTRIBUTES, EXTRAS
from tests.support.commands import environment
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_shard_specification_names_what_shards_hold():
    page = (ROOT / "docs/shards.md").read_text()
    for name in (*_COLUMNS, *_INDEX_COLUMNS, *EXTRAS, *ATTRIBUTES, "base", "base_crc32", "delta", "mask"):
        assert f"`{name}`" in page, name


def commands_of(page):
    """(program, verb, options) of every command in a page's shell blocks."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in ("synthgen", "detectors"):
                yield words[0], words[1], [word for word in words[2:] if word.startswith("--")]


def test_every_command_in_the_documentation_has_the_options_it_is_given():
    import typer

    from detectors.cli.commands import app as detectors_app
    from synthgen.cli.commands import app as synthgen_app

    programs = {"synthgen": typer.main.get_command(synthgen_app), "detectors": typer.main.get_command(detectors_app)}
    seen = 0
    for page in PAGES:
        for program, verb, options in commands_of(page):
            commands = programs[program].commands
            assert verb in commands, f"{page.name}: {program} {verb}"
            known = {name for parameter in commands[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
            assert set(options) <= known, f"{page.name}: {program} {verb} {sorted(set(options) - known)}"
            seen += 1
    assert seen > 30


def test_the_readme_names_every_type_detector_and_format():
    text = (ROOT / "README.md").read_text()
    for name in (*TYPES, *detector_names()):
        assert f"`{name}`" in text, name
    for name in FORMATS:
        assert name in text, name


def test_the_first_detector_comes_out_of_the_readmes_commands(tmp_path):
    text = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- first detector: begin -->\n```sh\n(.*?)```", text, re.S)[1]
    quick = re.sub(r"^pip install.*\n", "", block)
    small = "--epochs 1 --per-image 1 --size 64 --batch-size 8 --set rec_width=8 --set seg_width=4"
    young = "--per-image 1 --max-rejected 1 --jobs 1"  # so young a generator errs
    for ours, instead in (("steps=400", "steps=30"), ("--epochs 60", small), ("--out tray-set\n", f"{young} --out tray-set\n")):
        assert quick.count(ours) == 1
        quick = quick.replace(ours, instead)
    assert quick.count("\n") == 5
    there = environment(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    done = subprocess.run(
        ["bash", "-ec", quick], cwd=tmp_path, env=there, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| demo " in done.stdout
    assert (tmp_path / "first-run/report.html").stat().st_size > 100_000
    assert (tmp_path / "tray-set.html").stat().st_size > 100_000


def test_nothing_sends_people_to_somebody_elses_package():
    """On the package index `synthgen` is not this project: all that is said of installing works from a checkout."""
    strange = re.compile(r"pip install[^\n]*[ '\"]synthgen(\[|['\" ]|$)|['\"]synthgen\[", re.MULTILINE)
    texts = [path for kind in ("*.md", "*.py", "*.toml", "*.cff", "*.yaml") for path in ROOT.rglob(kind)]
    texts = [path for path in texts if not {".git", ".venv", "build"} & set(path.relative_to(ROOT).parts[:1])]
    assert len(texts) > 300
    assert [str(path) for path in texts if path != Path(__file__) and strange.search(path.read_text(encoding="utf-8"))] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "synthgen-anomaly"
    said = re.compile(r"to_install\(((?:[\"'][\w,]+[\"'],? ?)+)\)")
    extras = {
        extra
        for path in texts
        if path.suffix == ".py"
        for found in said.findall(path.read_text())
        for extra in re.findall(r"\w+", found)
    }
    assert {"detectors", "edges", "export", "interop", "dask"} <= extras <= set(project["optional-dependencies"])
    assert to_install("edges") == "in a checkout of this project, pip install -c constraints.txt '.[edges]'"
