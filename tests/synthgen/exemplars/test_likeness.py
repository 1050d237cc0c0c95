"""Real defects and the types that are like them."""

import cv2
import numpy as np
import pytest

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.exemplars.exemplar import ExemplarSet
from synthgen.exemplars.likeness import likeness, types_like
from synthgen.recipe.mixtures import with_copies
from tests.synthgen.exemplars.photographs import SIDE, exemplars, plain, spot


def line(*points, width=2):
    """(SIDE, SIDE) uint8 {0, 1}: a line through points (x, y)."""
    return cv2.polylines(np.zeros((SIDE, SIDE), np.uint8), [np.array(points)], False, 1, width)


@pytest.mark.parametrize(
    ("mask", "most"),
    [
        (line((20, 20), (50, 70), (40, 100), (90, 110)), "crack"),
        (line((20, 20), (100, 60)), "scratch"),
        (spot(60, 60, 4), "spot"),
        (spot(60, 60, 30), "zone"),
        (spot(0, 60, 10), "break"),
    ],
)
def test_a_defect_is_like_the_type_that_makes_such_shapes(mask, most):
    shares = likeness(exemplars(mask).exemplars[0])
    assert max(shares, key=shares.__getitem__) == most
    assert sum(shares.values()) == pytest.approx(1)
    assert shares.keys() <= SURFACE_TYPES.keys()


def test_each_kind_counts_the_same():
    lines = exemplars(*(line((20, 20 + k), (50, 70), (40, 100), (90, 110)) for k in range(4)), kind="line")
    dots = exemplars(spot(60, 60, 4), kind="dot")
    both = types_like(ExemplarSet(lines.exemplars + dots.exemplars, False))
    assert sum(both.values()) == pytest.approx(1)
    assert both["crack"] == pytest.approx(0.4)  # 0.8 of a half
    assert both["spot"] == pytest.approx(0.25)


def test_a_mixture_with_copies_keeps_some_of_every_type():
    before = dict.fromkeys(SURFACE_TYPES, 1 / len(SURFACE_TYPES))
    after = with_copies(before, exemplars(spot(60, 60, 4), pixels=plain()))
    assert sum(after.values()) == pytest.approx(1, abs=1e-3)
    assert min(after.values()) > 0
    assert after["spot"] > 2 * after["crack"]
    assert after["real"] > max(weight for name, weight in after.items() if name != "real")
