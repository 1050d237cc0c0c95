"""Builds on a Dask cluster of separate processes: the same bytes, and what becomes of a build when parts of the cluster go."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from synthgen.builder import driver
from synthgen.errors import StorageError
from tests.support import edge_scenes
from tests.support.commands import (
    build_arguments,
    build_normals,
    environment,
    gone,
    hooks,
    journal,
    start,
    synthgen,
    tree,
    wait_until,
)

pytest.importorskip("distributed")

POISON = "folder/poison/000/crack/0"
"""A sample that kills every worker that makes it; only the test of it has such a category."""

_PATIENCE = """
import synthgen.builder.backends as backends
backends._CONNECT_SECONDS, backends._NO_WORKERS_SECONDS = 2, 1.5
"""


class Cluster:
    """A scheduler and its workers, each a command of its own that is heard on this machine alone."""

    def __init__(self, folder, workers, env):
        self._folder = folder
        self._env = env
        self.processes = []
        folder.mkdir(parents=True, exist_ok=True)
        self.scheduler = self._command("scheduler", "--port", 0, "--idle-timeout", "5 minutes")
        self._file = folder / "scheduler.json"
        wait_until(lambda: self._file.exists() and self._file.stat().st_size)
        self.address = json.loads(self._file.read_text())["address"]
        self.workers = [self._command("worker", self.address, *_WORKER) for _ in range(workers)]

    def _command(self, kind, *arguments):
        """`dask scheduler` or `dask worker`, in a process group of its own: the nanny's workers are in it too."""
        local = ["--host", "127.0.0.1", "--no-dashboard"]
        more = ["--scheduler-file", "scheduler.json"] if kind == "scheduler" else ["--local-directory", "scratch"]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *map(str, arguments), *local, *more],
                cwd=self._folder,
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def kill(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self):
        for process in self.processes:
            self.kill(process)


_WORKER = ("--nthreads", 1, "--death-timeout", "60")


@contextlib.contextmanager
def running(folder, workers=2, env=None):
    made = Cluster.__new__(Cluster)
    made.processes = []
    try:
        made.__init__(folder, workers, env or environment())
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers with nannies; one death of a worker counts at once, and the sample POISON is deadly."""
    folder = tmp_path_factory.mktemp("cluster")
    deadly = {"HOOK_SAMPLE": POISON, "HOOK_HOW": "exit", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": 0}
    with running(folder / "run", env=hooks(folder / "hooks", **deadly)) as made:
        yield made


def arguments(root, out, cluster, *more):
    there = ("--backend", "dask", "--scheduler", cluster.address)
    return build_arguments(root, out, *there, *more)


def impatient(folder):
    """An environment in which a build waits only shortly for schedulers and workers."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_PATIENCE)
    plain = environment()
    return {**plain, "PYTHONPATH": os.pathsep.join([str(folder), plain["PYTHONPATH"]])}


def makers(out):
    """Process ids of the workers that are making a shard: their temporary files say so."""
    return {int(path.name.rpartition("-")[2]) for path in out.glob(".tmp-*.h5-*")}


def test_edge_edits_are_the_same_by_loky_by_dask_and_in_parts(cluster, generator, tmp_path):
    root = edge_scenes.write_scenes(tmp_path / "scenes", 6)
    common = (generator, "--per-image", 1, "--samples-per-shard", 4)
    assert edge_scenes.build(root, tmp_path / "loky", *common).returncode == 0
    there = ("--backend", "dask", "--scheduler", cluster.address)
    done = edge_scenes.build(root, tmp_path / "dask", *common, *there)
    assert done.returncode == 0, done.stderr
    for part in (("--shards", "1-2"), ()):
        assert edge_scenes.build(root, tmp_path / "parts", *common, *part).returncode == 0
    assert len(list((tmp_path / "loky").glob("*.h5"))) == 3
    assert tree(tmp_path / "loky") == tree(tmp_path / "dask") == tree(tmp_path / "parts")


def test_same_folder_as_with_loky(cluster, root, whole, tmp_path):
    """Begun by loky, and ended by the cluster: nobody can tell who made which shard."""
    done = synthgen(*arguments(root, tmp_path / "all", cluster))
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "all") == whole
    out = tmp_path / "mixed"
    synthgen(*build_arguments(root, out, "--jobs", 1), env=environment(SYNTHGEN_FAILPOINT="journal-after-append:3"))
    done = synthgen(*arguments(root, out, cluster, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["already"] == 12
    assert tree(out) == whole


def test_worker_killed_while_it_makes_a_shard(cluster, root, whole, tmp_path):
    """Its nanny starts another one; the build makes that shard again and is none the wiser."""
    out = tmp_path / "out"
    process = start(*arguments(root, out, cluster))
    wait_until(lambda: makers(out) or process.poll() is not None)
    os.kill(makers(out).pop(), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert tree(out) == whole


def test_sample_that_kills_every_worker_is_left_out(cluster, tmp_path):
    root = build_normals(tmp_path / "root", per_category=1)
    (root / "ü").rename(root / "poison")
    out = tmp_path / "out"
    done = synthgen(*arguments(root, out, cluster, "--json", "--max-rejected", 0.5))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["quarantined"]) == [POISON]
    assert (result["made"], result["rejected"]) == (7, 1)
    again = synthgen(*build_arguments(root, out, "--json", "--max-rejected", 0.5))
    assert json.loads(again.stdout) == result | {"already": 8}


def test_interrupted(cluster, root, whole, tmp_path):
    """The cluster goes on living; what its workers still do for the stopped build harms nobody."""
    out = tmp_path / "out"
    process = start(*arguments(root, out, cluster))
    wait_until(lambda: makers(out) or process.poll() is not None)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 10
    assert "Traceback" not in err
    done = synthgen(*arguments(root, out, cluster))
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole


def test_scheduler_that_goes_away(root, whole, tmp_path):
    """The build ends with a word on what to do, soon, and goes on elsewhere."""
    out = tmp_path / "out"
    with running(tmp_path / "cluster", workers=1) as short:
        process = start(*arguments(root, out, short), env=impatient(tmp_path / "hooks"))
        wait_until(lambda: makers(out) or process.poll() is not None)
        short.kill(short.scheduler)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert "Traceback" not in err
        assert f"--scheduler {short.address}" in err
        assert time.monotonic() - began < 15
    assert journal(out) == [] or set(journal(out)) <= whole.keys()
    done = synthgen(*build_arguments(root, out, "--jobs", 2))
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole


def test_no_scheduler_at_the_address(root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        began = time.monotonic()
        nobody = SimpleNamespace(address=address)
        done = synthgen(*arguments(root, tmp_path / "out", nobody), env=impatient(tmp_path / "hooks"))
    assert done.returncode == 2
    assert f"--scheduler {address}: no Dask scheduler answers there" in done.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("address", ["nonsense://x:1", "127.0.0.1:notaport", ""])
def test_address_that_is_none(root, tmp_path, address):
    nobody = SimpleNamespace(address=address)
    done = synthgen(*arguments(root, tmp_path / "out", nobody), env=impatient(tmp_path / "hooks"))
    assert done.returncode == 2
    assert "--scheduler" in done.stderr


def test_no_workers(root, whole, tmp_path):
    """A scheduler alone: the build ends after a while and says why; with workers it goes on."""
    out = tmp_path / "out"
    with running(tmp_path / "cluster", workers=0) as lonely:
        done = synthgen(*arguments(root, out, lonely), env=impatient(tmp_path / "hooks"))
        assert done.returncode == 1
        assert f"--scheduler {lonely.address}: it has had no workers" in done.stderr
    assert not list(out.glob("*.h5"))


def stopped_maker(out):
    """The process id of a worker that was stopped while it makes a shard."""
    while True:
        wait_until(lambda: makers(out))
        maker = makers(out).pop()
        os.kill(maker, signal.SIGSTOP)
        if maker in makers(out):
            return maker
        os.kill(maker, signal.SIGCONT)  # it was done just then


def test_workers_that_come_later_are_used(root, whole, tmp_path):
    """A batch system gives workers when it likes: the build waits for the first, and both work in the end."""
    out = tmp_path / "out"
    with running(tmp_path / "cluster", workers=0) as late:
        process = start(*arguments(root, out, late))
        wait_until((out / "config.json").exists)
        late._command("worker", late.address, *_WORKER)
        maker = stopped_maker(out)
        late._command("worker", late.address, *_WORKER)
        wait_until(lambda: len(makers(out)) == 2)
        os.kill(maker, signal.SIGCONT)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert tree(out) == whole


def test_shard_that_did_not_arrive(tmp_path):
    """Workers that write into a folder of their own under the same path are found out at the first shard."""
    report = SimpleNamespace()
    folder = SimpleNamespace(path=tmp_path, append=lambda one: appended.append(one))
    appended, shard = [], SimpleNamespace(name="folder-a-00000-of-00001.h5")
    run = driver._Run.__new__(driver._Run)
    run._folder = folder
    with pytest.raises(StorageError, match=r"00001\.h5: a worker has written it, but it is not here"):
        run._finish(shard, report)
    assert appended == []


def test_cluster_is_gone_when_its_block_is_left(tmp_path):
    """Whatever happens in it: no test leaves processes behind."""
    before = []

    def fail():
        with running(tmp_path, workers=1) as made:
            wait_until(lambda: any("spawn_main" in part for one in family(made) for part in one.cmdline()))
            before.extend(family(made))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert before
    wait_until(lambda: gone(before))


def family(cluster):
    return [one for process in cluster.processes for one in psutil.Process(process.pid).children(recursive=True)]
