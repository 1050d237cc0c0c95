"""Anomaly types, one file each; `registry` has them by name. Here is what a type of another package needs: docs/new-type.md."""

from synthgen.anomalies.contract import (
    AnomalyType,
    AnyAnomalyType,
    CountRange,
    PositiveRange,
    Range,
    RelativeRange,
    Share,
    Strength,
    Style,
    TypeSettings,
)
from synthgen.painting.appearance import Coat, coated, draw_light, draw_tint, lit, signed_contrast, soften
from synthgen.painting.blending import clip_box, finish, visible
from synthgen.painting.draws import angle, log_uniform, seed, uniform, weighted_choice
from synthgen.painting.rendered import NOTHING, Rendered
from synthgen.painting.shapes import (
    blotch_noise,
    box_around,
    coverage,
    ellipse_distance,
    filled,
    jagged_outline,
    ribbon,
    streaks,
)
from synthgen.painting.surface import Surface

__all__ = [
    "NOTHING",
    "AnomalyType",
    "AnyAnomalyType",
    "Coat",
    "CountRange",
    "PositiveRange",
    "Range",
    "RelativeRange",
    "Rendered",
    "Share",
    "Strength",
    "Style",
    "Surface",
    "TypeSettings",
    "angle",
    "blotch_noise",
    "box_around",
    "clip_box",
    "coated",
    "coverage",
    "draw_light",
    "draw_tint",
    "ellipse_distance",
    "filled",
    "finish",
    "jagged_outline",
    "lit",
    "log_uniform",
    "ribbon",
    "seed",
    "signed_contrast",
    "soften",
    "streaks",
    "uniform",
    "visible",
    "weighted_choice",
]
