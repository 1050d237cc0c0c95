"""The command as users run it, in this process or one of its own, and hooks that make a sample or an image kill a worker."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from synthgen.cli import main
from tests.support.builders import picture, write

COMMAND = [sys.executable, "-c", "from synthgen.cli import main; main()"]
CATEGORIES = ("a b", "ü")
_OF_THE_CALLER = {"SYNTHGEN_DATA", "SYNTHGEN_FAILPOINT", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS"}

_HOOKS = """
import os, signal
import synthgen.builder.driver as driver, synthgen.builder.task as task, synthgen.synthesis as synthesis

driver._MOST_DEATHS = int(os.environ.get("HOOK_MOST_DEATHS", driver._MOST_DEATHS))
plain_generator, plain_prepare = synthesis.sample_generator, task.prepare

def harm(name, how):
    if how == "raise":
        raise ValueError(f"{name} is cursed")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how.startswith("kill at first"):  # "kill at first 2": that often
        with open(os.environ["HOOK_DEATHS"], "a") as deaths:
            deaths.write("x")
        if os.path.getsize(os.environ["HOOK_DEATHS"]) <= int(how.split()[-1]):
            os.kill(os.getpid(), signal.SIGKILL)

class Writer(task.ShardWriter):
    def finish(self):
        if self.path.name == os.environ.get("HOOK_FINISHED_SHARD"):
            harm(self.path.name, os.environ["HOOK_HOW"])
        return super().finish()

def sample_generator(seed, sample_id, attempt):
    if sample_id == os.environ.get("HOOK_SAMPLE"):
        harm(sample_id, os.environ["HOOK_HOW"])
    return plain_generator(seed, sample_id, attempt)

def prepare(source, *rest):
    if source.source == os.environ.get("HOOK_SOURCE"):
        harm(source.source, os.environ["HOOK_HOW"])
    return plain_prepare(source, *rest)

synthesis.sample_generator, task.prepare, task.ShardWriter = sample_generator, prepare, Writer
"""


def environment(**changes):
    """What a command sees: this checkout and this process' cache, and nothing of the caller's that changes its output."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_THE_CALLER}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **{k: str(v) for k, v in changes.items()}}


def start(*arguments, **options):
    """A running command, with its output in pipes."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment(), **options}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **options)


def synthgen(*arguments, **options):
    """A finished command: its exit status, stdout and stderr. It never shows a traceback or an escape code.

    It runs in this process, where all is imported already, unless `options` give it an environment, a folder, or whatever
    else only a process of its own can have.
    """
    done = in_a_process(*arguments, **options) if options else in_this_process(main, "synthgen", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


def in_a_process(*arguments, **options):
    """A command that has ended, in a process of its own."""
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def in_this_process(program, name, *arguments):
    """What a command's `main` does here; an error that it does not expect is the caller's."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for variable in _OF_THE_CALLER:
            patch.delenv(variable, raising=False)
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            program()
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess([name, *arguments], status, out.getvalue(), err.getvalue())


def hooks(folder, **changes):
    """An environment in which every process, worker or not, has the hooks above."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_HOOKS)
    plain = environment(**changes)
    return {**plain, "PYTHONPATH": os.pathsep.join([str(folder), plain["PYTHONPATH"]])}


def build_normals(root, per_category=5, size=48):
    """Two categories of plain images, whose names have a space and an umlaut."""
    for c, category in enumerate(CATEGORIES):
        for number in range(per_category):
            write(Path(root) / category / f"{number:03}.png", picture(20 * c + number, size, size))
    return Path(root)


def build_arguments(root, out, *more, per_image=2):
    """A build of one shard per normal image, with 2 * `per_image` samples each."""
    what = ["--types", "crack,corrosion", "--per-image", per_image, "--size", 48, "--foreground", "none"]
    return ["build", "--dataset", "folder", "--root", root, *what, "--samples-per-shard", 2 * per_image, "--out", out, *more]


def tree(folder):
    """Path -> digest of every file in a folder but the locks."""
    digests = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith(".lock"):
            with contextlib.suppress(FileNotFoundError):  # a worker that outlives its build by a moment sweeps up after itself
                digests[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def journal(folder):
    """The names of the shards in a folder's journal, in order; a torn line is passed over."""
    names = []
    path = Path(folder) / "journal.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            names.append(json.loads(line)["shard"]["name"])
        except ValueError:
            continue
    return names


def wait_until(true, seconds=30):
    """Wait for a condition, and fail if it does not come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def assert_sound(out, whole):
    """Every file under a final name is the one of the uninterrupted build; the journal names only such."""
    files = tree(out)
    for name, digest in files.items():
        if not name.startswith((".tmp-", ".progress-")) and name != "journal.jsonl":
            assert digest == whole[name], name
    assert set(journal(out)) <= files.keys()


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes):
    return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)


def assert_resumes(root, out, whole):
    """The same command again gives the folder that an uninterrupted build gives."""
    done = synthgen(*build_arguments(root, out, "--jobs", 1))
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole
