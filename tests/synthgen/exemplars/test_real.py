"""Copies of real defects: where they lie, what they look like there, and that their masks are exact."""

import numpy as np
import pytest

from synthgen.anomalies.real import REAL
from synthgen.painting.surface import Surface
from synthgen.samples import NormalImage, SampleSpec
from synthgen.synthesis import PreparedNormal, make_sample, replay
from tests.support.surfaces import disc
from tests.synthgen.exemplars.photographs import SIDE, damaged, exemplars, lined, plain, spot

WHOLE = np.ones((SIDE, SIDE), np.uint8)
EXACT = REAL.configure(scale_range=(1, 1), contrast_range=(1, 1), warp_range=(0, 0), count_range=(1, 1))


def prepared(pixels, known, foreground=WHOLE):
    normal = NormalImage("folder", "part", "0.png", "0" * 64, pixels)
    return PreparedNormal(normal, Surface(pixels, foreground, "any", None, known), "")


def made(where, settings=EXACT, replica=0):
    spec = SampleSpec(
        sample_id=f"folder/part/0/real/{replica}",
        dataset="folder",
        category="part",
        source="0.png",
        type="real",
        replica=replica,
        size=(SIDE, SIDE),
        generator=REAL.generator,
    )
    sample = make_sample(spec, where, settings, seed=0)
    assert sample.rejected == ""
    return sample


@pytest.mark.parametrize("replica", range(6))
def test_a_copy_changes_what_its_mask_says_and_can_be_made_again(replica):
    known = exemplars(spot(40, 50), spot(90, 30, 5))
    where = prepared(plain(9), known)
    sample = made(where, REAL.configure(), replica)
    changed = (sample.image != sample.normal).any(2)
    assert changed[sample.mask > 0].all()
    outside = changed & (sample.mask == 0)
    assert np.abs(sample.image.astype(int) - sample.normal)[outside].max(initial=0) < 6  # what nobody sees
    image, mask = replay(where, sample)
    assert np.array_equal(image, sample.image)
    assert np.array_equal(mask, sample.mask)


@pytest.mark.parametrize("level", [80, 120, 180])
def test_a_copy_is_as_dark_as_its_exemplar_in_the_light_of_its_place(level):
    sample = made(prepared(plain(5, level), exemplars(spot(40, 50))))
    inside = sample.image[sample.mask > 0].mean()
    assert inside / level == pytest.approx(60 / 120, abs=0.06)  # half of the light is taken there, and here
    assert int(sample.mask.sum()) == pytest.approx(int(spot(40, 50).sum()), rel=0.25)


def test_gray_images_stay_gray():
    red = damaged(plain(), spot(40, 50)) * np.array([1, 0, 0], np.uint8) + damaged(plain(), spot(40, 50)) * np.array(
        [0, 1, 1], np.uint8
    ) // np.uint8(2)
    sample = made(prepared(plain(5), exemplars(spot(40, 50), pixels=red)))
    assert (sample.image == sample.image[..., :1]).all()


def test_copies_on_lines_are_turned_along_them_alone():
    known = exemplars(spot(60, 60), pixels=lined())
    for replica in range(5):
        turn = made(prepared(lined(7), known), replica=replica).params["copies"][0][5]
        assert abs(np.sin(turn)) < 0.3
    free = [made(prepared(plain(7), exemplars(spot(60, 60))), replica=k).params["copies"][0][5] for k in range(5)]
    assert max(abs(np.sin(turn)) for turn in free) > 0.3


@pytest.mark.parametrize("place", [(0, 60), (60, SIDE - 1)])
def test_what_reaches_the_border_reaches_it_again(place):
    for replica in range(4):
        mask = made(prepared(plain(7), exemplars(spot(*place))), REAL.configure(), replica).mask
        edges = (mask[0], mask[-1]) if place[0] == 0 else (mask[:, 0], mask[:, -1])
        assert any(edge.any() for edge in edges)


def test_what_lies_on_the_rim_lies_on_it_again_and_the_rest_on_the_object():
    part = disc(SIDE, SIDE, 42)
    pixels = np.where(part[..., None] > 0, plain(1, 160), plain(2, 20)).astype(np.uint8)
    on_rim = exemplars(spot(64, 104, 6) & part, pixels=pixels, foreground=part)
    within = exemplars(spot(64, 64, 6), pixels=pixels, foreground=part)
    depth = np.hypot(*(np.mgrid[:SIDE, :SIDE] - 64))
    for replica in range(4):
        assert depth[made(prepared(pixels, on_rim, part), replica=replica).mask > 0].max() > 38
        assert part[made(prepared(pixels, within, part), replica=replica).mask > 0].all()


def test_on_a_product_that_lies_still_most_copies_lie_near_their_exemplar():
    far = []
    for replica in range(12):
        copy = made(prepared(plain(3), exemplars(spot(30, 100), still=True)), replica=replica).params["copies"][0]
        far.append(np.hypot(copy[2] - 30, copy[3] - 100))
        assert abs(copy[5]) < 0.6
        assert copy[6] == 0  # no mirror image
    assert np.median(far) < 0.25 * SIDE


def test_kinds_come_up_alike_however_many_exemplars_they_have():
    many, few = exemplars(*(spot(20 + 20 * k, 60, 4) for k in range(5))), exemplars(spot(60, 60, 9), kind="rare")
    both = type(many)(many.exemplars + few.exemplars, False)
    rng = np.random.default_rng(0)
    surface = Surface(plain(4), WHOLE, exemplars=both)
    kinds = [REAL.draw(rng, surface, EXACT).kind for _ in range(200)]
    assert 70 < kinds.count("rare") < 130
