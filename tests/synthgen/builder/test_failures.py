"""A bug in an anomaly type cannot hide: draws that raise are counted by type and said; above 1 % the build ends with 6."""

import json
import re

import pytest

from synthgen.builder.folder import Failures, ShardReport, count_failures, finished_shards
from synthgen.shards import ShardDataset, ShardInfo
from tests.support.commands import build_normals, synthgen
from tests.support.plug_ins import documented_type, install

BUGS = {
    "raises": 'raise ValueError(f"a radius of {rng.integers(9)}")',
    "misspells": "surface.foregrund",
}


def buggy(how, share):
    """The documented type, which fails in this share of its draws."""
    head = "    ys, xs = np.nonzero(surface.foreground)\n"
    code = documented_type()
    assert code.count(head) == 1
    return code.replace(head, f"{head}    if rng.random() < {share}:\n        {BUGS[how]}\n")


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    return build_normals(tmp_path_factory.mktemp("normals"), per_category=4, size=64)


def arguments(root, out, per_image=3):
    grease = ("--types", "grease,spot", "--per-image", per_image, "--set", "grease.size_range=0.1,0.3")
    return (
        "build",
        "--dataset",
        "folder",
        "--root",
        root,
        "--size",
        64,
        *grease,
        "--samples-per-shard",
        12,
        "--out",
        out,
        "-j",
        2,
    )


@pytest.fixture(scope="module")
def built(normals, tmp_path_factory):
    """A set whose type fails in a third of its draws; what the build said; and the environment."""
    place = tmp_path_factory.mktemp("third")
    env = install(place / "site", buggy("raises", 1 / 3))
    return place / "out", synthgen(*arguments(normals, place / "out"), env=env), env


def told(text):
    """How many of a type's draws failed, as a line says."""
    (line,) = [line for line in text.splitlines() if "draws failed" in line and "bug" in line]
    count, draws = map(int, re.search(r"grease: (\d+) of (\d+) draws failed \(", line).groups())
    assert "the first with ValueError: a radius of" in line
    return count, draws


def test_a_type_that_raises_in_a_third_of_its_draws_ends_the_build_with_6(built):
    out, done, _ = built
    count, draws = told(done.stderr)
    assert 0.15 < count / draws < 0.5
    assert done.returncode == 6
    assert "bug of the type" in done.stderr
    assert "leave the type out" in done.stderr
    assert "spot:" not in done.stderr
    samples = [sample for sample in ShardDataset(out) if sample.spec.type == "grease"]
    assert all(sample.label for sample in samples)  # nothing else would tell
    assert draws == sum(sample.attempt + 1 for sample in samples)


def test_manifest_info_and_report_say_it(built, tmp_path):
    out, done, env = built
    count, draws = told(done.stderr)
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["failed"]) == ["grease"]
    assert (manifest["failed"]["grease"]["count"], manifest["failed"]["grease"]["draws"]) == (count, draws)
    assert not any(reason.startswith("failed") for types in manifest["redrawn"].values() for reason in types.get("grease", {}))
    assert told(synthgen("info", out, env=env).stdout) == (count, draws)
    assert json.loads(synthgen("info", out, "--json", env=env).stdout)["failed"] == manifest["failed"]
    synthgen("report", out, "--out", tmp_path / "page.html", env=env)
    assert f"grease: {count} of {draws} draws failed" in (tmp_path / "page.html").read_text()


def test_what_failed_in_an_earlier_run_counts_when_a_build_goes_on(built, normals):
    out, done, env = built
    manifest = (out / "manifest.json").read_bytes()
    with_failures = [name for name, shard in finished_shards(out).items() if shard.failed]
    assert len(with_failures) > 1
    (out / "manifest.json").unlink()
    (out / with_failures[0]).unlink()
    so_far = json.loads(synthgen("info", out, "--json", env=env).stdout)["failed"]["grease"]
    assert 0 < so_far["count"] < told(done.stderr)[0]
    again = synthgen(*arguments(normals, out), env=env)
    assert again.returncode == 6
    assert told(again.stderr) == told(done.stderr)
    assert (out / "manifest.json").read_bytes() == manifest


def test_a_rare_failure_is_said_but_not_fatal(normals, tmp_path):
    env = install(tmp_path / "site", buggy("misspells", 0.004))
    done = synthgen(*arguments(normals, tmp_path / "out", per_image=40), "--json", env=env)
    grease = json.loads(done.stdout)["failed"]["grease"]
    assert 0 < grease["count"] < 0.01 * grease["draws"]
    assert done.returncode == 0, done.stderr
    assert f"grease: {grease['count']} of {grease['draws']} draws failed" in done.stderr
    assert "the first with AttributeError: 'Surface' object has no attribute 'foregrund'" in done.stderr


def report(**changes):
    return ShardReport(ShardInfo(name="a.h5", n=4, bytes=9, sha256="", content_sha256=""), **changes)


def test_every_draw_is_accepted_refused_or_failed():
    reports = [
        report(made={"spot": 3, "crack": 2}, redrawn={"spot": {"too small": 2, "too large": 1}}, failed={"spot": (1, "E: a")}),
        report(made={"spot": 1}, failed={"spot": (2, "E: b"), "zone": (8, "F: c")}),
    ]
    assert count_failures(reports) == {"spot": Failures(3, 10, "E: a"), "zone": Failures(8, 8, "F: c")}
    assert count_failures([report(made={"spot": 3})]) == {}


def test_a_journal_from_before_failures_were_counted_apart_loads(built):
    out, _, _ = built
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    assert any(line["failed"] for line in lines)
    for line in lines:
        new = ShardReport.from_json(line)
        old = ShardReport.from_json({name: value for name, value in line.items() if name != "failed"})
        assert (old.failed, old.made, old.shard) == ({}, new.made, new.shard)
