"""Properties of every anomaly type, style and strength, on every kind of surface and at every size."""

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthgen.anomalies.materials import MATERIAL_MODES, MODES, draw_mode
from synthgen.anomalies.registry import ALIASES, SURFACE_TYPES, canonical_type
from synthgen.errors import UsageError
from synthgen.painting.blending import SEEN, clip_box, drop_specks, finish, largest_change, odd_size, visible
from synthgen.painting.surface import MATERIALS, UNKNOWN
from tests.support.anomalies import drawn
from tests.support.surfaces import FOREGROUNDS, SURFACES, stable, surface

STYLES, STRENGTHS = ("realistic", "paper"), ("subtle", "normal", "strong")
EVERY = [(name, style) for name in SURFACE_TYPES for style in STYLES]
OUTSIDE = ("deformation", "contamination", "break")
"""A warp moves the object's outline, a foreign body may hang over it, and a chip takes a rim of it along."""
SMOOTH = ("deformation", "dent")
"""Their masks are where the smoothed picture differs."""
SIDE = st.sampled_from((16, 17, 23, 33, 48, 64, 97, 131, 210, 300))


def same(one, other):
    return one.box == other.box and np.array_equal(one.patch, other.patch) and np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize(("name", "style"), EVERY)
@stable(40)
@given(st.sampled_from(SURFACES), st.sampled_from(FOREGROUNDS), SIDE, SIDE, st.sampled_from(STRENGTHS), st.integers(0, 10**6))
def test_a_rendering_keeps_its_promises(name, style, kind, where, height, width, strength, seed):
    this = surface(kind, where, height, width, seed)  # its arrays cannot be written to
    _, rendered = drawn(name, style, this, seed, strength)
    y0, x0, y1, x1 = rendered.box
    assert 0 <= y0 <= y1 <= height
    assert 0 <= x0 <= x1 <= width
    assert (rendered.patch.shape, rendered.patch.dtype) == ((y1 - y0, x1 - x0, 3), np.uint8)
    assert (rendered.mask.shape, rendered.mask.dtype) == ((y1 - y0, x1 - x0), np.uint8)
    if not rendered.mask.size:
        assert rendered.box == (0, 0, 0, 0)
        return
    assert set(np.unique(rendered.mask)) <= {0, 1}
    change = largest_change(this.pixels[y0:y1, x0:x1], rendered.patch)
    assert (change[rendered.mask > 0] > 0).all()
    touched = (change > 0) | (rendered.mask > 0)
    assert all(edge.any() for edge in (touched[0], touched[-1], touched[:, 0], touched[:, -1]))
    if name not in OUTSIDE:
        assert not (touched & (this.foreground[y0:y1, x0:x1] == 0)).any()
    if name not in SMOOTH:
        assert (change[rendered.mask == 0] < SEEN).all()
        assert not touched[cv2.dilate(rendered.mask, np.ones((3, 3), np.uint8)) == 0].any()
    if this.is_gray:
        assert (rendered.patch == rendered.patch[..., :1]).all()


def test_a_deformation_changes_nothing_farther_than_two_pixels_from_its_mask():
    this = surface("constant", "whole", 512, 512)
    after = this.pixels[:40, :40].copy()
    after[10:22, 5:15] ^= 64
    after[10:22, 21:31] ^= 64  # the gap between them is closed, and opened again as nothing has changed in it
    after[8, 18] += 3  # not enough to be seen
    rendered = visible(this, (0, 0, 40, 40), after, np.ones((40, 40), np.uint8))
    y0, x0, y1, x1 = rendered.box
    near = cv2.dilate(rendered.mask, np.ones((5, 5), np.uint8)) > 0
    assert rendered.mask.any()
    assert not largest_change(this.pixels[y0:y1, x0:x1], rendered.patch)[~near].any()


@pytest.mark.parametrize(("name", "style"), EVERY)
@stable(12)
@given(st.sampled_from(SURFACES), st.sampled_from(FOREGROUNDS), SIDE, SIDE, st.integers(0, 10**6))
def test_parameters_survive_json_and_render_the_same_bytes_again(name, style, kind, where, height, width, seed):
    params, rendered = drawn(name, style, surface(kind, where, height, width, seed), seed)
    text = json.dumps(SURFACE_TYPES[name].to_json(params), allow_nan=False)
    again = SURFACE_TYPES[name].from_json(json.loads(text))
    assert again == params
    (other,) = SURFACE_TYPES[name].render([surface(kind, where, height, width, seed)], [again])
    assert same(rendered, other)


@pytest.mark.parametrize(("name", "style"), EVERY)
def test_the_same_seed_draws_the_same_and_another_seed_draws_something_else(name, style):
    this = surface("photo", "disc", 128, 160)
    first, second, other = (drawn(name, style, this, seed)[0] for seed in (4, 4, 5))
    assert first == second
    assert first != other


@pytest.mark.parametrize(("name", "style"), EVERY)
def test_most_draws_on_a_photograph_can_be_seen(name, style):
    this = surface("photo", "disc", 256, 256, 3)
    areas = [drawn(name, style, this, seed)[1].mask.sum() for seed in range(12)]
    assert np.mean(np.array(areas) > 0) >= 0.75


@pytest.mark.parametrize(("name", "style"), EVERY)
def test_strength_makes_it_larger(name, style):
    this = surface("photo", "whole", 256, 256, 3)
    subtle, strong = (
        np.median([drawn(name, style, this, seed, strength)[1].mask.sum() for seed in range(25)])
        for strength in ("subtle", "strong")
    )
    assert strong > 1.5 * subtle


LENGTHS = {
    "crack": (lambda p: p.width, lambda p: p.step),
    "corrosion": (lambda p: p.cell,),
    "deformation": (lambda p: p.radius,),
    "spot": (lambda p: p.spots[0][2],),
    "scratch": (lambda p: p.lines[0][3], lambda p: p.lines[0][4]),
    "scuff": (lambda p: p.radii[0],),
    "stain": (lambda p: p.drops[0][2],),
    "contamination": (lambda p: p.bodies[0][2], lambda p: p.width),
    "dent": (lambda p: p.radii[0],),
    "break": (lambda p: p.radius, lambda p: p.wall),
    "zone": (lambda p: p.radii[0], lambda p: p.far - p.near),
}


@pytest.mark.parametrize(("name", "style"), EVERY)
def test_lengths_scale_with_the_size(name, style):
    small, large = (surface("constant", "whole", side, side) for side in (256, 512))
    overrides = {"width_px_range": (8, 16)} if name == "crack" else {}
    for length in LENGTHS[name]:
        values = [
            np.median([length(drawn(name, style, this, seed, **overrides)[0]) for seed in range(25)]) for this in (small, large)
        ]
        assert values[1] / values[0] == pytest.approx(2, rel=0.15)


# what a plain warp changes visibly depends on the picture's detail, which does not scale with its size here
@pytest.mark.parametrize(("name", "style"), [pair for pair in EVERY if pair != ("deformation", "paper")])
def test_the_share_of_the_image_does_not_depend_on_the_size(name, style):
    shares = []
    for side in (192, 384):
        this = surface("photo", "whole", side, side)
        shares.append(np.median([drawn(name, style, this, seed)[1].mask.sum() for seed in range(50)]) / side**2)
    assert 0.5 < shares[0] / shares[1] < 2


def test_types_have_names_versions_and_aliases():
    assert list(SURFACE_TYPES)[:3] == ["crack", "corrosion", "deformation"]
    assert set(SURFACE_TYPES) == set(LENGTHS)
    assert [kind.generator for kind in SURFACE_TYPES.values()] == [
        f"{kind.name} {kind.version}" for kind in SURFACE_TYPES.values()
    ]
    assert {alias: canonical_type(alias) for alias in ALIASES} == {
        "tps": "deformation", "fl": "crack", "pl": "corrosion", "pw": "deformation",
    }  # fmt: skip
    assert canonical_type(" Crack ") == "crack"
    with pytest.raises(UsageError, match="Did you mean 'corrosion'"):
        canonical_type("corosion")


@pytest.mark.parametrize("name", SURFACE_TYPES)
def test_settings_refuse_what_makes_no_sense(name):
    kind = SURFACE_TYPES[name]
    fields = [field for field in kind.settings.model_fields if field.endswith("_range")]
    assert len(fields) >= 2
    for field in fields:
        for wrong in [(2, 1), (-1, 1), (1,), (1, 2, 3), ("a", 2), float("nan"), (float("nan"), 1)]:
            with pytest.raises(ValidationError):
                kind.configure(**{field: wrong})
    with pytest.raises(ValidationError):
        kind.configure(no_such_setting=1)
    with pytest.raises(ValidationError):
        kind.configure("oil painting")
    for style in STYLES:
        for strength in STRENGTHS:
            assert kind.configure(style, strength).style == style


@pytest.mark.parametrize(
    "wrong",
    [{"width_px_range": (1, math.inf)}, {"bright_share": 7}, {"bright_share": math.nan}, {"count_range": (1, 10**9)}],
)
def test_settings_refuse_what_cannot_be_drawn(wrong):
    with pytest.raises(ValidationError):
        SURFACE_TYPES["crack"].configure(**wrong)


def test_materials_name_kinds_of_corrosion_that_exist_and_draw_them_in_proportion():
    assert set(MATERIAL_MODES) == {*MATERIALS, UNKNOWN}
    rng = np.random.default_rng(0)
    for material, weights in MATERIAL_MODES.items():
        assert set(weights) <= set(MODES)
        names = [draw_mode(rng, material) for _ in range(600)]
        for name, share in weights.items():
            assert names.count(name) / 600 == pytest.approx(share / sum(weights.values()), abs=0.08)


# blending


@stable(60)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.integers(0, 10**6))
def test_finish_marks_all_that_can_be_seen_and_nothing_unchanged(height, width, confined, seed):
    rng = np.random.default_rng(seed)
    normal = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    y0, x0 = int(rng.integers(31 - height)), int(rng.integers(31 - width))
    box = (y0, x0, y0 + height, x0 + width)
    before = normal[y0 : y0 + height, x0 : x0 + width]
    changed = np.clip(before.astype(int) + rng.integers(-9, 10, before.shape) * (rng.random(before.shape) < 0.3), 0, 255)
    core = (rng.random((height, width)) < 0.3).astype(np.uint8)
    allowed = (rng.random((height, width)) < 0.7).astype(np.uint8) if confined else np.ones((height, width), np.uint8)
    rendered = finish(normal, box, changed.astype(np.uint8), core, allowed if confined else None)
    image, mask = normal.copy(), np.zeros((30, 30), np.uint8)
    inner = slice(rendered.box[0], rendered.box[2]), slice(rendered.box[1], rendered.box[3])
    image[inner], mask[inner] = rendered.patch, rendered.mask
    change = largest_change(normal, image)
    seen = largest_change(before, changed.astype(np.uint8)) >= SEEN
    expected = np.zeros((30, 30), bool)
    expected[y0 : y0 + height, x0 : x0 + width] = (seen | (core > 0)) & (allowed > 0)
    assert np.array_equal(mask > 0, expected)
    assert (change[expected] > 0).all()
    assert not change[cv2.dilate(mask, np.ones((3, 3), np.uint8)) == 0].any()
    if confined:
        assert not change[y0 : y0 + height, x0 : x0 + width][allowed == 0].any()


def test_small_helpers():
    assert [odd_size(value) for value in (0, 0.4, 1, 2, 2.9, 3, 4, 7.2)] == [1, 1, 1, 3, 3, 3, 5, 7]
    assert clip_box(-3.2, 4.7, 9.1, 30, (10, 12)) == (0, 4, 10, 12)
    assert clip_box(20, 0, 30, 5, (10, 12)) == (0, 0, 0, 0)
    mask = np.zeros((12, 12), np.uint8)
    mask[0, :3], mask[5:8, 5:9], mask[11, 11] = 1, 1, 1
    assert drop_specks(mask, 4).sum() == 12
    assert drop_specks(mask, 3).sum() == 15
    assert drop_specks(mask * 0, 3).sum() == 0
