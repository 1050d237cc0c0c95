"""The demo tray's test split: rules that are broken, and the truth about it."""

import json

import cv2
import numpy as np
import pytest

from detectors.metrics import read_defects_config
from detectors.official_test import ClosedSplitError, closed, open_test_split, read_mask, rendered
from synthgen import cache
from synthgen.datasets.demo import generator, render_normal
from synthgen.datasets.demo.broken_tray import DEFECTS, break_tray
from synthgen.datasets.demo.tray import RULES, render_tray, tray_scene
from synthgen.errors import StorageError, UsageError


def counts(scene):
    """(compartment, kind) -> how many."""
    found = {}
    for part in scene.parts:
        found[part.compartment, part.kind] = found.get((part.compartment, part.kind), 0) + 1
    return found


NORMAL = {(number, rule.kind): len(rule.places) for number, rule in enumerate(RULES)}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_rule_is_broken_and_nothing_else_changes(defect):
    for number in range(3):
        tray = break_tray(defect, generator("tray", "broken", number))
        assert counts(tray.intact) == NORMAL
        assert counts(tray.broken) != NORMAL
        difference = len(tray.broken.parts) - len(tray.intact.parts)
        assert difference == {"missing": -1, "added": 1, "swapped": 0}[defect]
        before, owners = render_tray(tray.intact)
        changed = np.abs(before.astype(int) - tray.image).max(-1) > 0
        near = cv2.dilate(tray.mask, np.ones((75, 75), np.uint8)) > 0  # shadows and reflections reach that far
        assert not changed[~near].any()
        assert changed[tray.mask > 0].mean() > 0.9
        assert 500 < tray.mask.sum() < 16000
        others = (owners > 0) & (tray.mask == 0)
        assert (np.abs(before.astype(int) - tray.image).max(-1)[others] > 60).mean() < 0.02  # no other part is hidden


def test_the_same_number_gives_the_same_tray():
    one, other = (break_tray("added", generator("tray", "broken", 1)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)


def test_files_are_as_in_mvtec_loco(tmp_path):
    rendered.write_demo_test_split(tmp_path, normals=2, anomalies=3)
    base = tmp_path / "tray"
    settings = read_defects_config(base / "defects_config.json")
    assert [settings[value].name for value in (255, 254, 253)] == list(DEFECTS)
    for number in range(3):
        mask = cv2.imread(str(base / f"ground_truth/logical_anomalies/{number:03}/000.png"), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255 - number}
    normal = cv2.imread(str(base / "test/good/000.png"))[..., ::-1]
    np.testing.assert_array_equal(normal, render_tray(tray_scene(generator("tray", "test/good", 0)))[0])
    assert not any(np.array_equal(normal, render_normal("tray", number)) for number in range(5))


def test_the_split_is_rendered_once_and_a_half_written_one_is_never_used(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(rendered.write_demo_test_split, "__defaults__", (2, 3))
    real = rendered.break_tray
    monkeypatch.setattr(rendered, "break_tray", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(StorageError):
        rendered.demo_test_split()
    assert not list((cache.folder() / "demo-test-split").iterdir())
    monkeypatch.setattr(rendered, "break_tray", real)
    files = open_test_split("demo", None, "tray")
    assert [file.label for file in files] == [0, 0, 1, 1, 1]
    assert read_mask(files[-1], (128, 128)).sum() > 20
    stamp = files[0].path.stat().st_mtime_ns
    assert open_test_split("demo", None, "tray")[0].path.stat().st_mtime_ns == stamp
    with closed(), pytest.raises(ClosedSplitError):
        open_test_split("demo", None, "tray")


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(rendered.write_demo_test_split, "__defaults__", (1, 1))
    files = open_test_split("demo", None, "tray")
    assert len(files) == 2
    assert json.loads((files[0].path.parents[2] / "defects_config.json").read_text())


def test_textures_have_none():
    with pytest.raises(UsageError, match="tray alone has a test split"):
        open_test_split("demo", None, "brick")
