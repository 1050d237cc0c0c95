"""What a build makes depends on its plan alone, and on disk it is what synthesis makes in memory."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthgen.builder import build
from synthgen.builder.task import ShardTask, build_shard
from synthgen.decisions import decide
from synthgen.errors import StorageError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.shards import ShardDataset, verify
from synthgen.synthesis import SynthesisDataset
from tests.support.builders import picture, snapshot, write
from tests.support.commands import build_arguments, environment, synthgen, tree
from tests.support.shard_samples import assert_same

VALUES = {
    "name": "folder",
    "datasets": {"folder": {}},
    "types": ["crack", "corrosion"],
    "per_image": 2,
    "size": 48,
    "foreground": "none",
    "samples_per_shard": 4,
}


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """The folder of a build with one worker; not to be written."""
    out = tmp_path_factory.mktemp("built") / "out"
    build(plan_of(root), out, jobs=1)
    return out


def plan_of(root, **changes):
    return make_plan(decide(make_recipe(VALUES | changes), {"folder": root}))


def test_any_number_of_workers_gives_the_same_folder(root, built, tmp_path):
    before = snapshot(root)
    for jobs in (2, 3):
        build(plan_of(root), tmp_path / str(jobs), jobs=jobs)
        assert tree(tmp_path / str(jobs)) == tree(built)
    assert snapshot(root) == before


def test_order_in_which_shards_are_finished_leaves_no_trace(root, built, tmp_path):
    """Some shards at first, those left out by taking their lines and files away; then the others, in other processes."""
    out = shutil.copytree(built, tmp_path / "out")
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    for line in lines[4:]:
        (out / json.loads(line)["shard"]["name"]).unlink()
    (out / "journal.jsonl").write_text("".join(lines[:4]))
    (out / "manifest.json").unlink()
    result = build(plan_of(root), out, jobs=2)
    assert (result.already, result.made) == (16, 40)
    assert tree(out) == tree(built)


def test_a_second_build_makes_nothing(root, built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    inodes = {path: path.stat().st_ino for path in out.glob("*.h5")}
    told = []
    result = build(plan_of(root), out, on_samples=told.append)
    assert (result.already, result.planned) == (40, 40)
    assert told == [40]
    assert {path: path.stat().st_ino for path in out.glob("*.h5")} == inodes


def test_progress_never_goes_back_and_ends_at_all_samples(root, tmp_path):
    told = []
    build(plan_of(root, per_image=1), tmp_path / "out", jobs=2, on_samples=told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 20)


@pytest.mark.parametrize("changes", [{"samples_per_shard": 9}, {"layout": "dense"}, {"base_compression": "gzip"}])
def test_how_samples_are_stored_changes_no_sample(root, built, tmp_path, changes):
    build(plan_of(root, **changes), tmp_path / "out", jobs=2)
    ours, others = ShardDataset(tmp_path / "out"), ShardDataset(built)
    assert sorted(ours.ids) == sorted(others.ids)
    for name in ours.ids:
        assert_same(ours[ours.index(name)], others[others.index(name)])
    if "samples_per_shard" in changes:
        assert not {path.name for path in built.glob("*.h5")} & {path.name for path in (tmp_path / "out").glob("*.h5")}
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("layout", ["delta", "dense"])
def test_on_disk_and_in_memory_it_is_the_same(root, tmp_path, layout):
    plan = plan_of(root, layout=layout, types=["crack", "corrosion", "deformation"], per_image=1, strength="strong")
    build(plan, tmp_path / "out", jobs=2)
    stored, made = ShardDataset(tmp_path / "out"), SynthesisDataset(plan)
    assert len(stored) == len(made) == 30
    for one, other in zip(stored, made, strict=True):
        assert_same(one, other)
    assert sum(sample.label for sample in stored) > 20


@pytest.mark.parametrize("changes", [{"types": ["crack"]}, {"datasets": {"folder": {"categories": ["ü"]}}}, {"per_image": 1}])
def test_what_else_is_made_changes_no_sample(root, built, changes):
    """Other types, categories and counts: a sample that both plans have is the same in both."""
    part, whole = SynthesisDataset(plan_of(root, **changes)), ShardDataset(built)
    assert 0 < len(part) < len(whole)
    for sample in part:
        assert_same(sample, whole[whole.index(sample.spec.sample_id)])


def test_another_seed_gives_other_samples(root, built):
    one, other = ShardDataset(built)[0], SynthesisDataset(plan_of(root, seed=1))[0]
    assert one.spec == other.spec
    assert not np.array_equal(one.image, other.image)


def test_manifest_adds_up(root, built):
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["planned"] == 40 == sum(shard["n"] for shard in manifest["shards"])
    made = sum(count for types in manifest["made"].values() for count in types.values())
    assert made + len(manifest["rejected"]) == 40
    assert list(manifest["made"]) == ["folder/a b", "folder/ü"]
    assert {shard["name"] for shard in manifest["shards"]} == {path.name for path in built.glob("*.h5")}


def test_nothing_about_time_or_place_is_in_the_folder(root, built):
    """No path, no process."""
    for path in built.iterdir():
        content = path.read_bytes()
        for secret in (str(root).encode(), str(built).encode(), f"-{os.getpid()}".encode()):
            assert secret not in content, path


def test_categories_of_similar_names_have_shards_of_their_own(tmp_path):
    """Names that look alike once they are made fit for a file must not share one."""
    for number, category in enumerate(("a b", "a_b", "a!b")):
        write(tmp_path / "root" / category / "0.png", picture(number, 48, 48))
    plan = plan_of(tmp_path / "root", types=["crack"])
    assert len({shard.name for shard in plan.shards}) == len(plan.shards) == 3


def test_image_that_vanished_after_planning_is_reported(root, tmp_path):
    """Deleted, or damaged in the middle where its header does not tell: its samples are absent, all others are there."""
    for path in root.rglob("*.png"):
        write(tmp_path / "root" / path.relative_to(root), picture(1, 48, 48))
    plan = plan_of(tmp_path / "root")
    gone, damaged = tmp_path / "root/ü/000.png", tmp_path / "root/a b/004.png"
    gone.unlink()
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    damaged.write_bytes(data)
    result = build(plan, tmp_path / "out", jobs=2)
    assert (result.unreadable, result.made + result.rejected) == (8, 32)
    reasons = dict(pair for report in result.reports for pair in report.unreadable)
    assert sorted(reasons) == ["a b/004.png", "ü/000.png"]
    assert "moved" in reasons["ü/000.png"]
    assert len(ShardDataset(tmp_path / "out", verify=True)) == 32
    assert verify(tmp_path / "out") == []


def test_damaged_image_decides_the_exit_status_by_max_rejected(root, tmp_path):
    for path in root.rglob("*.png"):
        write(tmp_path / "root" / path.relative_to(root), picture(1, 48, 48))
    damaged = tmp_path / "root/a b/004.png"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    damaged.write_bytes(data)
    for allowed, status in ((0.05, 6), (0.2, 0)):
        done = synthgen(*build_arguments(tmp_path / "root", tmp_path / "out", "--max-rejected", allowed))
        assert done.returncode == status, done.stderr
        assert "not used: a b/004.png" in done.stderr
        assert done.stdout == f"{tmp_path / 'out'}\n"
    assert "4  normal image unreadable" in synthgen(*build_arguments(tmp_path / "root", tmp_path / "out")).stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_disk_full_for_the_note_of_how_far_a_worker_is(root, tmp_path):
    plan = plan_of(root)
    shard, (method, *_) = plan.shards[0], plan.methods.values()
    task = ShardTask(
        folder=tmp_path,
        shard=shard,
        recipe=plan.recipe,
        method=method,
        config_json=plan.config_json,
        licence="CC0",
        quarantined={},
    )
    task.progress_path.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left on device"):
        build_shard(task)
    assert list(tmp_path.iterdir()) == []
    assert build_shard(task).shard.n == 4


def test_build_from_a_thread_needs_no_signals(root, built, tmp_path):
    """A program may build outside its main thread, where Python allows no signal handlers."""
    code = (
        "import sys, threading; from pathlib import Path; from synthgen.builder import build;"
        "from synthgen.decisions import decide; from synthgen.plan import make_plan; from synthgen.recipe import make_recipe;"
        f"plan = make_plan(decide(make_recipe({VALUES!r}), {{'folder': Path(sys.argv[1])}}));"
        "worker = threading.Thread(target=build, args=(plan, Path(sys.argv[2]), 2)); worker.start(); worker.join()"
    )
    done = subprocess.run([sys.executable, "-c", code, root, tmp_path / "out"], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == tree(built)
