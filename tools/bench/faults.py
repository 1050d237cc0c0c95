"""Breaks builds in every way that needs no privileges, goes on, and compares with a build that was left in peace.

    python -m tools.bench faults --kills 50

Each line is one kind of fault: how often it was tried, how often the same command ended with the same bytes as the
undisturbed build, and the most shards that one fault made the build do twice (at most one per worker is right). The exit
status is 1 if anything was not as it should be; the folders of such builds are kept.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import psutil

from tools.bench.support.records import ROOT, Outcome
from tools.bench.support.tables import Column, Table

JOBS = 2
_COMMAND = [sys.executable, "-c", "from synthgen.cli import main; main()"]
_BUILD = "build --dataset demo --categories brick,gear --types crack,corrosion --per-image 1 --size 64 --max-rejected 1"
_SAMPLES_PER_SHARD = 8
_PATIENCE = 180  # seconds for one command
_OF_WORKERS = "shard-"  # failpoints of this prefix are in workers

_JUMPING_CLOCK = """
import random, time
plain = time.time
time.time = lambda: plain() + random.choice((-1, 1)) * random.random() * 3e8
"""


_ONE_WORKER_HAS_THE_FAILPOINT = """
import os, sys
if any("LokyProcess" in part for part in sys.orig_argv):
    try:
        os.close(os.open(os.environ["FAULTS_MARKER"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        del os.environ["SYNTHGEN_FAILPOINT"]
"""


class WrongError(Exception):
    """A build did not become what it should."""


@dataclass
class Tally:
    """What came of one kind of fault."""

    tried: int = 0
    recovered: int = 0
    most_redone: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """A build that was left in peace: its folder, the digest of each file, and how long it took in seconds."""

    folder: Path
    files: dict[str, str]
    seconds: float


def start(out: Path, variables: dict[str, str] | None = None, largest_file: int | None = None) -> "subprocess.Popen[str]":
    """A running build in a session of its own."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    build = [*_BUILD.split(), "--samples-per-shard", str(_SAMPLES_PER_SHARD), "--jobs", str(JOBS), "--out", str(out)]
    plain = {name: value for name, value in os.environ.items() if name not in ("SYNTHGEN_FAILPOINT", "SYNTHGEN_DATA")}
    paths = [(variables or {}).get("PYTHONPATH", ""), str(ROOT), plain.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [*_COMMAND, *build],
        env={**plain, **(variables or {}), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=limit,
    )


def finish(process: "subprocess.Popen[str]", *allowed: int) -> int:
    """Wait for a build and return its exit status, which must be an allowed one."""
    _, err = process.communicate(timeout=_PATIENCE)
    if process.returncode not in allowed or "Traceback" in err:
        raise WrongError(f"exit status {process.returncode}, allowed are {allowed}: {err[-2000:]}")
    return process.returncode


def digests(folder: Path) -> dict[str, str]:
    """Name -> digest of every file but locks."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".lock"))
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


def shards(folder: Path) -> dict[str, int]:
    """Name -> inode of every file under a shard's name."""
    return {path.name: path.stat().st_ino for path in folder.glob("[!.]*.h5")}


def journal(folder: Path) -> set[str]:
    """The shards that the journal names."""
    names = set()
    path = folder / "journal.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            names.add(json.loads(line)["shard"]["name"])
        except ValueError:
            continue  # torn by the kill
    return names


def kill(processes: list[psutil.Process]) -> None:
    """End processes that a broken build left behind."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def wait_for_end(processes: list[psutil.Process]) -> None:
    """Workers must end by themselves soon after their build is gone."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    if alive:
        kill(alive)
        raise WrongError(f"{len(alive)} workers lived on for 10 s after their build was killed")


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """All processes that a build has started."""
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def is_worker(process: psutil.Process) -> bool:
    """Whether a build's child is one of its workers."""
    try:
        return any("LokyProcess" in part for part in process.cmdline())
    except psutil.Error:
        return False


class Bench:
    """The faults, and a folder for each try."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the build to compare with."""
        self._folder = folder
        self._random = random.Random(seed)
        self._number = 0
        self.tallies: dict[str, Tally] = {}
        began = time.monotonic()
        finish(start(folder / "undisturbed"), 0)
        seconds = time.monotonic() - began
        self.whole = Undisturbed(folder / "undisturbed", digests(folder / "undisturbed"), seconds)

    def attempt(self, kind: str, fault: Callable[[Path], int]) -> None:
        """Try a fault in a folder of its own; `fault` returns the shards done twice, and raises what went wrong."""
        tally = self.tallies.setdefault(kind, Tally())
        tally.tried += 1
        self._number += 1
        out = self._folder / f"{self._number:04d}"
        try:
            redone = fault(out)
            self._compare(out)
            if redone > JOBS:
                raise WrongError(f"{redone} shards were made twice, with {JOBS} workers")
        except (WrongError, subprocess.TimeoutExpired) as error:
            tally.wrong.append(f"{kind}: {out}: {error}")
            return
        tally.recovered += 1
        tally.most_redone = max(tally.most_redone, redone)
        shutil.rmtree(out)

    def _compare(self, out: Path) -> None:
        files, whole = digests(out), self.whole.files
        other = [name for name in files.keys() | whole.keys() if files.get(name) != whole.get(name)]
        if other:
            raise WrongError(f"not the undisturbed build's: {', '.join(sorted(other)[:5])}")

    def _moment(self) -> float:
        return self._random.uniform(0, self.whole.seconds)

    def _resume(self, out: Path, variables: dict[str, str] | None = None) -> int:
        """The same command again; returns how many shards that were complete or begun are made again."""
        begun = {path.name.removeprefix(".progress-") for path in out.glob(".progress-*")}
        before, known = shards(out), journal(out)
        finish(start(out, variables), 0)
        after = shards(out)
        kept_badly = [name for name in known if name in before and after[name] != before[name]]
        if kept_badly:
            raise WrongError(f"finished shards were made again: {', '.join(kept_badly)}")
        return len(begun | {name for name, inode in before.items() if after[name] != inode})

    def killed_parent(self, out: Path) -> int:
        """Kill -9 of the build, workers not asked."""
        process = start(out)
        self._sleep(process)
        workers = family(process)
        process.kill()
        process.communicate()
        wait_for_end(workers)
        return self._resume(out)

    def _sleep(self, process: "subprocess.Popen[str]") -> None:
        try:
            process.wait(self._moment())
        except subprocess.TimeoutExpired:
            return

    def killed_worker(self, out: Path) -> int:
        """Kill -9 of a worker that works; the build itself goes on."""
        process = start(out)
        workers: list[psutil.Process] = []
        while not workers and process.poll() is None:
            workers = [child for child in family(process) if is_worker(child)]
            time.sleep(0.01)
        try:
            process.wait(self._random.uniform(0, self.whole.seconds / 2))
        except subprocess.TimeoutExpired:
            kill([self._random.choice(workers)])
        return self._watch(process, out)

    def _watch(self, process: "subprocess.Popen[str]", out: Path, deaths: int = 0) -> int:
        """Wait for a build that mends itself, and count the shards that get their name twice."""
        inodes: dict[str, set[int]] = {}
        workers: set[int] = set()
        while process.poll() is None:
            for name, inode in shards(out).items() if out.exists() else ():
                inodes.setdefault(name, set()).add(inode)
            workers |= {child.pid for child in family(process) if is_worker(child)}
            time.sleep(0.02)
        finish(process, 0)
        if deaths and len(workers) <= JOBS:
            raise WrongError("no worker died: the point was not reached")
        return sum(len(seen) > 1 for seen in inodes.values())

    def failpoint(self, out: Path, point: str) -> int:
        """Kill the process that reaches a named point."""
        if point.startswith(_OF_WORKERS):
            return self._worker_failpoint(out, point)
        most = {"manifest-before": 1, "file-before-replace": 3}.get(point, len(shards(self.whole.folder)))
        process = start(out, {"SYNTHGEN_FAILPOINT": f"{point}:{self._random.randint(1, most)}"})
        workers: list[psutil.Process] = []
        while process.poll() is None:
            workers = family(process) or workers
            time.sleep(0.02)
        finish(process, -signal.SIGKILL)
        wait_for_end(workers)
        return self._resume(out)

    def _worker_failpoint(self, out: Path, point: str) -> int:
        hooks = self._hooks("one-worker", _ONE_WORKER_HAS_THE_FAILPOINT)
        most = 2 * _SAMPLES_PER_SHARD if point == "shard-mid" else 3
        count = self._random.randint(1, most)
        marker = self._folder / f"{out.name}.marker"
        process = start(out, hooks | {"SYNTHGEN_FAILPOINT": f"{point}:{count}", "FAULTS_MARKER": str(marker)})
        return self._watch(process, out, deaths=1)

    def _hooks(self, name: str, text: str) -> dict[str, str]:
        """Variables that make every Python process run `text` first."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(text)
        return {"PYTHONPATH": str(folder)}

    def stopped(self, out: Path, number: signal.Signals) -> int:
        """Ctrl-C to the whole group, or a polite kill of the build alone."""
        process = start(out)
        while not (out / "config.json").exists() and process.poll() is None:
            time.sleep(0.01)
        self._sleep_a_little(process)
        workers = family(process)
        if process.poll() is None:
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        status = finish(process, 128 + number, 0)
        wait_for_end(workers)
        left = [path.name for path in out.glob(".[tp]*")]
        if left:
            raise WrongError(f"exit status {status} left {', '.join(left)}")
        return self._resume(out)

    def _sleep_a_little(self, process: "subprocess.Popen[str]") -> None:
        try:
            process.wait(self._random.uniform(0, self.whole.seconds / 2))
        except subprocess.TimeoutExpired:
            return

    def full_disk(self, out: Path) -> int:
        """No file can grow beyond some size, which at least one has to."""
        largest = max(path.stat().st_size for path in self.whole.folder.glob("[!.]*.h5"))
        finish(start(out, largest_file=self._random.randint(1, largest - 1)), 5)
        left = [path.name for path in out.glob(".[tp]*")]
        if left:
            raise WrongError(f"a full disk left {', '.join(left)}")
        return self._resume(out)

    def _victim(self, out: Path) -> Path:
        """A shard of a finished build in `out`."""
        shutil.copytree(self.whole.folder, out)
        return self._random.choice(sorted(out.glob("*.h5")))

    def _rebuilt_alone(self, out: Path, victim: Path) -> int:
        before = shards(out)
        finish(start(out), 0)
        changed = [name for name, inode in shards(out).items() if before.get(name) != inode]
        if changed != [victim.name]:
            raise WrongError(f"{victim.name} was gone, and made were {changed}")
        return 1

    def deleted(self, out: Path) -> int:
        """A shard vanishes after the build."""
        victim = self._victim(out)
        victim.unlink()
        return self._rebuilt_alone(out, victim)

    def corrupted(self, out: Path) -> int:
        """A bit of a shard flips after the build: `verify` names the shard, which is removed and made again."""
        victim = self._victim(out)
        data = bytearray(victim.read_bytes())
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        victim.write_bytes(data)
        checked = subprocess.run(
            [*_COMMAND, "verify", out], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        if checked.returncode != 4 or victim.name not in checked.stdout or "Traceback" in checked.stderr:
            raise WrongError(f"verify: exit status {checked.returncode}: {checked.stdout}{checked.stderr}"[:2000])
        victim.unlink()
        return self._rebuilt_alone(out, victim)

    def jumping_clock(self, out: Path) -> int:
        """Python's wall clock jumps by years at every look, and the files of the killed build have times of any year."""
        hooks = self._hooks("jumping-clock", _JUMPING_CLOCK)
        process = start(out, hooks)
        self._sleep(process)
        workers = family(process)
        process.kill()
        process.communicate()
        wait_for_end(workers)
        for path in out.iterdir() if out.exists() else ():
            os.utime(path, (moment := self._random.uniform(1, 4e9), moment))
        return self._resume(out, hooks)


def failpoints() -> list[str]:
    """The names of all points in the package at which it can be killed."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "synthgen").rglob("*.py")))
    return sorted(set(re.findall(r'\breach\("([a-z-]+)"\)', text)))


def schedule(bench: Bench, kills: int) -> list[tuple[str, Callable[[Path], int]]]:
    """Kinds of faults and how to do them, in the order in which they are tried."""
    faults: list[tuple[str, Callable[[Path], int]]] = []
    for number in range(kills):
        faults.append(("kill -9 worker", bench.killed_worker) if number % 2 else ("kill -9 build", bench.killed_parent))
    for point in failpoints():
        faults.append((f"failpoint {point}", lambda out, point=point: bench.failpoint(out, point)))  # type: ignore[misc]
    few = max(kills // 10, 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        faults += [(number.name, lambda out, number=number: bench.stopped(out, number))] * few  # type: ignore[misc]
    others: dict[str, Callable[[Path], int]] = {
        "disk full": bench.full_disk,
        "shard deleted": bench.deleted,
        "shard corrupted": bench.corrupted,
        "clock jumps (of Python's time.time, and file times)": bench.jumping_clock,
    }
    return faults + [(kind, fault) for kind, fault in others.items() for _ in range(few)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--kills", type=int, default=50, help="kill -9 at random moments; other faults a tenth of it each")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments, points and victims")
    parser.add_argument("--dir", type=Path, help="where the builds are made; default: a temporary folder")


def run(options: argparse.Namespace) -> Outcome:
    """A line for each kind of fault, and what went wrong."""
    if options.kills < 1:
        return Outcome({}, ["--kills: at least 1"])
    if options.dir is not None:
        options.dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.dir))
    began = time.monotonic()
    bench = Bench(folder, options.seed)
    for kind, fault in schedule(bench, options.kills):
        bench.attempt(kind, fault)
    wrong = [line for tally in bench.tallies.values() for line in tally.wrong]
    rows = [[kind, tally.tried, tally.recovered, tally.most_redone] for kind, tally in bench.tallies.items()]
    tried = sum(tally.tried for tally in bench.tallies.values())
    most = max(tally.most_redone for tally in bench.tallies.values())
    rows.append([f"all, in {time.monotonic() - began:.0f} s", tried, tried - len(wrong), most])
    if not wrong:
        shutil.rmtree(folder)
    columns = [Column("fault"), Column("tried"), Column("recovered"), Column("shards made again, at most")]
    return Outcome({"faults": Table(columns, rows)}, wrong)
