"""Real defects taken apart: how many there are in a photograph, where they lie, and whether the product lies still."""

import numpy as np
import pytest

from synthgen.exemplars.stillness import lies_still
from synthgen.exemplars.taking_apart import take_apart
from synthgen.painting.surface import Surface
from tests.support.builders import picture
from tests.support.surfaces import disc
from tests.synthgen.exemplars.photographs import SIDE, damaged, exemplars, lined, plain, spot


def test_each_defect_is_kept_with_its_own_pixels_and_what_surrounds_it():
    mask, pixels = spot(40, 90), plain()
    photograph = damaged(pixels, mask)
    (kept,) = take_apart("hole/0.png", "hole", "0" * 64, Surface(photograph, np.ones_like(mask)), mask)
    y0, x0, y1, x1 = kept.box
    assert np.array_equal(kept.pixels, photograph[y0:y1, x0:x1])
    assert np.array_equal(kept.mask, mask[y0:y1, x0:x1])
    assert int(kept.mask.sum()) == int(mask.sum())  # all of it
    assert not (kept.mask & kept.unmarked).any()
    assert kept.place == pytest.approx((40.5 / SIDE, 90.5 / SIDE))
    assert kept.colour[0] == pytest.approx(120, abs=2)  # of the surface, not of the defect


def test_parts_that_lie_far_apart_are_defects_of_their_own():
    assert len(exemplars(spot(20, 20) | spot(100, 100)).exemplars) == 2
    assert len(exemplars(spot(20, 20, 4) | spot(20, 30, 4)).exemplars) == 1  # a crack with a gap is one crack


def test_what_one_defect_keeps_of_another_is_no_surface():
    first, second = exemplars(spot(60, 50, 9) | spot(60, 76, 9)).exemplars
    for kept in (first, second):
        assert not kept.unmarked[kept.mask > 0].any()
        assert (kept.mask | kept.unmarked).sum() < kept.mask.size  # some of the neighbour is in the window


@pytest.mark.parametrize(
    ("place", "sides"), [((0, 60), ("top",)), ((60, SIDE - 1), ("right",)), ((SIDE - 1, 0), ("bottom", "left")), ((60, 60), ())]
)
def test_a_defect_knows_the_borders_of_the_picture_that_it_reaches(place, sides):
    assert exemplars(spot(*place)).exemplars[0].sides == sides


@pytest.mark.parametrize(("place", "angle"), [((64, 106), 0.0), ((106, 64), np.pi / 2), ((64, 22), np.pi)])
def test_a_defect_on_the_rim_knows_the_way_out(place, angle):
    (kept,) = exemplars(spot(*place, 5) & disc(SIDE, SIDE, 42), foreground=disc(SIDE, SIDE, 42)).exemplars
    assert abs(np.angle(np.exp(1j * (kept.outwards - angle)))) < 0.2


def test_a_defect_within_the_object_is_on_no_rim():
    assert exemplars(spot(64, 64), foreground=disc(SIDE, SIDE, 42)).exemplars[0].outwards is None
    assert exemplars(spot(64, 64)).exemplars[0].outwards is None


def test_lines_of_the_surface_are_known():
    assert exemplars(spot(60, 60), pixels=lined()).exemplars[0].lay == pytest.approx(np.pi / 2, abs=0.05)
    assert exemplars(spot(60, 60)).exemplars[0].lay is None


def test_a_part_in_a_holder_lies_still_and_a_texture_does_not():
    part = picture(3, SIDE, SIDE)
    whole = np.ones((SIDE, SIDE), np.uint8)
    held = [np.roll(part, (k, -k), (0, 1)) // np.uint8(1 + k % 2) * np.uint8(1 + k % 2) for k in range(4)]
    assert lies_still([Surface(pixels, whole) for pixels in held])
    assert not lies_still([Surface(plain(k), whole) for k in range(4)])
    assert not lies_still([Surface(np.rot90(part, k).copy(), whole) for k in range(4)])
    assert not lies_still([Surface(part, whole)])  # of one picture nobody knows
