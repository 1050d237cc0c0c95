"""A build that is stopped, starved of space, or whose folder was damaged: it says so, and the same command goes on."""

import json
import os
import resource
import shlex
import shutil
import signal
import time

import pytest

from tests.support.commands import (
    assert_resumes,
    assert_sound,
    build_arguments,
    environment,
    family,
    gone,
    start,
    synthgen,
    tree,
    wait_until,
)

SECONDS_TO_STOP = 5


@pytest.fixture(scope="module")
def begun(root, tmp_path_factory):
    """The folder of a build that was killed when its first shard was there; not to be written."""
    out = tmp_path_factory.mktemp("begun") / "out"
    synthgen(*build_arguments(root, out, "--jobs", 1), env=environment(SYNTHGEN_FAILPOINT="journal-before-append"))
    return out


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
)
def test_interrupted(root, whole, tmp_path, number, group):
    """Ctrl-C and a polite kill, to the build alone or to the workers as well, as terminals and systems do."""
    out = tmp_path / "out"
    process = start(*build_arguments(root, out, "--jobs", 2), start_new_session=True)
    wait_until(lambda: any(out.glob(".progress-*")))
    workers = family(process)
    began = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    stdout, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert time.monotonic() - began < SECONDS_TO_STOP
    assert "Traceback" not in err
    assert stdout == ""
    assert not list(out.glob(".tmp-*")) + list(out.glob(".progress-*"))
    wait_until(lambda: gone(workers), SECONDS_TO_STOP)
    assert_sound(out, whole)
    command = shlex.split(err.strip().splitlines()[-1])
    assert command[0] == "synthgen"
    assert synthgen(*command[1:]).returncode == 0
    assert tree(out) == whole


def test_second_build_in_the_same_folder_refuses(root, whole, tmp_path):
    out = tmp_path / "out"
    first = start(*build_arguments(root, out, "--jobs", 1))
    wait_until(lambda: any(out.glob(".progress-*")))
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = synthgen(*build_arguments(root, out))
        state = json.loads(synthgen("status", out, "--json").stdout)["state"]
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.communicate()
    assert (second.returncode, first.returncode) == (2, 0)
    assert "another build is running" in second.stderr
    assert state == "running"
    assert tree(out) == whole


def limited(limit):
    """For a process in which no file may grow beyond `limit` bytes: what a full disk is to whoever writes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("share", [None, 0.002, 0.3, 0.999])
def test_full_disk(root, begun, whole, tmp_path, share):
    out = tmp_path / "out"
    limit = 100  # bytes: too few for the configuration
    if share is not None:
        shutil.copytree(begun, out)
        limit = int(share * min(path.stat().st_size for path in out.glob("*.h5")))
    full = synthgen(*build_arguments(root, out, "--jobs", 2), preexec_fn=limited(limit))
    assert full.returncode == 5, full.stderr
    assert "are free there" in full.stderr
    assert "again" in full.stderr
    assert not list(out.glob(".tmp-*")) + list(out.glob(".progress-*"))
    assert_sound(out, whole)
    assert_resumes(root, out, whole)


def test_disk_full_for_the_journal(root, begun, whole, tmp_path):
    out = shutil.copytree(begun, tmp_path / "out")
    (out / "journal.jsonl").write_bytes(b" " * (1 << 20) + b"\n")  # so that it is what does not fit
    full = synthgen(*build_arguments(root, out), preexec_fn=limited((1 << 20) + 100))
    assert full.returncode == 5, full.stderr
    assert "journal.jsonl: cannot be written" in full.stderr
    assert_resumes(root, out, whole)


@pytest.mark.parametrize("damage", ["deleted", "cut", "torn line", "no journal"])
def test_only_what_is_missing_is_made_again(root, built, whole, tmp_path, damage):
    out = shutil.copytree(built, tmp_path / "out")
    shards = sorted(out.glob("*.h5"))
    journal_path, victim = out / "journal.jsonl", shards[-1]
    lines = journal_path.read_bytes().splitlines(keepends=True)
    if damage == "deleted":
        victim.unlink()
    elif damage == "cut":
        os.truncate(victim, victim.stat().st_size - 1)
    elif damage == "torn line":
        journal_path.write_bytes(b"".join(lines)[:-40])
    else:
        journal_path.unlink()
    before = {path: path.stat().st_ino for path in shards if path.exists()}
    state = json.loads(synthgen("status", out, "--json").stdout)
    assert state["state"] == "unfinished"
    assert state["shards"] == [0 if damage == "no journal" else 9, 10]
    assert_resumes(root, out, whole)
    made_again = [path for path, inode in before.items() if path.stat().st_ino != inode]
    assert set(made_again) <= (set(shards) if damage == "no journal" else {victim})


def test_what_is_added_after_a_torn_line_counts(root, built, whole, tmp_path):
    """A kill tore the journal's last line; the next build is killed as well, as soon as it has that shard again."""
    out = shutil.copytree(built, tmp_path / "out")
    (out / "manifest.json").unlink()
    journal_path = out / "journal.jsonl"
    journal_path.write_bytes(journal_path.read_bytes()[:-40])
    killed = synthgen(*build_arguments(root, out, "--jobs", 1), env=environment(SYNTHGEN_FAILPOINT="journal-after-append"))
    assert killed.returncode == -signal.SIGKILL
    assert json.loads(synthgen("status", out, "--json").stdout)["shards"] == [10, 10]
    done = json.loads(synthgen(*build_arguments(root, out, "--json")).stdout)
    assert done["already"] == done["planned"]
    assert tree(out) == whole


def test_damaged_manifest_is_restored(root, built, whole, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    (out / "manifest.json").write_bytes(b'{"shards": [')
    for verb in ("info", "verify"):
        failed = synthgen(verb, out)
        assert failed.returncode == 4
        assert "manifest.json" in failed.stderr
    assert_resumes(root, out, whole)


@pytest.mark.parametrize("text", ["", "[]"])
def test_damaged_configuration_is_an_error_with_a_way_out(root, built, tmp_path, text):
    out = shutil.copytree(built, tmp_path / "out")
    (out / "config.json").write_bytes(text.encode())
    for command in (["status", out], build_arguments(root, out)):
        failed = synthgen(*command)
        assert failed.returncode == 4
        assert "config.json" in failed.stderr
        assert "remove the folder, or choose another" in failed.stderr
