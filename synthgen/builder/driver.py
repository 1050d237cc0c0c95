"""Runs the tasks of a plan over workers: one shard per task, no image crosses a process border.

A worker that dies may take all others with it (joblib's loky says so, and restarts nothing), so the shards that were in
the works are then made one at a time. A shard whose worker dies twice at the same sample loses that sample.
"""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from synthgen.builder.backends import Opener, is_death, open_loky, usable_cores
from synthgen.builder.folder import Failures, OutputFolder, Part, ShardReport, count_failures
from synthgen.builder.task import ShardTask, build_shard, progress_path
from synthgen.errors import StorageError, SynthgenError
from synthgen.files import check_space
from synthgen.plan import Plan, PlannedShard
from synthgen.terminal.callbacks import OnMessage

_POLL_SECONDS = 0.2
_WARMED_AT_ONCE = 8  # images of one task
_MOST_SAMS = 2  # of 0.4 to 2.6 GB each
_MOST_DEATHS = 20  # of one shard's workers, before the build gives up
_TRIES_PER_SAMPLE = 2
_KILLER = "quarantined: making it killed the worker process"

OnSamples = Callable[[int], None]
"""Called now and then with the number of samples that are made, those of an earlier build included."""


@dataclass(frozen=True)
class BuildResult:
    """What came of a build.

    Attributes:
        folder: where it is.
        reports: one per shard, in the plan's order.
        planned: samples of the plan.
        already: samples that an earlier build had made.
        quarantined: samples that killed their worker, with the reason.
    """

    folder: Path
    reports: tuple[ShardReport, ...]
    planned: int
    already: int
    quarantined: dict[str, str]

    @property
    def made(self) -> int:
        """Accepted samples."""
        return sum(sum(report.made.values()) for report in self.reports)

    @property
    def rejected(self) -> int:
        """Samples without an accepted draw; the normal image stands in their place."""
        return sum(len(report.rejected) for report in self.reports)

    @property
    def unreadable(self) -> int:
        """Samples that are absent because their normal image could not be read."""
        return self.planned - self.made - self.rejected

    @property
    def failures(self) -> dict[str, Failures]:
        """By type, of the types that raised an exception in some draw."""
        return count_failures(self.reports)


class InterruptedBuildError(SynthgenError):
    """The user or the system asked the build to stop; it can be resumed."""

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


def build(
    plan: Plan,
    out: Path,
    jobs: int | None = None,
    *,
    opener: Opener = open_loky,
    part: Part | None = None,
    on_samples: OnSamples = lambda made: None,
    on_message: OnMessage = lambda text: None,
) -> BuildResult:
    """Make what is missing of a plan in a folder.

    Args:
        plan: what to make.
        out: the folder; made if need be. A second build with the same plan resumes.
        jobs: worker processes; None takes one per usable core.
        opener: opens the workers: `open_loky`, or what `dask_opener` gives.
        part: make only these shards of the plan, beside other builds of other parts; a build without it, once all parts
            are there, writes the manifest.
        on_samples: called from time to time.
        on_message: called with how far the work before the first sample is.

    Raises:
        UsageError: the folder belongs to something else.
        StorageError: no space, no permission, or a failing device.
        InterruptedBuildError: SIGINT or SIGTERM arrived.
    """
    shards = plan.shards if part is None else part.of(plan)
    with _interruptible(), OutputFolder(out, plan, part) as folder:
        done = folder.finished()
        missing = [shard for shard in shards if shard.name not in done]
        check_space(out, sum(_least_bytes(plan, shard) for shard in missing))
        already = sum(len(shard) for shard in shards if shard.name in done)
        run = _Run(plan, folder, on_samples, already, opener)
        if missing:
            run.warm(missing, jobs or usable_cores(), on_message)
        done.update(run.make(missing, jobs or usable_cores()))
        reports = [done[shard.name] for shard in shards]
        if part is None:
            folder.write_manifest(reports)
        return BuildResult(out, tuple(reports), sum(len(shard) for shard in shards), already, folder.quarantined())


def _least_bytes(plan: Plan, shard: PlannedShard) -> int:
    """Bytes that a shard takes at least: its normal images, half of them if compressed; samples come on top."""
    height, width = plan.recipe.size
    rows = len(shard.sources) if plan.recipe.layout == "delta" else len(shard)
    raw = rows * height * width * 3
    return raw if plan.recipe.layout == "delta" and plan.recipe.base_compression == "none" else raw // 4


class _Run:
    """The shards of one build in the making."""

    def __init__(self, plan: Plan, folder: OutputFolder, on_samples: OnSamples, already: int, opener: Opener) -> None:
        self._plan = plan
        self._open = opener
        self._folder = folder
        self._on_samples = on_samples
        self._samples = self._told = already
        self._reports: dict[str, ShardReport] = {}
        self._licences = {scan.dataset: plan.licence(scan) for scan in plan.scans}

    def warm(self, shards: list[PlannedShard], jobs: int, on_message: OnMessage) -> None:
        """Work out edges and regions of the images, so that no two workers do it twice.

        Of a share of the images only theirs; few of the others lend edges. What goes wrong here goes wrong again, and is
        dealt with, where samples are made.
        """
        whole = self._plan.recipe.share == 1
        needed = {source for shard in shards for source in shard.sources}
        all_edges = {self._plan.category_edges(shard.dataset, shard.category) for shard in shards}
        with_sources = [edges for edges in all_edges if edges is not None and edges.sources]
        batches = [
            (category_edges, sources[start : start + _WARMED_AT_ONCE])
            for category_edges in sorted(with_sources, key=lambda edges: edges.sources[0].category)
            for sources in [tuple(source for source in category_edges.sources if whole or source in needed)]
            for start in range(0, len(sources), _WARMED_AT_ONCE)
        ]
        if not batches:
            return
        total, ready = sum(len(sources) for _, sources in batches), 0
        each = _MOST_SAMS if self._plan.edges is not None and self._plan.edges.sam is not None else jobs
        with self._open(min(jobs, len(batches), each)) as workers:
            try:
                waiting = {workers.submit(category_edges.warm, sources) for category_edges, sources in batches}
            except Exception as error:
                if is_death(error):
                    return
                raise
            while waiting:
                finished, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                workers.check()
                wrong = next((future.exception() for future in finished if future.exception() is not None), None)
                if wrong is not None:
                    on_message(f"not used: edges and regions are worked out along with the samples: {wrong}")
                    return
                ready += sum(future.result() for future in finished)
                if finished:
                    on_message(f"edges and regions: {ready} of {total} images")

    def make(self, shards: list[PlannedShard], jobs: int) -> dict[str, ShardReport]:
        """Make all of them, and return their reports by name."""
        self._report_progress(0)
        left = list(reversed(shards))
        while left:
            suspects = self._run_pool(left, min(jobs, len(left)))
            self._folder.sweep()
            for shard in suspects:
                self._run_alone(shard)
        return self._reports

    def _run_pool(self, left: list[PlannedShard], jobs: int) -> list[PlannedShard]:
        """Take shards off `left` and make them in parallel; return those that may have killed a worker."""
        running: dict[Future[ShardReport], PlannedShard] = {}
        suspects: list[PlannedShard] = []
        with self._open(jobs) as workers:
            while left or running:
                while left and len(running) < workers.width:
                    try:
                        future = workers.submit(build_shard, self._task(left[-1]))
                    except Exception as error:
                        if is_death(error):  # between two looks
                            return suspects + list(running.values())
                        raise
                    running[future] = left.pop()
                finished, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                workers.check()
                dead = [future for future in finished if is_death(future.exception())]
                for future in finished:
                    if future not in dead:
                        self._finish(running.pop(future), future.result())
                if dead and workers.falls_together:
                    return list(running.values())
                suspects += [running.pop(future) for future in dead]
                self._report_progress(sum(self._position(shard) for shard in running.values()))
        return suspects

    def _run_alone(self, shard: PlannedShard) -> None:
        """Make one shard in a worker of its own, leaving out what kills the worker again and again.

        What was left out is written down only if the shard could be made without it: it may have died of something else.
        """
        deaths: Counter[str] = Counter()
        last = ""
        while deaths.total() < _MOST_DEATHS:
            killers = {name: _KILLER for name, count in deaths.items() if name and count >= _TRIES_PER_SAMPLE}
            with self._open(1) as workers:
                future = workers.submit(build_shard, replace(self._task(shard, killers), careful=True))
                while not wait([future], timeout=_POLL_SECONDS).done:
                    workers.check()
                    self._report_progress(self._position(shard))
                workers.check()
                if not is_death(future.exception()):
                    report = future.result()
                    self._folder.quarantine(killers)
                    self._finish(shard, report)
                    return
            last = self._working_on(shard)
            deaths[last] += 1
            self._folder.sweep()
        raise SynthgenError(
            f"{shard.name}: its worker died {_MOST_DEATHS} times, last at {last or 'its start'}. "
            "Is there enough memory? Try --jobs 1."
        )

    def _finish(self, shard: PlannedShard, report: ShardReport) -> None:
        if not (self._folder.path / shard.name).is_file():
            raise StorageError(
                f"{self._folder.path / shard.name}: a worker has written it, but it is not here. "
                "The workers of a cluster need the output folder under the same path."
            )
        self._folder.append(report)
        self._reports[shard.name] = report
        self._samples += len(shard)
        self._report_progress(0)

    def _report_progress(self, unfinished: int) -> None:
        """Report progress; a shard between its last sample and its report must not make it go back."""
        self._told = max(self._told, self._samples + unfinished)
        self._on_samples(self._told)

    def _task(self, shard: PlannedShard, killers: Mapping[str, str] | None = None) -> ShardTask:
        known = {key: why for key, why in self._folder.quarantined().items() if key.startswith(_prefix(shard))}
        return ShardTask(
            folder=self._folder.path,
            shard=shard,
            recipe=self._plan.recipe,
            method=self._plan.methods[shard.dataset, shard.category],
            category_edges=self._plan.category_edges(shard.dataset, shard.category),
            exemplars=self._plan.decisions.exemplars.get((shard.dataset, shard.category)),
            refinement=self._plan.refinement,
            config_json=self._plan.config_json,
            licence=self._licences[shard.dataset],
            quarantined=known | dict(killers or {}),
        )

    def _position(self, shard: PlannedShard) -> int:
        """Samples of an unfinished shard that are made."""
        text = self._progress_lines(shard)
        return int(text[0]) if text and text[0].isdigit() else 0

    def _working_on(self, shard: PlannedShard) -> str:
        """The sample that a dead worker was making, or `dataset/category/stem` of the image it was reading; else empty."""
        text = self._progress_lines(shard)
        return text[1] if len(text) > 1 else ""

    def _progress_lines(self, shard: PlannedShard) -> list[str]:
        try:
            return progress_path(self._folder.path, shard.name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []


def _prefix(shard: PlannedShard) -> str:
    return f"{shard.dataset}/{shard.category}/"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into `InterruptedBuildError` (in the main thread, where signals arrive)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        for handled in before:  # a second Ctrl-C must not leave the workers behind
            signal.signal(handled, signal.SIG_IGN)
        raise InterruptedBuildError(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
