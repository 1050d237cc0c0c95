"""Samples in memory: one plan, one sample at a time, the same bytes that a build writes into shards."""

import hashlib
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, overload

import cv2
import numpy as np

from synthgen.anomalies.contract import AnyAnomalyType, TypeSettings
from synthgen.anomalies.registry import TYPES
from synthgen.datasets import NormalSource, read_normal
from synthgen.edges.pipeline import CategoryEdges
from synthgen.errors import SynthgenError, UsageError
from synthgen.exemplars.source import ExemplarSource
from synthgen.foreground import Method, find_foreground
from synthgen.painting.blending import SEEN, largest_change
from synthgen.painting.rendered import Rendered
from synthgen.painting.surface import Surface
from synthgen.plan import Plan, specs_of
from synthgen.recipe import Recipe
from synthgen.refine.refiner import Refiner
from synthgen.samples import Box, Image, Mask, NormalImage, Sample, SampleSpec

MAX_ATTEMPTS = 8
_SMALLEST_SHARE = 2e-4  # of the image
_SMALLEST_AREA = 12  # pixels, whatever the image's size
_CONTRAST_OVER_GRAIN = 2.0
_SMALLEST_VISIBLE_SHARE = 0.5
_DARK = 32  # of 255
_FAILED = "failed: "
_LONGEST_MESSAGE = 300  # characters


@dataclass(frozen=True, slots=True, eq=False)
class PreparedNormal:
    """A normal image with all that its samples share.

    Attributes:
        normal: the image.
        surface: what the anomaly types see of it.
        warning: what a person should know about it, such as why its foreground is the whole image; else empty.
    """

    normal: NormalImage
    surface: Surface
    warning: str


def prepare(
    source: NormalSource,
    recipe: Recipe,
    method: Method,
    category_edges: CategoryEdges | None = None,
    exemplars: ExemplarSource | None = None,
) -> PreparedNormal:
    """Read a normal image and find its foreground; with its category's edges, also its own edges and regions.

    Raises:
        InputDataError: the image cannot be read, or a photograph of a real defect.
    """
    known = exemplars.load() if exemplars is not None else None
    normal = read_normal(source, recipe.size, recipe.datasets[source.dataset].bit_depth)
    normal.pixels.setflags(write=False)
    foreground = find_foreground(normal, method)
    context = category_edges.edit_context(normal, foreground.mask) if category_edges is not None else None
    surface = Surface(normal.pixels, foreground.mask, recipe.material(source.dataset, source.category), context, known)
    warning = foreground.warning
    if normal.pixels.max() < _DARK:
        warning = f"{source.source}: nearly black; 16-bit files that use fewer bits need --bit-depth (12, say). {warning}"
    if context is not None and "logical" in recipe.types and not context.scene.regions.available:
        warning = f"{source.source}: shows no parts that edges set apart: `logical` edits shapes in it. {warning}"
    if context is not None and not context.donors.names:
        warning = f"{source.source}: no other image of its category can lend edges: they are only removed. {warning}"
    return PreparedNormal(normal, surface, warning.strip())


def sample_generator(seed: int, sample_id: str, attempt: int) -> np.random.Generator:
    """The random numbers of one draw: keyed by the recipe's seed, the sample's id and the attempt, and by nothing else."""
    digest = hashlib.sha256(f"{seed}\n{sample_id}\n{attempt}".encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest[:16], "little"))))


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to make: what, of which normal image, and what its type may draw."""

    spec: SampleSpec
    prepared: PreparedNormal
    settings: TypeSettings


@dataclass(frozen=True, slots=True)
class Refusal:
    """A draw without a sample.

    Attributes:
        reason: why.
        failed: whether its type raised an exception, which is a bug of the type; else the draw is none to learn from.
    """

    reason: str
    failed: bool = False


@dataclass(slots=True)
class Tally:
    """What came of draws, besides samples.

    Attributes:
        refused: how often they were refused, by type and reason.
        failed: how often a type raised an exception, and the first of them.
    """

    refused: dict[str, Counter[str]] = field(default_factory=dict)
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, refusal: Refusal) -> None:
        """Count a draw of a type."""
        if refusal.failed:
            message = " ".join(refusal.reason.removeprefix(_FAILED).split())[:_LONGEST_MESSAGE]
            count, first = self.failed.get(kind, (0, message))
            self.failed[kind] = count + 1, first
        else:
            self.refused.setdefault(kind, Counter())[refusal.reason] += 1


def make_sample(
    spec: SampleSpec, prepared: PreparedNormal, settings: TypeSettings, seed: int, refiner: Refiner | None = None
) -> Sample:
    """One sample, see `make_samples`."""
    return make_samples([Job(spec, prepared, settings)], seed, refiner=refiner)[0]


def make_samples(jobs: Sequence[Job], seed: int, tally: Tally | None = None, refiner: Refiner | None = None) -> list[Sample]:
    """Draw and render samples, each again and again until it is accepted, at most `MAX_ATTEMPTS` times.

    Where no draw is, the sample is the untouched normal image with the last refusal as `rejected`. Jobs are rendered and
    refined together, which says nothing about what comes out.

    Args:
        jobs: what to make.
        seed: the recipe's.
        tally: counts the draws that were refused and those that failed, if given.
        refiner: refines what was rendered, edge edits excepted; None for nothing.
    """
    made: dict[int, Sample] = {}
    refusals: list[list[Refusal]] = [[] for _ in jobs]
    for attempt in range(MAX_ATTEMPTS):
        waiting = [number for number in range(len(jobs)) if number not in made]
        for kind, numbers in _by_type(jobs, waiting, refiner is not None):
            outcomes = _attempt(kind, [jobs[k] for k in numbers], seed, attempt, refiner)
            for number, outcome in zip(numbers, outcomes, strict=True):
                if isinstance(outcome, Sample):
                    made[number] = outcome
                else:
                    refusals[number].append(outcome)
    if tally is not None:  # by sample: the order in which draws were made depends on what is made together
        for job, reasons in zip(jobs, refusals, strict=True):
            for refusal in reasons:
                tally.add(job.spec.type, refusal)
    return [made.get(k) or untouched(job.spec, job.prepared.normal, refusals[k][-1].reason) for k, job in enumerate(jobs)]


def _by_type(jobs: Sequence[Job], numbers: Sequence[int], refines: bool) -> Iterator[tuple[AnyAnomalyType, list[int]]]:
    """The jobs of each type together where they are rendered or refined many at once, else one by one."""
    for name in dict.fromkeys(jobs[number].spec.type for number in numbers):
        kind, same = TYPES[name], [number for number in numbers if jobs[number].spec.type == name]
        yield from [(kind, same)] if kind.render_many is not None or refines else [(kind, [number]) for number in same]


def _attempt(
    kind: AnyAnomalyType, jobs: Sequence[Job], seed: int, attempt: int, refiner: Refiner | None
) -> list[Sample | Refusal]:
    """One draw of each job: its sample, or why there is none."""
    outcomes: dict[int, Sample | Refusal] = {}
    params: dict[int, Any] = {}
    for k, job in enumerate(jobs):
        with _failing(outcomes, [k]):
            rng = sample_generator(seed, job.spec.sample_id, attempt)
            params[k] = kind.draw(rng, job.prepared.surface, job.settings)
    for group in ([*params], *([k] for k in params)):  # where all together fail, one by one: whose fault is it?
        waiting = [k for k in group if k not in outcomes]
        if waiting:
            with _failing(outcomes, waiting if len(waiting) == 1 else []):
                rendered = _rendered(kind, [jobs[k].prepared.surface for k in waiting], [params[k] for k in waiting], refiner)
                for k, result in zip(waiting, rendered, strict=True):
                    outcomes[k] = _judged(kind, jobs[k], result, kind.to_json(params[k]), attempt)
    return [outcomes[k] for k in range(len(jobs))]


def _rendered(
    kind: AnyAnomalyType, surfaces: Sequence[Surface], params: Sequence[Any], refiner: Refiner | None
) -> list[Rendered]:
    """What a type makes of some parameters, refined."""
    rendered = kind.render(surfaces, params)
    if refiner is None or not kind.refined:
        return rendered
    return refiner.refine([surface.pixels for surface in surfaces], rendered)


@contextmanager
def _failing(outcomes: dict[int, Sample | Refusal], numbers: list[int]) -> Iterator[None]:
    """One bad draw must not cost the other hundred thousand samples.

    Whatever a type raises is a failed draw of these numbers. What is wrong with the machine, not with the type (files, memory,
    devices, packages), goes through: or the same recipe would give other samples elsewhere.
    """
    try:
        yield
    except (SynthgenError, MemoryError, OSError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and _is_device(error):
            raise UsageError(
                f"the device failed: {str(error).splitlines()[0]} Fewer --jobs need less of its memory."
            ) from error
        if isinstance(error, cv2.error) and getattr(error, "code", 0) == cv2.Error.STS_NO_MEM:
            raise MemoryError(str(error)) from error
        for number in numbers:
            outcomes[number] = Refusal(f"{_FAILED}{type(error).__name__}: {error}", failed=True)


def _is_device(error: RuntimeError) -> bool:
    """Whether an accelerator failed, or ran out of memory: no fault of the sample."""
    return type(error).__name__ in ("OutOfMemoryError", "AcceleratorError") or "CUDA" in str(error)


def _judged(kind: AnyAnomalyType, job: Job, rendered: Rendered, params: dict[str, Any], attempt: int) -> Sample | Refusal:
    """The sample, or why it is none to learn from."""
    normal = job.prepared.normal
    before = normal.pixels[rendered.box[0] : rendered.box[2], rendered.box[1] : rendered.box[3]]
    area, contrast, visible = _measure(before, rendered)
    reason = rendered.refused or refusal(area, contrast, visible, rendered.box, job.prepared.surface, kind)
    if reason:
        return Refusal(reason)
    image, mask = _whole(normal.pixels, rendered)
    return Sample(
        spec=job.spec,
        image=image,
        mask=mask,
        normal=normal.pixels,
        box=rendered.box,
        params=params,
        attempt=attempt,
        area=area,
        contrast=contrast,
        visible=visible,
        source_sha256=normal.sha256,
        generated=rendered.generated,
        difference=rendered.difference,
    )


def untouched(spec: SampleSpec, normal: NormalImage, reason: str) -> Sample:
    """The rejected sample: the normal image itself, with the reason."""
    nothing = np.zeros(normal.pixels.shape[:2], np.uint8)
    return Sample(
        spec=spec,
        image=normal.pixels.copy(),
        mask=nothing,
        normal=normal.pixels,
        box=(0, 0, 0, 0),
        params={},
        attempt=MAX_ATTEMPTS - 1,
        area=0,
        contrast=0.0,
        visible=0.0,
        source_sha256=normal.sha256,
        rejected=reason,
    )


def refusal(area: int, contrast: float, visible: float, box: Box, surface: Surface, kind: AnyAnomalyType) -> str:
    """Why nobody should be asked to learn from this sample; empty if it is good.

    Args:
        area: number of mask pixels.
        contrast: mean change in gray levels.
        visible: share of mask pixels with a visible change.
        box: where the change is.
        surface: the normal image, whose grain and texture hide small changes.
        kind: its type, which has limits of its own.
    """
    pixels = surface.foreground.size
    if area < max(_SMALLEST_SHARE * pixels, _SMALLEST_AREA):
        return "too small"
    if area > kind.largest_share * pixels:
        return "too large"
    if kind.edits_edges:  # a part that is gone need not differ in its mean brightness; the type has judged the change itself
        return "" if visible >= _SMALLEST_VISIBLE_SHARE else "not visible"
    texture = kind.contrast_over_texture * surface.texture(box)
    hidden = max(kind.smallest_contrast, _CONTRAST_OVER_GRAIN * surface.grain, texture)
    if contrast < hidden or visible < _SMALLEST_VISIBLE_SHARE:
        return "not visible"
    return ""


def replay(prepared: PreparedNormal, sample: Sample, refiner: Refiner | None = None) -> tuple[Image, Mask]:
    """Image and mask of an accepted sample again, from its stored parameters instead of random numbers."""
    kind = TYPES[sample.spec.type]
    (rendered,) = _rendered(kind, [prepared.surface], [kind.from_json(sample.params)], refiner)
    return _whole(prepared.normal.pixels, rendered)


def _measure(before: Image, rendered: Rendered) -> tuple[int, float, float]:
    """Area, contrast and visible share of a rendered change, as in `Sample`."""
    change = largest_change(before, rendered.patch)[rendered.mask > 0] if rendered.mask.size else np.zeros(0, np.uint8)
    if not len(change):
        return 0, 0.0, 0.0
    # as shards store them, so that both carriers give the same numbers
    return len(change), float(np.float32(change.mean())), float(np.float32((change >= SEEN).mean()))


def _whole(normal: Image, rendered: Rendered) -> tuple[Image, Mask]:
    y0, x0, y1, x1 = rendered.box
    image, mask = normal.copy(), np.zeros(normal.shape[:2], np.uint8)
    image[y0:y1, x0:x1] = rendered.patch
    mask[y0:y1, x0:x1] = rendered.mask
    return image, mask


class SynthesisDataset(Sequence[Sample]):
    """The samples of a plan, made when asked for: the same as those that a build writes, in the same order.

    Picklable and without state that matters: any process, in any order, gets the same bytes. Samples of the same normal
    image asked for one after the other share its decoding. A draw in which a type raises is told by a RuntimeWarning.

    Raises:
        InputDataError: from an item, if its normal image cannot be read.
    """

    def __init__(self, plan: Plan, keep: int = 8) -> None:
        """Take a plan, and how many prepared normal images to keep."""
        self._plan = plan
        self._keep = max(keep, 1)
        self._settings = {name: plan.recipe.settings(name) for name in plan.recipe.types}
        self._starts = np.cumsum([0, *(len(shard) for shard in plan.shards)])
        self._prepared: OrderedDict[tuple[str, str, str], PreparedNormal] = OrderedDict()
        self._tables: dict[int, list[tuple[NormalSource, SampleSpec]]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Sample `index` of the plan; negative numbers count from the end."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        index = range(len(self))[index]
        at = int(np.searchsorted(self._starts, index, side="right")) - 1
        source, spec = self._table(at)[index - int(self._starts[at])]
        tally, job = Tally(), Job(spec, self._prepare(source), self._settings[spec.type])
        (sample,) = make_samples([job], self._plan.recipe.seed, tally, self._plan.refiner(spec.dataset))
        for name, (_, message) in tally.failed.items():  # there is no build that would count it
            warnings.warn(f"{name}: a draw failed, which is a bug of the type: {message}", RuntimeWarning, stacklevel=2)
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, object]:
        """Everything but what is kept only for speed."""
        return self.__dict__ | {"_prepared": OrderedDict(), "_tables": {}}

    def _table(self, at: int) -> list[tuple[NormalSource, SampleSpec]]:
        """The samples of one shard, with their normal images."""
        if at not in self._tables:
            shard = self._plan.shards[at]
            self._tables[at] = [
                (source, spec) for source in shard.sources for spec in specs_of(self._plan.recipe, shard, source)
            ]
        return self._tables[at]

    def _prepare(self, source: NormalSource) -> PreparedNormal:
        key = (source.dataset, source.category, source.source)
        if key not in self._prepared:
            method = self._plan.methods[source.dataset, source.category]
            category_edges = self._plan.category_edges(source.dataset, source.category)
            exemplars = self._plan.decisions.exemplars.get((source.dataset, source.category))
            self._prepared[key] = prepare(source, self._plan.recipe, method, category_edges, exemplars)
            if len(self._prepared) > self._keep:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(key)
        return self._prepared[key]
