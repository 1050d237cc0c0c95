"""The comparison with other tools measures what it says, with stand-ins for the peers; and finds out what is not installed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthgen.anomalies.registry import SURFACE_TYPES
from tools.bench import peer_duels, peers
from tools.bench.peer_duels import GENERATOR_NAME, GOAL_SIZE, NEW, PREPARED, Duel
from tools.bench.timing import Timing, Variant, as_json

SIZE = 96


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def slow_generator(picture):
    """60 ms, far above ours; a mask over a quarter of the image."""
    busy(0.06)
    mask = np.zeros(picture.shape[:2])
    mask[: SIZE // 2, : SIZE // 2] = 1
    return picture, mask


def make_duel(ours, theirs):
    timings = {GENERATOR_NAME: Timing(theirs, theirs), f"crack, {PREPARED}": Timing(ours, ours)}
    timings[f"crack, {NEW}"] = Timing(theirs, theirs)
    return Duel(timings, (GENERATOR_NAME,), {})


def test_samples_of_all_types_are_measured_against_the_generator():
    duel = peer_duels.make_a_sample(SIZE, 1, slow_generator, lambda pixels: pixels / 255)
    assert set(duel.timings) == {GENERATOR_NAME, *(f"{name}, {normal}" for name in SURFACE_TYPES for normal in (PREPARED, NEW))}
    assert 60 <= duel.timings[GENERATOR_NAME].least < 90
    assert duel.mask_share[GENERATOR_NAME] == 0.25
    ratios = duel.ratios()
    for name in SURFACE_TYPES:
        assert ratios[f"{name}, {PREPARED}"][GENERATOR_NAME] > ratios[f"{name}, {NEW}"][GENERATOR_NAME] > 1
        assert 0 < duel.mask_share[f"{name}, {PREPARED}"] < 0.25


def test_noise_and_storing_are_measured(tmp_path):
    noise = peer_duels.fill_a_field(SIZE, 2, {"peer": Variant(lambda _: busy(0.02))}, 8, 4)
    assert noise.ratios()["fractal_noise"]["peer"] > 2
    samples = peer_duels.stored_samples(SIZE)
    assert {sample.spec.type for sample in samples} == set(SURFACE_TYPES)
    stored = peer_duels.store_a_sample(tmp_path, samples, 2)
    assert stored.timings["PNG files"].median > 0
    assert len(list(tmp_path.glob("png0/*.png"))) == 2 * len(samples)
    assert (tmp_path / "shard.h5").stat().st_size > 0


@pytest.mark.parametrize(("ours", "reached"), [(1.0, True), (1.01, False)])
def test_the_goal_is_ten_times_on_prepared_normals_at_its_size_only(ours, reached):
    duel = make_duel(ours, 10.0)
    lines = peer_duels.missed({GOAL_SIZE: {"make a sample": duel}})
    assert (lines == []) == reached
    assert all(PREPARED in line for line in lines)
    assert peer_duels.missed({GOAL_SIZE // 2: {"make a sample": duel}}) == []


def test_figures_go_into_the_table_and_into_json():
    duel = make_duel(2.0, 10.0)
    assert f"5.0 x {GENERATOR_NAME}" in peer_duels.table("title", duel)
    read = json.loads(json.dumps(duel.as_json(), default=as_json))
    assert read["ratios"][f"crack, {PREPARED}"] == {GENERATOR_NAME: 5.0}
    assert read["timings"][GENERATOR_NAME] == {"median": 10.0, "least": 10.0}


def test_a_module_is_imported_without_the_packages_above_it(tmp_path, monkeypatch):
    inner = tmp_path / "heavy_peer" / "data" / "tools"
    inner.mkdir(parents=True)
    (tmp_path / "heavy_peer" / "__init__.py").touch()
    for package in (inner.parent, inner):
        (package / "__init__.py").write_text("raise RuntimeError('must not run')")
    (inner.parent / "beside.py").write_text("VALUE = 3")
    (inner / "wanted.py").write_text("from heavy_peer.data.beside import VALUE")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    try:
        assert peer_duels.import_alone("heavy_peer.data.tools.wanted").VALUE == 3
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def test_only_requirements_without_a_version_are_missing():
    asked = ["numpy>=1.26", "no-such-package-at-all>=2", "no.such[extra]"]
    assert peers.missing(Path(sys.executable), asked) == asked[1:]


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, peers.__file__, "--venv", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert list(tmp_path.iterdir()) == []
