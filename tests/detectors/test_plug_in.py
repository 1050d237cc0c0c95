"""Detectors of other packages: that of the documentation, by command, and broken ones."""

import ast
import json
import re
import signal
import subprocess
import sys

import cv2
import pytest

from detectors.catalog import all_detectors, detector_names, find_detector
from synthgen.errors import UsageError
from tests.detectors.commands import RESUMED, assert_same_model
from tests.support.builders import build_mvtec
from tests.support.commands import environment
from tests.support.paths import ROOT
from tests.test_house import imports, read_modules

PAGE = ROOT / "docs/new-detector.md"


def install(folder, code, name="places"):
    """A package with an entry point."""
    folder.mkdir()
    (folder / "my_detector.py").write_text(code)
    about = folder / "my_detector-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-detector\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[synthgen.detectors]\n{name} = my_detector:PLACES\n")
    return folder


@pytest.fixture(scope="module")
def documented():
    return re.search(r"<!-- plug-in: begin -->\n```python\n(.*?)```", PAGE.read_text(), re.S)[1]


def test_the_documented_detector_is_one_like_the_others(documented, tmp_path):
    plain = environment(OMP_NUM_THREADS=1)
    there = {**plain, "PYTHONPATH": f"{install(tmp_path / 'site', documented)}:{plain['PYTHONPATH']}"}

    def command(*arguments, script="from detectors.cli import main; main()", status=0):
        words = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(words, env=there, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stderr
        return done.stdout

    root = build_mvtec(tmp_path / "data", ("bottle",), normals=9, size=(64, 64))
    train = ["train", "places", "--dataset", "mvtec", "--root", root, "--category", "bottle", "--size", 64, "--epochs", 4]
    train += ["--set", "cell=4", "--device", "cpu", "--select", "val"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert command(*train, "--out", whole).split() == [str(whole)]
    command(*train, "--out", resumed, script=RESUMED, status=-signal.SIGKILL)
    assert not (resumed / "model.safetensors").exists()
    command(*train, "--out", resumed)
    assert_same_model(resumed, whole)
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (whole, resumed)]
    for lines in logs:
        assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
        assert lines[-1]["loss"] < lines[0]["loss"]
        assert {line["learning_rate"] for line in lines} == {0.05}
    assert "places of 4 pixels" in command("eval", whole, "--device", "cpu")
    assert 0 <= json.loads((whole / "metrics.json").read_text())["metrics"]["pixel_auroc"] <= 1
    command("predict", whole, root / "bottle/test", "--out", tmp_path / "out", "--device", "cpu")
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert len(scores) == len(list((root / "bottle/test").rglob("*.png")))
    assert cv2.imread(str(tmp_path / "out" / scores[0]["overlay"])).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        ("raise RuntimeError('out of places')", "places", "cannot be loaded: RuntimeError: out of places"),
        ("", "places", "cannot be loaded"),
        ("import no_such_module", "places", "of my-detector needs no_such_module: in a checkout"),
        ("PLACES = 3", "places", "is no Detector"),
        ("from detectors.pbas.detector import DETECTOR as PLACES", "places", "a detector that is called pbas"),
        ("", "pbas", "my-detector and synthgen-anomaly both bring a detector pbas"),
    ],
)
def test_a_broken_one_is_named_with_the_way_out(code, name, told, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path / "site", code, name))
    monkeypatch.delitem(sys.modules, "my_detector", raising=False)
    for look in (all_detectors, lambda: find_detector(name)):
        with pytest.raises(UsageError, match=re.escape(told)) as caught:
            look()
        assert "my-detector" in str(caught.value)
        assert "ninstall" in str(caught.value)
    assert name in detector_names()
    assert find_detector("logical").name == "logical"  # the others are none the worse
    sys.modules.pop("my_detector", None)


def test_shared_code_names_no_detector():
    names = sorted(path.parent.name for path in (ROOT / "detectors").glob("*/detector.py"))
    assert set(names) <= set(detector_names())
    modules = read_modules(ROOT, ("detectors",))
    apart = tuple(f"detectors.{name}" for name in names)
    shared = {name: module for name, module in modules.items() if not name.startswith(apart)}
    targets = imports(modules)
    words = re.compile(r"\b({})\b".format("|".join(names)), re.I)
    for name, module in shared.items():
        assert not [target for target in targets[name] if target.startswith(apart)], name
        # MVTec LOCO calls some of its anomalies logical, and papers give names to what they measure
        if not name.startswith(("detectors.evaluation", "detectors.metrics", "detectors.official_test")):
            assert not words.search(ast.unparse(module.tree)), name
