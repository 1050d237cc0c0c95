"""What types should be made beside copies of real defects, how often, and from which ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthgen.anomalies.contract import TypeSettings
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.fitting.measure import Measured, measure, parts_like
from synthgen.fitting.ranges import FEW, suggested_ranges
from synthgen.fitting.samples import make_some
from synthgen.samples import Image, Mask
from synthgen.synthesis import PreparedNormal

_TRIED = 48  # samples of a type that are measured

Ranges = dict[str, list[float]]
"""Settings of a type by name."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedType:
    """A type held against the real defects that it makes the like of.

    Attributes:
        ranges: what it should draw from instead of what it does; empty where that fits, or nothing is known.
        defects: how many real ones it was held against.
        real, made: these, and what the type makes without the ranges; None where there are none.
    """

    ranges: Ranges
    defects: int
    real: Measured | None = None
    made: Measured | None = None

    @property
    def reason(self) -> str:
        """Why it has these ranges, or none, for people."""
        if self.real is None or self.made is None:
            return "no real defect is like it"
        counted = f"{self.defects} real defect{'s' if self.defects != 1 else ''} like it"
        if not self.ranges:
            return f"{counted}: too few to say" if self.defects < 3 else f"{counted}, and it makes such already"
        told = "; ".join(
            f"{measured} {self._span(self.real, measured)} (made: {self._span(self.made, measured)})"
            for measured in ("extent", "width", "contrast")
        )
        return f"{counted}{', few, so ranges are wide' if self.defects < FEW else ''}: {told}"

    @staticmethod
    def _span(measured: Measured, name: str) -> str:
        low, _, high = measured.percentiles(name)
        return f"{low:.2g}..{high:.2g}"


def fit_types(
    marked: Sequence[tuple[str, Image, Mask]],
    normals: Sequence[PreparedNormal],
    settings: Mapping[str, TypeSettings],
    seed: int = 0,
) -> dict[str, FittedType]:
    """Hold each type against the real defects that it makes the like of.

    Args:
        marked: (kind, (H, W, 3) uint8 RGB, (H, W) uint8 {0, 1}) of each photograph of a defect.
        normals: normal images, of the same size.
        settings: what each type draws from now; those that are no surface types are passed over.
        seed: of the samples that are made to be measured.
    """
    fitted = {}
    for name in settings:
        if name not in SURFACE_TYPES:
            continue
        real = measure(parts_like(name, marked))
        count = len(real.values["area"])
        if not count:
            fitted[name] = FittedType({}, 0)
            continue
        samples = make_some(name, settings[name], normals, _TRIED, seed)
        made = measure((sample.image, sample.mask) for sample in samples)
        if not made.images:
            fitted[name] = FittedType({}, count)
            continue
        ranges = suggested_ranges(name, real, made, settings[name].model_dump())
        fitted[name] = FittedType(ranges, count, real, made)
    return fitted
