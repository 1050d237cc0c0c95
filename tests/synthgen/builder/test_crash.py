"""A build that is killed, or whose workers are, ends up as the same folder as one that was left in peace."""

import json
import random
import signal
import subprocess
import time

import pytest

from tests.support.commands import (
    assert_resumes,
    assert_sound,
    build_arguments,
    environment,
    family,
    gone,
    hooks,
    journal,
    start,
    synthgen,
    tree,
    wait_until,
)

SECONDS_TO_STOP = 5


def kill_once_it_works(root, out, moment):
    """Kill a build some time after its workers started; returns the processes it left behind."""
    process = start(*build_arguments(root, out, "--jobs", 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(out.glob(".progress-*")) or process.poll() is not None)
    time.sleep(moment)
    workers = family(process) if process.poll() is None else []
    process.kill()
    process.wait()
    return workers


def test_killed_at_random_moments(root, whole, tmp_path):
    """Six kills, most of them of the same build, which must not make again what it had finished."""
    moments = random.Random(7)
    out = tmp_path / "out"
    for number in range(6):
        workers = kill_once_it_works(root, out, moments.uniform(0, 0.25) if number else 0)
        before = {name: (out / name).stat().st_ino for name in journal(out)}
        assert_sound(out, whole)
        wait_until(lambda workers=workers: gone(workers), SECONDS_TO_STOP)
        assert_sound(out, whole)
    assert_resumes(root, out, whole)
    assert {name: (out / name).stat().st_ino for name in before} == before


def test_parent_killed_at_every_named_point(root, whole, tmp_path):
    """One after the other, in one folder; at last configuration, journal and manifest are there, in this order."""
    out = tmp_path / "out"
    points = [
        "file-before-replace",
        "journal-before-append",
        "journal-after-append:2",
        "manifest-before",
        "file-before-replace",
        "file-before-replace:2",
    ]
    for point in points:
        killed = synthgen(*build_arguments(root, out, "--jobs", 2), env=environment(SYNTHGEN_FAILPOINT=point))
        assert killed.returncode == -signal.SIGKILL, point
        assert "manifest.json" not in tree(out)
        assert_sound(out, whole)
    assert_resumes(root, out, whole)


@pytest.mark.parametrize(
    ("point", "jobs"),
    [
        ("shard-mid:10", 2),
        ("shard-after-replace:2", 2),
        ("shard-before-open:6", 1),
        ("shard-before-fsync:6", 1),
        ("shard-before-replace:6", 1),
    ],
)
def test_worker_killed_at_a_named_point(root, whole, tmp_path, point, jobs):
    """Each worker dies at its second, third or sixth shard; the build goes on with others."""
    out = tmp_path / "out"
    done = synthgen(*build_arguments(root, out, "--jobs", jobs), env=environment(SYNTHGEN_FAILPOINT=point))
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole


@pytest.mark.parametrize(
    "point",
    [
        "shard-mid:2",
        "shard-before-replace",
        pytest.param("shard-before-open", marks=pytest.mark.slow),
    ],
)
def test_workers_that_always_die_condemn_no_sample(root, whole, tmp_path, point):
    """Leaving samples out did not help, so it was not them: nothing is quarantined, and the build can be resumed."""
    out = tmp_path / "out"
    died = hooks(tmp_path / "hooks", SYNTHGEN_FAILPOINT=point, HOOK_MOST_DEATHS=3)
    failed = synthgen(*build_arguments(root, out, "--jobs", 2), env=died)
    assert failed.returncode == 1
    assert "died 3 times" in failed.stderr
    assert "--jobs 1" in failed.stderr
    assert not list(out.glob("quarantine.json")) + list(out.glob(".tmp-*")) + list(out.glob(".progress-*"))
    assert_sound(out, whole)
    assert_resumes(root, out, whole)


def test_worker_killed_from_outside(root, whole, tmp_path):
    out = tmp_path / "out"
    process = start(*build_arguments(root, out, "--jobs", 2))
    wait_until(lambda: any(out.glob(".progress-*")))
    worker = next(one for one in family(process) if any("LokyProcess" in part for part in one.cmdline()))
    worker.kill()
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert tree(out) == whole


def test_sample_that_kills_its_worker_is_left_out(root, whole, tmp_path):
    out, sample = tmp_path / "out", "folder/ü/002/crack/1"
    poisoned = hooks(tmp_path / "hooks", HOOK_SAMPLE=sample, HOOK_HOW="exit")
    command = build_arguments(root, out, "--max-rejected", 0.1)
    done = synthgen(*command, "--json", env=poisoned)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["quarantined"]) == [sample]
    assert (result["made"], result["rejected"], result["unreadable"]) == (39, 1, 0)
    assert f"left out: {sample}: quarantined" in done.stderr
    after = tree(out)
    assert [name for name in whole if name.endswith(".h5") and after[name] != whole[name]] == ["folder-ü-00002-of-00005.h5"]
    again = synthgen(*command, "--json", env=poisoned)
    assert json.loads(again.stdout) == result | {"already": 40}
    assert tree(out) == after
    assert sample in synthgen("status", out).stdout
    (out / "folder-ü-00002-of-00005.h5").unlink()
    assert synthgen(*command).returncode == 0
    assert tree(out) == after  # it is not tried again


@pytest.mark.parametrize(
    ("where", "deaths"),
    [
        pytest.param({"HOOK_SAMPLE": "folder/ü/002/crack/1"}, 2, id="once in company, once alone"),
        pytest.param({"HOOK_FINISHED_SHARD": "folder-ü-00002-of-00005.h5"}, 3, id="after the last sample"),
    ],
)
def test_sample_whose_workers_died_of_something_else_is_made(root, whole, tmp_path, where, deaths):
    """Too few deaths to condemn it, or not its own."""
    out, counted = tmp_path / "out", tmp_path / "deaths"
    unlucky = hooks(tmp_path / "hooks", **where, HOOK_HOW=f"kill at first {deaths}", HOOK_DEATHS=counted)
    done = synthgen(*build_arguments(root, out, "--jobs", 1), env=unlucky)
    assert done.returncode == 0, done.stderr
    assert counted.read_text() == "x" * (deaths + 1)
    assert tree(out) == whole


def test_image_that_kills_its_worker_is_left_out(root, whole, tmp_path):
    out, source = tmp_path / "out", "ü/002.png"
    poisoned = hooks(tmp_path / "hooks", HOOK_SOURCE=source, HOOK_HOW="kill")
    done = synthgen(*build_arguments(root, out, "--json", "--max-rejected", 0.1), env=poisoned)
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["made"], json.loads(done.stdout)["unreadable"]) == (36, 4)
    assert f"not used: {source}" in done.stderr
    assert len([name for name, digest in tree(out).items() if name.endswith(".h5") and digest == whole[name]]) == 9


def test_sample_that_raises_is_rejected_with_its_reason(root, whole, tmp_path):
    out, sample = tmp_path / "out", "folder/a b/001/corrosion/0"
    cursed = hooks(tmp_path / "hooks", HOOK_SAMPLE=sample, HOOK_HOW="raise")
    done = synthgen(*build_arguments(root, out), env=cursed)
    assert done.returncode == 6
    assert "failed: ValueError" in done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert [name for name, _ in manifest["rejected"]] == [sample]
    assert "is cursed" in manifest["rejected"][0][1]
    assert len([name for name, digest in tree(out).items() if name.endswith(".h5") and digest == whole[name]]) == 9
