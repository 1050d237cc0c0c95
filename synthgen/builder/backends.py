"""Where shards are made: worker processes on this machine (joblib's loky), or the workers of a Dask cluster.

A backend runs functions as futures, says how many at a time pay, and tells a worker's death from an error.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from synthgen.errors import SynthgenError, UsageError, to_install

_WATCH_SECONDS = 0.5
_CONNECT_SECONDS = 15
_NO_WORKERS_SECONDS = 60.0


class Backend(Protocol):
    """Runs tasks somewhere."""

    width: int
    """How many tasks to keep in the works."""
    falls_together: bool
    """Whether the death of one worker ends all tasks in the works."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start a task. Raises what `is_death` recognises if the workers are gone."""
        ...

    def check(self) -> None:
        """Called while waiting: raises a SynthgenError if no task can ever end."""
        ...


Opener = Callable[[int], Any]
"""Opens a backend for a number of tasks at a time, as a context manager; stops its tasks when left by an exception."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_death(error: BaseException | None) -> bool:
    """Whether a task's worker died, rather than the task raised."""
    from joblib.externals.loky import BrokenProcessPool

    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


class _Loky:
    """Worker processes of this build."""

    falls_together = True

    def __init__(self, pool: Any, width: int) -> None:
        self._pool = pool
        self.width = width

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        with _workers_without_interrupts():
            future: Future[Any] = self._pool.submit(function, *arguments)
        return future

    def check(self) -> None:
        """Loky notices by itself."""


@contextmanager
def open_loky(jobs: int) -> Iterator[Backend]:
    """Worker processes of their own, killed when the block is left: they have nothing to clean up."""
    from joblib.externals.loky import ProcessPoolExecutor

    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    pool = ProcessPoolExecutor(max_workers=jobs, initializer=_start_worker, initargs=(os.getpid(),), env=single)
    try:
        yield _Loky(pool, jobs)
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def _workers_without_interrupts() -> Iterator[None]:
    """Processes started inside never see Ctrl-C; for this one it waits until the block is left.

    It reaches the whole process group, and a worker that is still importing would print a traceback.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_resource_tracker

    for tracker in (resource_tracker, loky_resource_tracker):
        tracker.ensure_running()  # inside, its start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int) -> None:
    """Bind a worker to its build, whose process id is `parent`."""
    # Ctrl-C is masked here; the build alone decides what becomes of its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process when its parent is gone: loky's workers would wait for work forever."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


class _Dask:
    """The workers of a Dask cluster, through one client."""

    falls_together = False

    def __init__(self, client: Any, executor: Any, address: str) -> None:
        self._client = client
        self._executor = executor
        self._address = address
        self._last_seen = time.monotonic()
        self.width = 1
        self.check()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = self._executor.submit(function, *arguments)
        return future

    def check(self) -> None:
        """Dask itself waits forever for workers that do not come back; and its workers come and go, so the width does."""
        threads = self._threads()
        now = time.monotonic()
        self.width = max(threads, 1)
        if threads:
            self._last_seen = now
        elif now - self._last_seen > _NO_WORKERS_SECONDS:
            raise SynthgenError(
                f"--scheduler {self._address}: it has had no workers for {_NO_WORKERS_SECONDS:.0f} s. "
                "Start `dask worker` processes, and run the same command again."
            )

    def _threads(self) -> int:
        """Tasks that the cluster can run at a time."""
        try:
            if self._client.status == "running":
                return sum(self._client.nthreads().values())
        except OSError:  # TimeoutError and Dask's CommClosedError are such
            pass
        # Dask gives up a client's tasks with its connection, so there is nothing to wait for
        raise SynthgenError(
            f"--scheduler {self._address}: the connection to it was lost. "
            "See to it that it runs, and run the same command again: it goes on where it stopped."
        )


def dask_opener(address: str) -> Opener:
    """A function that opens the Dask cluster whose scheduler is at `address`.

    Raises (on opening):
        UsageError: the extra `dask` is not installed, or nobody answers at the address.
    """

    @contextmanager
    def open_dask(_: int) -> Iterator[Backend]:
        try:
            import distributed
            from distributed.comm.addressing import get_address_host_port
        except ImportError as error:
            raise UsageError(f"--backend dask needs more packages: {to_install('dask')}.") from error
        connect: Any = distributed.Client  # has no types
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost connection is an error of ours
        try:
            get_address_host_port(address)  # a Client that fails on it leaves a traceback behind
            client = connect(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(f"--scheduler {address}: no Dask scheduler answers there ({error}).") from error
        # retries=0: a death counts at once; Dask has by then tried a few workers on its own
        executor = client.get_executor(pure=False, retries=0)
        try:
            yield _Dask(client, executor, address)
        except BaseException:
            executor.shutdown(wait=False)
            client.close(timeout=2)
            raise
        executor.shutdown(wait=True)
        client.close(timeout=2)

    return open_dask
