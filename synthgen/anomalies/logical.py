"""Logical anomalies: a part is missing, is another one, is broken, or is there once too often (LogicAL, semantic regions).

The edges of regions of the picture are edited, and a network draws the picture anew; see `edge_edit`.

Numbers: LogicAL gives none for its edits. These are looked at: chosen by eye on what a generator draws of them.
"""

import numpy as np

from synthgen.anomalies.contract import AnomalyType, Share
from synthgen.anomalies.edge_edit import EdgeParams, EdgeSettings, Weights, draw_with, render, render_one
from synthgen.edges.editing import EditWeights
from synthgen.painting.surface import Surface


class LogicalSettings(EdgeSettings):
    """What may be drawn for an edit of regions.

    Attributes:
        region_weights: of editing one, two, three regions.
        added_share: share of replacing and merging edits that add a part of another picture instead.
    """

    region_weights: Weights = (0.6, 0.3, 0.1)
    added_share: Share = 0.3


STRENGTHS = {
    "subtle": {"region_weights": (1.0, 0.0, 0.0)},
    "normal": {},
    "strong": {"region_weights": (0.2, 0.5, 0.3)},
}


def draw(rng: np.random.Generator, surface: Surface, settings: LogicalSettings) -> EdgeParams:
    """Parameters of one edit of regions on this surface; of shapes, where it has no regions."""
    weights = EditWeights(settings.weights, settings.region_weights, settings.added_share)
    return draw_with(rng, surface, settings, weights, semantic=True)


LOGICAL = AnomalyType(
    name="logical",
    version=1,
    settings=LogicalSettings,
    strengths=STRENGTHS,
    params=EdgeParams,
    draw=draw,
    render_one=render_one,
    largest_share=0.5,
    smallest_contrast=0.0,
    render_many=render,
    edits_edges=True,
)
