"""Parts of a plan, built by separate commands in one folder, add up to the folder of a build in one go."""

import json
import os
import random
import signal
import threading

import pytest

from synthgen.builder import Part
from synthgen.builder.folder import OutputFolder
from synthgen.decisions import decide
from synthgen.errors import UsageError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.terminal.arguments import range_of
from tests.support.commands import (
    assert_sound,
    build_arguments,
    build_normals,
    environment,
    hooks,
    journal,
    start,
    synthgen,
    tree,
    wait_until,
)

_OF_A_PART = (".lock-", "journal-", "quarantine-")
ONE_EACH = {
    "datasets": {"folder": {}},
    "types": ["crack"],
    "per_image": 1,
    "size": 48,
    "foreground": "none",
    "samples_per_shard": 1,
}
_LAST = 9  # number of the last shard of the plan


def part_of(root, out, shards, *more):
    part = ("--jobs", 1, "--shards", shards)
    return build_arguments(root, out, *part, *more)


def assert_completes(root, out, whole, missing=0):
    """A build without --shards makes the shards that are missing, and leaves no trace of the parts."""
    before = {path.name: path.stat().st_ino for path in out.glob("*.h5")}
    assert "manifest.json" not in tree(out)
    assert_sound(out, whole | dict.fromkeys(left_by_parts(out), None) | digests(out, left_by_parts(out)))
    done = synthgen(*build_arguments(root, out, "--jobs", 1, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["already"] == 4 * (_LAST + 1 - missing)
    assert tree(out) == whole
    assert [path.name for path in out.glob(".*")] == [".lock"]
    after = {path.name: path.stat().st_ino for path in out.glob("*.h5")}
    assert len(after.items() - before.items()) == missing


def left_by_parts(out):
    return [name for name in tree(out) if name.startswith(_OF_A_PART)]


def without_locks(out):
    return {name: digest for name, digest in tree(out).items() if not name.startswith(".lock")}


def digests(out, names):
    return {name: digest for name, digest in tree(out).items() if name in names}


def test_two_parts_at_the_same_time(root, whole, tmp_path):
    """Both run at once for a time (neither ends before the other works), as jobs of an array do."""
    out = tmp_path / "out"
    running = [start(*part_of(root, out, shards, "--json"), start_new_session=True) for shards in ("0-4", f"5-{_LAST}")]
    results = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0], results
    assert [json.loads(stdout)["shards"] for stdout, _ in results] == [5, 5]
    assert {"journal-0-4.jsonl", "journal-5-9.jsonl"} < tree(out).keys()
    assert not journal(out)
    state = json.loads(synthgen("status", out, "--json").stdout)
    assert (state["state"], state["shards"]) == ("unfinished", [10, 10])
    assert_completes(root, out, whole)


def test_parts_that_start_in_the_same_moment_all_find_the_folder_theirs(root, tmp_path):
    """Nobody takes the configuration that another part is just writing for the files of a stranger."""
    plan = make_plan(decide(make_recipe(ONE_EACH), {"folder": root}))
    failures = []

    def enter(out, number, gate):
        gate.wait()
        try:
            with OutputFolder(out, plan, Part(number, number)):
                pass
        except UsageError as error:
            failures.append(error)

    for trial in range(30):
        gate = threading.Barrier(5)
        threads = [threading.Thread(target=enter, args=(tmp_path / str(trial), number, gate)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_single_shard(root, whole, tmp_path):
    out = tmp_path / "out"
    done = synthgen(*part_of(root, out, _LAST, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["planned"] == 4
    assert len(list(out.glob("*.h5"))) == 1
    assert_completes(root, out, whole, missing=_LAST)


def test_overlapping_parts_make_no_shard_twice(root, whole, tmp_path):
    """One after the other; the last range reaches beyond the plan."""
    out = tmp_path / "out"
    for shards, already in (("0-5", 0), ("3-7", 12), ("6-20", 8)):
        done = synthgen(*part_of(root, out, shards, "--json"))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["already"] == already
    assert_completes(root, out, whole)


class Held:
    """A running command that is stopped in its tracks while it makes a shard, and goes on when the block is left."""

    def __init__(self, out, *arguments):
        self._out = out
        self._process = start(*arguments, start_new_session=True)

    def __enter__(self):
        wait_until(lambda: any(self._out.glob(".progress-*")) or self._process.poll() is not None)
        assert self._process.poll() is None
        os.killpg(self._process.pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        os.killpg(self._process.pid, signal.SIGCONT)
        _, err = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, err


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("0-4", None, id="full build while a part runs"),
        pytest.param(None, "0-4", id="part while a full build runs"),
        pytest.param("0-4", "0-4", id="the same part", marks=pytest.mark.slow),
        pytest.param("0-4", "4-6", id="a part with a shard in common"),
    ],
)
def test_who_would_make_the_same_shards_is_refused(root, whole, tmp_path, first, second):
    out = tmp_path / "out"
    one, other = (
        part_of(root, out, shards) if shards else build_arguments(root, out, "--jobs", 1) for shards in (first, second)
    )
    with Held(out, *one):
        before = without_locks(out)
        refused = synthgen(*other)
        assert refused.returncode == 2
        assert "another build is running there" in refused.stderr
        assert without_locks(out) == before
    if first:
        assert_completes(root, out, whole, missing=5)
    else:
        assert tree(out) == whole


def test_part_beside_a_part_that_is_at_work_touches_nothing_of_it(root, whole, tmp_path):
    out = tmp_path / "out"
    with Held(out, *part_of(root, out, "0-4")):
        mine = {path.name for path in out.glob(".tmp-*")} | {path.name for path in out.glob(".progress-*")}
        assert mine
        assert synthgen(*part_of(root, out, "5-9")).returncode == 0
        assert mine <= {path.name for path in out.iterdir()}
    assert_completes(root, out, whole)


def test_shard_names_that_end_alike_are_told_apart(tmp_path):
    """`a-folder-b` ends like `b`: a part with one must not sweep the other's files away."""
    root = build_normals(tmp_path / "root", per_category=1)
    (root / "a b").rename(root / "a-folder-b")
    (root / "ü").rename(root / "b")
    plan = make_plan(decide(make_recipe(ONE_EACH), {"folder": root}))
    names = [shard.name for shard in plan.shards]
    assert names[0].endswith(names[1])
    with OutputFolder(tmp_path / "out", plan, Part(1, 1)) as folder:
        for name in names:
            (tmp_path / "out" / f".progress-{name}").touch()
            (tmp_path / "out" / f".tmp-{name}-host-1").touch()
        folder.sweep()
        left = {path.name for path in (tmp_path / "out").glob(".[pt]*")}
    assert left == {f".progress-{names[0]}", f".tmp-{names[0]}-host-1"}


def test_killed_part_resumes(root, whole, tmp_path):
    """Killed at random moments and at named points; the same part again makes the rest of it."""
    out, moments = tmp_path / "out", random.Random(5)
    assert synthgen(*part_of(root, out, "0-2")).returncode == 0
    for point in ("journal-after-append", "journal-before-append"):
        killed = synthgen(*part_of(root, out, "3-9"), env=environment(SYNTHGEN_FAILPOINT=point))
        assert killed.returncode == -signal.SIGKILL
    process = start(*part_of(root, out, "3-9"))
    wait_until(lambda: any(out.glob(".progress-*")))
    with pytest.raises(Exception, match="timed out"):
        process.communicate(timeout=moments.uniform(0, 0.2))
    process.kill()
    process.communicate()
    done = synthgen(*part_of(root, out, "3-9", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["already"] >= 4
    assert_completes(root, out, whole)


def test_full_build_takes_over_a_killed_part(root, whole, tmp_path):
    out = tmp_path / "out"
    assert synthgen(*part_of(root, out, "0-2")).returncode == 0
    synthgen(*part_of(root, out, "3-9"), env=environment(SYNTHGEN_FAILPOINT="journal-after-append:2"))
    assert_completes(root, out, whole, missing=5)


@pytest.mark.parametrize("point", ["manifest-before", "file-before-replace", "file-before-replace:2"])
def test_completing_build_killed_while_it_takes_the_parts_in(root, whole, tmp_path, point):
    out = tmp_path / "out"
    for shards in ("0-4", "5-9"):
        assert synthgen(*part_of(root, out, shards)).returncode == 0
    killed = synthgen(*build_arguments(root, out), env=environment(SYNTHGEN_FAILPOINT=point))
    assert killed.returncode == -signal.SIGKILL
    assert_completes(root, out, whole)


def test_what_a_part_quarantined_stays_left_out(root, whole, tmp_path):
    """The sample that killed a part's worker is in the completed dataset's quarantine, as after a build in one go."""
    out, sample = tmp_path / "out", "folder/ü/002/crack/1"
    poisoned = hooks(tmp_path / "hooks", HOOK_SAMPLE=sample, HOOK_HOW="exit")
    done = synthgen(*part_of(root, out, "5-9", "--max-rejected", 0.1), env=poisoned)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "quarantine-5-9.json").read_text()).keys() == {sample}
    done = synthgen(*build_arguments(root, out, "--max-rejected", 0.1))
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "quarantine.json").read_text()).keys() == {sample}
    assert not left_by_parts(out)
    after = tree(out)
    assert [name for name in whole if name.endswith(".h5") and after[name] != whole[name]] == ["folder-ü-00002-of-00005.h5"]


def test_part_of_another_plan_is_refused(root, whole, tmp_path):
    out = tmp_path / "out"
    assert synthgen(*part_of(root, out, "0-4")).returncode == 0
    refused = synthgen(*part_of(root, out, "5-9", "--seed", 1))
    assert refused.returncode == 2
    assert "seed: 0 -> 1" in refused.stderr


def test_folder_of_others_is_left_as_it_is(root, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    refused = synthgen(*part_of(root, out, "0-4"))
    assert refused.returncode == 2
    assert "no build of ours" in refused.stderr
    assert [path.name for path in out.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1-2-3", "1,2", "1.5", "", "0-49 "])
def test_what_is_no_range(text):
    with pytest.raises(UsageError, match=f"--shards {text}: expected"):
        range_of(text)


@pytest.mark.parametrize(("first", "last"), [(10, 10), (10, 12), (4, 3)])
def test_range_that_the_plan_does_not_have(root, first, last):
    with pytest.raises(UsageError, match=f"--shards {first}-{last}: the plan has shards 0 to 9"):
        Part(first, last).of(make_plan(decide(make_recipe(ONE_EACH), {"folder": root})))


@pytest.mark.parametrize("shards", ["10", "x"])
def test_bad_range_makes_no_folder(root, tmp_path, shards):
    refused = synthgen(*part_of(root, tmp_path / "out", shards))
    assert refused.returncode == 2
    assert f"--shards {shards}" in refused.stderr
    assert not (tmp_path / "out").exists()
