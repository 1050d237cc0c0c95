"""Structural anomalies: something is broken, smeared or foreign in a place of any shape (LogicAL, arbitrary regions).

The edges within some random shapes are edited, and a network draws the picture anew; see `edge_edit`.

Numbers: LogicAL gives none for its edits. These are looked at: chosen by eye on what a generator draws of them.
"""

from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from synthgen.anomalies.contract import AnomalyType, CountRange
from synthgen.anomalies.edge_edit import EdgeParams, EdgeSettings, Weights, draw_with, render, render_one
from synthgen.edges.editing import EditWeights
from synthgen.painting.surface import Surface

_MOST_SHAPES = 20


def _shares(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1] <= 0.15:
        raise ValueError("expected two shares of the image, 0 < smallest <= largest <= 0.15")
    return value


def _possible(value: tuple[int, int]) -> tuple[int, int]:
    if value[1] > _MOST_SHAPES:
        raise ValueError(f"at most {_MOST_SHAPES} shapes are possible")
    return value


class StructuralSettings(EdgeSettings):
    """What may be drawn for an edit of shapes.

    Attributes:
        shape_count_range: number of shapes; together they cover at most 15 % of the image.
        shape_area_range: share of the image of each; log-uniform.
    """

    operations: Weights = (0.15, 0.5, 0.35)
    shape_count_range: Annotated[CountRange, AfterValidator(_possible)] = (3, 3)
    shape_area_range: Annotated[tuple[float, float], AfterValidator(_shares)] = (0.005, 0.06)


STRENGTHS = {
    "subtle": {"shape_area_range": (0.003, 0.02)},
    "normal": {},
    "strong": {"shape_area_range": (0.02, 0.08)},
}


def draw(rng: np.random.Generator, surface: Surface, settings: StructuralSettings) -> EdgeParams:
    """Parameters of one edit of shapes on this surface."""
    low, high = settings.shape_count_range
    count = int(rng.integers(low, high + 1))
    return draw_with(
        rng, surface, settings, EditWeights(settings.weights, shapes=count, shape_area=settings.shape_area_range), False
    )


STRUCTURAL = AnomalyType(
    name="structural",
    version=1,
    settings=StructuralSettings,
    strengths=STRENGTHS,
    params=EdgeParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.5,
    smallest_contrast=0.0,
    render_many=render,
    edits_edges=True,
)
