"""One shard, made by a worker process: read its normal images, make their samples, write the file, report."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
from threadpoolctl import threadpool_limits

from synthgen import __version__
from synthgen.anomalies.contract import TypeSettings
from synthgen.anomalies.edge_edit import EdgeSettings
from synthgen.anomalies.registry import TYPES
from synthgen.builder.folder import ShardReport
from synthgen.datasets import NormalSource
from synthgen.edges.pipeline import CategoryEdges
from synthgen.errors import InputDataError
from synthgen.exemplars.source import ExemplarSource
from synthgen.files import storage_error
from synthgen.foreground import Method
from synthgen.plan import PlannedShard, specs_of
from synthgen.recipe import Recipe
from synthgen.refine.refiner import NO_NETWORKS, RefinementTools, refiner
from synthgen.samples import Sample, SampleSpec
from synthgen.shards import ShardHeader, ShardWriter
from synthgen.shards.layout import EXTRAS
from synthgen.synthesis import Job, PreparedNormal, Tally, make_samples, prepare, untouched

_MOST_TOGETHER = 64  # samples of 2 MB at 512 pixels


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """All that a worker needs to make one shard.

    Attributes:
        folder: where to write it.
        shard: which one.
        recipe: what to make.
        method: how the foreground of its category is found.
        config_json, licence: what the shard says about itself.
        quarantined: samples to leave out, by id, and normal images, by `dataset/category/stem`, with the reason.
        category_edges: what its edge edits work with; None where there are none.
        exemplars: the real defects of its category; None where there are none.
        refinement: the networks that refine its samples, where the recipe asks for them.
        careful: whether to make samples one by one, so that it is known which one kills the worker.
    """

    folder: Path
    shard: PlannedShard
    recipe: Recipe
    method: Method
    config_json: str
    licence: str
    quarantined: Mapping[str, str]
    category_edges: CategoryEdges | None = None
    exemplars: ExemplarSource | None = None
    refinement: RefinementTools = NO_NETWORKS
    careful: bool = False

    @property
    def progress_path(self) -> Path:
        """Where the worker notes how far it is."""
        return progress_path(self.folder, self.shard.name)


def progress_path(folder: Path, shard: str) -> Path:
    """The file in which the worker that makes a shard notes how far it is."""
    return folder / f".progress-{shard}"


def build_shard(task: ShardTask) -> ShardReport:
    """Make and write one shard.

    Args:
        task: which one.

    Raises:
        StorageError: the device fails or is full; nothing is left behind.
    """
    cv2.setNumThreads(1)  # one process per core: more threads would wait for each other
    with threadpool_limits(1):
        return _Builder(task).run()


class _Waiting(NamedTuple):
    """A sample to be made, and its normal image."""

    spec: SampleSpec
    prepared: PreparedNormal


def _batches(waiting: list[_Waiting], refines: bool) -> Iterator[list[_Waiting]]:
    """The samples, in order: one by one, but neighbours that are rendered or refined in batches together."""
    for together, neighbours in groupby(waiting, lambda sample: refines or TYPES[sample.spec.type].render_many is not None):
        group = list(neighbours)
        size = _MOST_TOGETHER if together else 1
        yield from (group[start : start + size] for start in range(0, len(group), size))


class _Builder:
    """The state of one shard in the making."""

    def __init__(self, task: ShardTask) -> None:
        self._task = task
        edges = task.category_edges
        self._category_edges = edges.without(task.quarantined) if edges is not None else None
        self._settings: dict[str, TypeSettings] = {name: task.recipe.settings(name) for name in task.recipe.types}
        self._refiner = refiner(task.recipe.refine, task.refinement, task.shard.dataset, task.recipe.size)
        self._done = 0
        self._made: Counter[str] = Counter()
        self._tally = Tally()
        self._rejected: list[tuple[str, str]] = []
        self._unreadable: list[tuple[str, str]] = []
        self._warnings: list[str] = []

    def run(self) -> ShardReport:
        task = self._task
        recipe, shard = task.recipe, task.shard
        header = ShardHeader(
            dataset=shard.dataset,
            category=shard.category,
            licence=task.licence,
            image_size=recipe.size,
            seed=recipe.seed,
            shard_index=shard.index,
            generator=f"synthgen {__version__}",
            config_json=task.config_json,
            types=shard.allotment.types,
        )
        compression: Literal["gzip"] | None = None if recipe.base_compression == "none" else recipe.base_compression
        extras = self._extras()
        # a generated picture for each sample and for each normal image, at most
        bases = len(shard.sources) + (len(shard.sources) + len(shard) if "generated_index" in extras else 0)
        writer = ShardWriter(task.folder / shard.name, header, len(shard), bases, recipe.layout, compression, extras=extras)
        with writer, self._noting():
            for sources in self._groups():
                self._add_sources(writer, sources)
            self._note("")  # whatever kills from here on, it is no sample
            info = writer.finish()
        return ShardReport(
            shard=info,
            made=dict(self._made),
            redrawn={name: dict(reasons) for name, reasons in self._tally.refused.items()},
            rejected=self._rejected,
            unreadable=self._unreadable,
            warnings=self._warnings,
            failed=dict(self._tally.failed),
        )

    def _extras(self) -> tuple[str, ...]:
        """What the shard keeps of edge edits besides image and mask."""
        edits = [settings for settings in self._settings.values() if isinstance(settings, EdgeSettings)]
        whole, kept = any(settings.mode == "paper" for settings in edits), any(settings.keep_difference for settings in edits)
        return tuple(name for name, is_there in zip(EXTRAS, (whole, kept), strict=True) if is_there)

    def _groups(self) -> Iterator[Sequence[NormalSource]]:
        """Normal images whose samples are made together: several where they fill a GPU, as long as they fit into memory."""
        sources = self._task.shard.sources
        several = self._refiner is not None and not self._task.careful
        most = max(1, _MOST_TOGETHER // max(self._task.shard.allotment.per_source, 1))
        size = min(self._refiner.at_once, most) if several and self._refiner is not None else 1
        return (sources[start : start + size] for start in range(0, len(sources), size))

    def _add_sources(self, writer: ShardWriter, sources: Sequence[NormalSource]) -> None:
        waiting: list[_Waiting] = []
        for source in sources:
            specs = specs_of(self._task.recipe, self._task.shard, source)
            try:
                prepared = self._prepare(source)
            except InputDataError as error:
                self._unreadable.append((source.source, str(error)))
                for spec in specs:
                    writer.add_unreadable(spec.sample_id, source.source, str(error))
                self._done += len(specs)
                continue
            if prepared.warning:
                self._warnings.append(prepared.warning)
            if not specs:
                writer.add_normal(prepared.normal)
            waiting += [_Waiting(spec, prepared) for spec in specs]
        row, last = -1, None
        for job, sample in self._samples(waiting, len(sources) > 1):
            if job.prepared is not last:  # each normal image right before its samples, however many are made together
                row, last = writer.add_normal(job.prepared.normal), job.prepared
            writer.add_sample(sample, row)
            self._count(sample)

    def _samples(self, waiting: "list[_Waiting]", together: bool) -> Iterator["tuple[_Waiting, Sample]"]:
        """The samples, in order; those of several normal images all at once."""
        if together:
            yield from zip(waiting, self._make(waiting) if waiting else [], strict=True)
            return
        alone = ([sample] for sample in waiting)
        for batch in alone if self._task.careful else _batches(waiting, self._refiner is not None):
            yield from zip(batch, self._make(batch), strict=True)

    def _prepare(self, source: NormalSource) -> PreparedNormal:
        """The prepared normal image; an InputDataError if reading it has killed workers before."""
        name = f"{source.dataset}/{source.category}/{source.stem}"
        self._note(name)
        if name in self._task.quarantined:
            raise InputDataError(f"{source.source}: {self._task.quarantined[name]}")
        return prepare(source, self._task.recipe, self._task.method, self._category_edges, self._task.exemplars)

    def _make(self, waiting: "list[_Waiting]") -> list[Sample]:
        """The samples; the untouched normal image for those that have killed workers before."""
        self._note(waiting[0].spec.sample_id)
        barred = self._task.quarantined
        jobs = [Job(spec, prepared, self._settings[spec.type]) for spec, prepared in waiting if spec.sample_id not in barred]
        made = iter(make_samples(jobs, self._task.recipe.seed, self._tally, self._refiner))
        return [
            untouched(spec, prepared.normal, barred[spec.sample_id]) if spec.sample_id in barred else next(made)
            for spec, prepared in waiting
        ]

    def _count(self, sample: Sample) -> None:
        self._done += 1
        if sample.rejected:
            self._rejected.append((sample.spec.sample_id, sample.rejected))
        else:
            self._made[sample.spec.type] += 1

    def _note(self, what: str) -> None:
        """Say what is being worked on: the progress bar reads it, and it tells who killed this process."""
        text = f"{self._done}\n{what}\n".encode()
        try:
            os.pwrite(self._progress, text, 0)
            os.ftruncate(self._progress, len(text))
        except OSError as error:
            raise storage_error(self._task.progress_path, error) from error

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keeps the file of `_note` open."""
        path = self._task.progress_path
        try:
            self._progress = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            yield
        finally:
            os.close(self._progress)
            path.unlink(missing_ok=True)
