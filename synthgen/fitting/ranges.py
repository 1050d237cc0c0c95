"""What a type should draw from, so that what it makes measures like real defects."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from synthgen.anomalies.registry import TYPES
from synthgen.fitting.measure import Measured

_FEWEST = 3  # real defects that a suggestion needs
_SLACK = 1.15  # changes below are no suggestion
_SCALED = {
    "extent": ("size_range", "length_range", "radius_px_range"),
    "width": ("width_px_range",),
    "contrast": ("contrast_range",),  # of relief, light and shadow cancel: it shows in no mean
}
"""The settings that are taken to scale with a measure."""
FEW = 10  # defects, below which little is known of how they vary
_SPREAD, _SPREAD_OF_FEW = 1.5, 3.0  # largest over smallest of a suggested range, and of one from few defects, at least
_FARTHEST = 4.0  # times, beyond a type's own range, that a suggestion may go


def suggested_ranges(kind: str, real: Measured, made: Measured, settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """Ranges that would move the synthetic percentiles onto the real ones, if they scale with what is measured.

    Args:
        kind: name of a type.
        real: the defects that it should make the like of.
        made: what it makes now.
        settings: what that was drawn from.

    Returns:
        Settings to change, which the type takes; none from fewer than three defects. A range from fewer than ten spans at
        least a factor of 3, others one of 1.5.
    """
    count = len(real.values["area"])
    if count < _FEWEST:
        return {}
    changes: dict[str, list[float]] = {}
    for measured, names in _SCALED.items():
        (low, _, high), (made_low, _, made_high) = real.percentiles(measured), made.percentiles(measured)
        factors = low / max(made_low, 1e-9), high / max(made_high, 1e-9)
        if all(1 / _SLACK < factor < _SLACK for factor in factors):
            continue
        for name in names:
            if name in settings:
                first, last = (float(value) * factor for value, factor in zip(settings[name], factors, strict=True))
                spread = _SPREAD if count >= FEW else _SPREAD_OF_FEW
                if legal := _legal(kind, name, _widened(min(first, last), max(first, last), spread), settings):
                    changes[name] = legal
    if "count_range" in settings:
        low, _, high = real.percentiles("count")
        counts = [max(1, round(low)), max(1, round(high))]
        if counts != [int(value) for value in settings["count_range"]]:
            changes["count_range"] = [float(value) for value in counts]
    return changes


def _widened(low: float, high: float, spread: float) -> tuple[float, float]:
    """A range around the same middle whose ends are at least `spread` times apart: so few defects know no more."""
    grow = max(spread / max(high / max(low, 1e-9), 1.0), 1.0) ** 0.5
    return low / grow, high * grow


def _legal(kind: str, name: str, wanted: tuple[float, float], settings: Mapping[str, Any]) -> list[float]:
    """A range no farther than that beyond a type's own, moved as a whole; empty where the type would not take it."""
    lowest, highest = settings[name][0] / _FARTHEST, settings[name][1] * _FARTHEST
    moved = min(max(1.0, lowest / max(wanted[0], 1e-9)), highest / max(wanted[1], 1e-9))
    clipped = [float(f"{min(max(value * moved, lowest), highest):.3g}") for value in wanted]
    try:
        TYPES[kind].settings(**{**settings, name: tuple(clipped)})
    except ValidationError:
        return []
    return clipped
