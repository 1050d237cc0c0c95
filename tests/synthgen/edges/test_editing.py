"""Edits of edge maps: what each operation does to which pixels, what is drawn, and what is refused."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.edges.editing import (
    Donors,
    EdgeScene,
    EdgeShape,
    Edit,
    EditWeights,
    Placement,
    draw_edit,
    edited,
    edited_area,
    place,
    regions_area,
    shapes_area,
)
from synthgen.edges.regions import Regions

SIDE = 96
EQUAL = EditWeights({"remove": 1, "replace": 1, "merge": 1})
KINDS = ("rectangle", "ellipse", "polygon", "stroke", "blob")


def scene(seed=0, parts=5, available=True, side=SIDE):
    """Some discs with an outline each, at random places of a grid."""
    rng = np.random.default_rng(seed)
    labels, edges = np.zeros((side, side), np.uint8), np.ones((side, side), np.float32)
    cells = rng.permutation(16)[:parts]
    for label, cell in enumerate(cells, start=1):
        centre = (int((cell % 4 + 0.5) * side / 4), int((cell // 4 + 0.5) * side / 4))
        radius = int(side * 0.06 + 2 * (parts - label))
        cv2.circle(labels, centre, radius, label, cv2.FILLED)
        cv2.circle(edges, centre, radius, 0.0, 3)
    return EdgeScene(edges, Regions(labels, available), np.ones((side, side), np.uint8))


def donors(*seeds, **facts):
    return Donors(tuple(f"donor-{seed}" for seed in seeds), lambda name: scene(int(name.split("-")[1]), **facts))


def test_removing_leaves_background_in_the_area_and_nothing_else():
    here = scene()
    new, area = edited(here, donors(), Edit("remove", "semantic", (2,)))
    assert (new[area > 0] == 1).all()
    assert np.array_equal(new[area == 0], here.edges[area == 0])
    inside = here.regions.labels == 2
    assert area[inside].all()
    assert area.sum() > inside.sum()  # and a margin


def test_replacing_shows_the_donors_edges_and_merging_both():
    here, lent = scene(0), donors(1)
    other = lent.scene("donor-1").edges
    whole = (EdgeShape("rectangle", y=0.5, x=0.5, area=0.9, aspect=1.0, turn=0.0, seed=0),)
    core = np.s_[20:76, 20:76]
    replaced, _ = edited(here, lent, Edit("replace", "arbitrary", shapes=whole, donor="donor-1"))
    assert np.allclose(replaced[core], other[core], atol=1e-3)
    merged, _ = edited(here, lent, Edit("merge", "arbitrary", shapes=whole, donor="donor-1"))
    assert np.allclose(merged[core], np.clip(here.edges + other - 1, 0, 1)[core], atol=1e-3)
    # an edge of either stays an edge; background is what is background in both
    assert (merged[core] <= np.minimum(here.edges, other)[core] + 1e-3).all()
    assert merged.min() >= 0
    assert merged.max() <= 1


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_what_is_drawn_changes_edges_only_in_and_around_its_area(seed, semantic, has_donors):
    here, lent = scene(seed % 7), donors(11, 12, 13) if has_donors else donors()
    edit = draw_edit(np.random.default_rng(seed), here, lent, EQUAL, semantic)
    assert edit.operation in (("remove", "replace", "merge") if has_donors else ("remove",))
    assert (edit.where == "arbitrary") == (not semantic)
    new, area = edited(here, lent, edit)
    assert new.dtype == np.float32
    assert new.min() >= 0
    assert new.max() <= 1
    around = cv2.dilate(area, np.ones((9, 9), np.uint8))
    assert np.allclose(new[around == 0], here.edges[around == 0], atol=1e-3)
    assert np.abs(new - here.edges).sum() > 0
    again, _ = edited(here, lent, edit)
    assert np.array_equal(new, again)


def test_the_same_numbers_give_the_same_edit_and_others_another():
    draws = [draw_edit(np.random.default_rng(seed), scene(), donors(1, 2), EQUAL, True) for seed in (0, 0, *range(1, 12))]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 8


def test_a_new_donor_changes_only_the_draws_that_it_wins():
    def lender(seed, names):
        odds = EditWeights({"replace": 1}, added=0)
        return draw_edit(np.random.default_rng(seed), scene(), donors(*names), odds, True).donor

    before = [lender(seed, range(1, 9)) for seed in range(60)]
    after = [lender(seed, range(1, 10)) for seed in range(60)]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert 0 < len(moved) < 25
    assert "donor-9" in moved


def test_without_regions_shapes_are_edited():
    edit = draw_edit(np.random.default_rng(0), scene(available=False), donors(1), EQUAL, True)
    assert edit.where == "arbitrary"


def test_a_picture_without_edges_still_gets_an_edit():
    blank = EdgeScene(np.ones((64, 64), np.float32), Regions(np.zeros((64, 64), np.uint8), False), np.ones((64, 64), np.uint8))
    edit = draw_edit(np.random.default_rng(0), blank, donors(), EQUAL, False)
    assert edit.operation == "remove"


def test_an_added_part_lies_between_the_others():
    odds, found = EditWeights({"replace": 1}, added=1.0), 0
    for seed in range(40):
        here, lent = scene(seed), donors(50 + seed)
        edit = draw_edit(np.random.default_rng(seed), here, lent, odds, True)
        if edit.where != "added":
            continue  # no place was found
        found += 1
        area = regions_area(here, lent.scene(edit.donor), edit) > 0
        assert area.sum() > 0
        assert (here.regions.labels[area] > 0).mean() <= 0.3
    assert found > 20


def test_placing_mirrors_resizes_and_shifts_and_fills_with_background():
    values = np.ones((40, 60), np.float32)
    values[10:20, 5:15] = 0
    assert np.array_equal(place(values, Placement(), 1.0), values)
    assert np.array_equal(place(values, Placement(flip_x=True), 1.0), values[:, ::-1])
    assert np.array_equal(place(values, Placement(flip_y=True), 1.0), values[::-1])
    moved = place(values, Placement(shift_y=0.25, shift_x=0.5), 1.0)
    assert np.array_equal(moved[20:30, 35:45], np.zeros((10, 10), np.float32))
    assert moved[:10].min() == moved[:, :30].min() == 1
    small = place(values, Placement(zoom=0.5), 1.0)
    assert small[:9].min() == 1  # what lies outside of the donor
    assert (small < 0.5).sum() == pytest.approx(25, abs=12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aspect", [0.2, 1.0, 5.0])
def test_shapes_have_about_the_area_they_say(kind, aspect):
    for turn in (0.0, 0.7):
        for area in (0.01, 0.05):
            drawn = [
                shapes_area((EdgeShape(kind, y=0.5, x=0.5, area=area, aspect=aspect, turn=turn, seed=seed),), (256, 256)).mean()
                for seed in range(20)
            ]
            assert 0.5 * area < np.mean(drawn) < 1.6 * area


def test_sizes_in_pixels_scale_with_the_picture():
    small, large = scene(side=96), scene(side=192)
    margins = []
    for here in (small, large):
        edit = Edit("remove", "semantic", (1,))
        inner = regions_area(here, None, edit)
        outer = edited_area(here, None, edit)
        margins.append(np.sqrt(outer.sum() / np.pi) - np.sqrt(inner.sum() / np.pi))
    assert margins[1] == pytest.approx(2 * margins[0], rel=0.4)


def test_parameters_survive_json():
    from synthgen.anomalies.edge_edit import EdgeParams
    from synthgen.anomalies.logical import LOGICAL

    params = EdgeParams(
        style="realistic", operation="merge", where="arbitrary", labels=(), shapes=(("blob", 0.5, 0.25, 0.01, 1.5, 0.2, 7),),
        donor="a/b.png", flip_x=True, flip_y=False, zoom=1.25, shift_y=0.1, shift_x=-0.05, mode="paper", threshold=0.5,
        keep_difference=True,
    )  # fmt: skip
    assert LOGICAL.from_json(json.loads(json.dumps(LOGICAL.to_json(params)))) == params
    assert params.edit.shapes == (EdgeShape(*params.shapes[0]),)
    assert params.edit.shapes[0].area == 0.01
