"""Anomaly types of other packages: that of the documentation, and broken ones."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from synthgen.anomalies.contract import AnomalyType
from synthgen.shards import ShardDataset
from tests.support.commands import build_normals, environment, synthgen
from tests.support.paths import ROOT
from tests.support.plug_ins import documented_type, install


@pytest.fixture(scope="module")
def documented():
    return documented_type()


def test_the_documented_type_is_one_like_the_others(documented, tmp_path):
    there = install(tmp_path / "site", documented)
    assert "grease" in synthgen("list", "types", env=there).stdout
    root = build_normals(tmp_path / "normals", per_category=3, size=96)
    common = [
        "--dataset",
        "folder",
        "--root",
        root,
        "--size",
        96,
        "--types",
        "crack,grease",
        "--set",
        "grease.size_range=0.1,0.3",
    ]
    for out, jobs in (("one", 1), ("two", 2)):
        done = synthgen("build", *common, "--out", tmp_path / out, "-j", jobs, env=there)
        assert done.returncode == 0, done.stderr
        assert "draws failed" not in done.stderr
        assert "failed" not in json.loads((tmp_path / out / "manifest.json").read_text())
    samples = [sample for sample in ShardDataset(tmp_path / "one") if sample.spec.type == "grease"]
    assert len(samples) == 18
    for sample in samples:
        assert sample.label
        assert sample.spec.generator == "grease 1"
        changed = (sample.image != sample.normal).any(-1)
        assert not (sample.mask.astype(bool) & ~changed).any()
        y0, x0, y1, x1 = sample.box
        changed[y0:y1, x0:x1] = False
        assert not changed.any()
    assert synthgen("diff", tmp_path / "one", tmp_path / "two", env=there).returncode == 0
    done = synthgen("replay", samples[0].spec.sample_id, "--in", tmp_path / "one", "--root", root, env=there)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "target", "told"),
    [
        ("raise RuntimeError('out of grease')", "my_defects:GREASE", "out of grease"),
        ("GREASE = 3", "my_defects:GREASE", "is no AnomalyType"),
        ("from synthgen.anomalies.crack import CRACK", "my_defects:CRACK", "there is an anomaly type crack already"),
        ("", "my_defects:GREASE", "cannot be loaded"),
    ],
)
def test_a_broken_one_is_named_with_the_way_out(tmp_path, code, target, told):
    done = synthgen("list", "types", env=install(tmp_path / "site", code, target))
    assert done.returncode == 2
    assert told in done.stderr
    assert "uninstall my-defects" in done.stderr


def test_what_a_plug_in_needs_comes_without_the_types_themselves():
    """Or a plug-in, which the registry loads, would load the registry."""
    code = (
        "import sys; from synthgen.anomalies import *; assert AnomalyType; print(*(n for n in sys.modules if 'anomalies' in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert set(done.stdout.split()) == {"synthgen.anomalies", "synthgen.anomalies.contract"}


def test_a_type_is_made_by_keyword(documented):
    """Two of its seven parts that changed places would be found much later."""
    scope = {}
    exec(documented, scope)
    kind = scope["GREASE"]
    parts = [getattr(kind, field.name) for field in fields(kind)]
    with pytest.raises(TypeError, match="positional"):
        AnomalyType(*parts)
    assert AnomalyType(**dict(zip((field.name for field in fields(kind)), parts, strict=True))) == kind


def test_a_type_checker_tells_settings_and_parameters_that_do_not_fit(documented, tmp_path):
    pytest.importorskip("mypy")
    swapped = documented.replace("settings=GreaseSettings", "settings=OtherSettings").replace(
        "class GreaseSettings", "class OtherSettings(TypeSettings):\n    pass\n\n\nclass GreaseSettings"
    )
    assert swapped != documented
    (tmp_path / "fits.py").write_text(documented)
    (tmp_path / "does_not.py").write_text(swapped)
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", "fits.py", "does_not.py"],
        cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert "does_not.py" in told.stdout
    assert "arg-type" in told.stdout
    assert "fits.py" not in told.stdout
