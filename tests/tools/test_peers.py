"""The comparison with other tools: its goal, its environment, the module it imports alone, and the sets it makes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthgen.shards import ShardDataset
from tests.support.paths import ROOT
from tools.bench.support import duels, environment
from tools.bench.support.duels import GENERATOR_NAME, GOAL_SIZE, NEW, PREPARED, Duel
from tools.bench.support.tables import as_markdown
from tools.bench.support.timing import Timing


def peers(*words):
    command = [sys.executable, "-m", "tools.bench", "peers", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("ours", "reached"), [(1.0, True), (1.01, False)])
def test_the_goal_is_ten_times_on_prepared_normals_at_its_size_only(ours, reached):
    timings = {
        GENERATOR_NAME: Timing(10.0, 10.0),
        f"crack, {PREPARED}": Timing(ours, ours),
        f"crack, {NEW}": Timing(10.0, 10.0),
    }
    sizes = {"make a sample": Duel(timings, (GENERATOR_NAME,), {GENERATOR_NAME: 0.25})}
    lines = duels.missed({GOAL_SIZE: sizes})
    assert (lines == []) == reached
    assert all(PREPARED in line for line in lines)
    assert duels.missed({GOAL_SIZE // 2: sizes}) == []
    assert f"| make a sample: crack, {NEW} | 10.00 | 1.0 | |" in as_markdown(duels.table({GOAL_SIZE: sizes}))


def test_a_module_is_imported_without_the_packages_above_it(tmp_path, monkeypatch):
    inner = tmp_path / "heavy_peer" / "data" / "tools"
    inner.mkdir(parents=True)
    (tmp_path / "heavy_peer" / "__init__.py").touch()
    for package in (inner.parent, inner):
        (package / "__init__.py").write_text("raise RuntimeError('must not run')")
    (inner.parent / "beside.py").write_text("VALUE = 3")
    (inner / "inside.py").write_text("from heavy_peer.data.beside import VALUE")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    try:
        assert duels.import_alone("heavy_peer.data.tools.inside").VALUE == 3
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def test_only_requirements_without_a_version_are_missing():
    asked = ["numpy>=1.26", "no-such-package-at-all>=2", "no.such[extra]"]
    assert environment.missing(Path(sys.executable), asked) == asked[1:]


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    done = peers("--venv", tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_sets_by_other_methods_mark_what_they_changed(tmp_path):
    words = ("--make", "noise,cutpaste", "--dataset", "demo", "--category", "gravel", "--size", 64)
    done = peers(*words, "--out", tmp_path / "sets")
    assert done.returncode == 0, done.stderr
    samples = ShardDataset(tmp_path / "sets")
    assert sorted({sample.spec.type for sample in samples}) == ["cutpaste", "noise"]
    assert len(samples) == 2 * 24
    for sample in samples:
        changed = (sample.image != sample.normal).any(2)
        assert np.array_equal(changed, sample.mask > 0)
        assert sample.area == sample.mask.sum() >= 12
