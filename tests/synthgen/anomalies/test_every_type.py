"""Properties of every anomaly type, style and strength, on every kind of surface and at every size."""

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthgen.anomalies import corrosion, crack, deformation
from synthgen.anomalies.crack_path import MAX_BRANCHES, Branch, WalkRules, grow
from synthgen.anomalies.materials import MATERIAL_MODES, MODES, draw_mode
from synthgen.anomalies.registry import ALIASES, SURFACE_TYPES, canonical_type
from synthgen.errors import UsageError
from synthgen.painting.blending import SEEN, clip_box, drop_specks, finish, largest_change, odd_size, visible
from synthgen.painting.noise import permutation
from synthgen.painting.surface import MATERIALS, Surface
from tests.reference import literal
from tests.support.surfaces import FOREGROUNDS, SURFACES, disc, foreground, stable, surface, texture

STYLES, STRENGTHS = ("realistic", "paper"), ("subtle", "normal", "strong")
EVERY = [(name, style) for name in SURFACE_TYPES for style in STYLES]
OUTSIDE = ("deformation", "contamination", "break")
"""A warp moves the object's outline, a foreign body may hang over it, and a chip takes a rim of it along."""
SMOOTH = ("deformation", "dent")
"""Their masks are where the smoothed picture differs."""
SIDE = st.sampled_from((16, 17, 23, 33, 48, 64, 97, 131, 210, 300))


def drawn(name, style, this, seed, strength="normal", **overrides):
    """Parameters and what they render."""
    kind = SURFACE_TYPES[name]
    params = kind.draw(np.random.default_rng(seed), this, kind.configure(style, strength, **overrides))
    return params, kind.render_one(this, params)


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
    assert set(MATERIAL_MODES) == set(MATERIALS)
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


# cracks

STRAIGHT = WalkRules(
    steps=20, step=3.0, branching=0.0, stopping=0.0, jitter=0.0, wander=0.0, kink=0.0, branch_angle=(0.0, math.pi / 4)
)


@stable(30)
@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0, 0.3), st.sampled_from(FOREGROUNDS[:5]))
def test_arms_stay_in_the_part_and_are_never_too_many(seed, branching, jitter, where):
    part = foreground(where, 80, 90, seed)
    starts = [(float(y), float(x), 0.3) for y, x in np.argwhere(part)[::400]]
    rules = WalkRules(
        steps=60, step=2.5, branching=branching, stopping=0.01, jitter=jitter, wander=jitter, kink=0.05, branch_angle=(0.2, 0.8)
    )
    branches = grow(np.random.default_rng(seed), starts, rules, part)
    assert len(branches) <= MAX_BRANCHES
    for branch in branches:
        row, column = np.rint(branch.points).astype(int).T
        assert part[row, column].all()
        assert 0 < branch.share <= 1
        assert np.allclose(np.hypot(*np.diff(branch.points, axis=0).T), 2.5)
    assert (sum(branch.level == 0 for branch in branches) > 0) or not starts or len(branches) == 0


def test_without_chance_an_arm_is_a_straight_line_of_all_its_steps():
    (branch,) = grow(np.random.default_rng(0), [(50.0, 10.0, 0.0)], STRAIGHT, np.ones((100, 100), np.uint8))
    assert np.allclose(branch.points, np.stack([np.full(21, 50.0), 10 + 3.0 * np.arange(21)], 1))


def line_params(width, **changes):
    fields = dict.fromkeys(crack.CrackParams.__dataclass_fields__, 0) | {"style": "paper", "width": width} | changes
    return crack.CrackParams(**fields)


@pytest.mark.parametrize("width", [2.0, 3.0, 5.0, 8.0, 14.0])
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_the_paper_crack_has_the_width_of_equation_5(width, scale):
    """Half of it is eps + W(alpha w0 exp(-alpha eps)) / alpha, to a pixel; the literal loop says the same, pixel by pixel."""
    from scipy.special import lambertw

    alpha, eps, radius = 0.25 / scale, 0.5 * scale, 0.5 * width * scale
    w0 = (radius - eps) * math.exp(alpha * radius)
    assert eps + lambertw(alpha * w0 * math.exp(-alpha * eps)).real / alpha == pytest.approx(max(radius, eps))
    branch = Branch(np.array([(40.0, 5.0), (40.0, 75.0)]), 0, 1.0)
    mask = crack.paper_mask([branch], line_params(width * scale), (0, 0, 80, 80), scale)
    assert abs((int(mask[:, 40].sum()) - 1) / 2 - radius) <= 1.01
    skeleton = np.zeros((80, 80), np.uint8)
    skeleton[40, 5:76] = 1
    if radius > eps + 0.1:
        plain = literal.threshold_crack(skeleton, w0=w0, alpha=alpha, epsilon=eps, noise_scale=0.0, noise_octaves=1)
        assert not (plain & ~mask & 1)[:, 8:72].any()  # the blur shortens the ends
        assert not (mask & ~cv2.dilate(plain, np.ones((2 * odd_size(scale) + 1,) * 2, np.uint8)) & 1).any()


def test_paper_cracks_are_as_large_as_the_literal_ones():
    part, ours, theirs = np.ones((128, 128), np.uint8), [], []
    alpha, eps, radius = 1.0, 0.125, 2.5
    rules = WalkRules(
        steps=40, step=1.0, branching=0.03, stopping=0.01, jitter=0.0, wander=0.0, kink=0.0, branch_angle=(0.0, math.pi / 4)
    )
    for seed in range(16):
        rng = np.random.default_rng(seed)
        starts = literal.random_start_points(part, 2, rng)
        skeleton = literal.generate_skeleton(
            part, starts, max_steps=40, step_size=1.0, branching_prob=0.03, stop_prob=0.01, rng=rng
        )
        theirs.append(
            literal.crack_mask(
                skeleton,
                w0=(radius - eps) * math.exp(alpha * radius),
                alpha=alpha,
                epsilon=eps,
                noise_scale=0,
                noise_octaves=1,
                morph_kernel_size=3,
            ).sum()
        )
        arms = grow(rng, [(float(y), float(x), rng.uniform(0, 2 * math.pi)) for y, x in starts], rules, part)
        ours.append(crack.paper_mask(arms, line_params(2 * radius), (0, 0, 128, 128), 0.25).sum())
    assert np.median(ours) / np.median(theirs) == pytest.approx(1, abs=0.4)


def test_noise_roughens_the_paper_crack_and_keeps_its_size():
    branch = Branch(np.array([(40.0, 5.0), (40.0, 155.0)]), 0, 1.0)
    smooth, rough = (
        crack.paper_mask([branch], line_params(10.0, roughness=roughness), (0, 0, 80, 160), 1.0) for roughness in (0, 0.3)
    )
    assert len(np.unique(smooth[:, 10:150].sum(0))) == 1
    assert len(np.unique(rough[:, 10:150].sum(0))) > 1
    assert int(rough.sum()) == pytest.approx(int(smooth.sum()), rel=0.35)


@pytest.mark.parametrize(("level", "sign"), [(10, 1), (128, -1), (250, -1)])
def test_a_crack_on_a_dark_surface_is_bright_and_on_a_light_one_dark(level, sign):
    this = Surface(np.full((128, 128, 3), level, np.uint8), np.ones((128, 128), np.uint8))
    for seed in range(10):
        params, rendered = drawn("crack", "realistic", this, seed, bright_share=0.0)
        assert np.sign(params.contrast) == sign
        assert np.sign(float(rendered.patch[rendered.mask > 0].mean()) - level) == sign


# corrosion


def test_paper_corrosion_is_as_large_as_the_literal_one():
    part, ours, theirs = np.ones((128, 128), np.uint8), [], []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        theirs.append(
            literal.corrosion_mask(
                part,
                polygons=3,
                radius=9.0,
                vertices=12,
                overlap_prob=1.0,
                growth_steps=4,
                grow_prob=0.4,
                noise_threshold=None,
                noise_frequency=10.0,
                rng=rng,
            ).sum()
        )
        patches = tuple((float(rng.integers(128)), float(rng.integers(128)), 9.0) for _ in range(3))
        fields = dict.fromkeys(corrosion.CorrosionParams.__dataclass_fields__, 0)
        params = corrosion.CorrosionParams(**(fields | {"patches": patches, "grow_steps": 4, "grow_chance": 0.4, "cell": 8.0}))
        ours.append(corrosion.paper_mask(rng, permutation(rng), params, (0, 0, 128, 128), part, 1.0).sum())
    assert np.median(ours) / np.median(theirs) == pytest.approx(1, abs=0.3)


def test_the_noise_of_paper_corrosion_takes_pixels_from_the_band_alone():
    part = disc(128, 128, 50)
    fields = dict.fromkeys(corrosion.CorrosionParams.__dataclass_fields__, 0)
    fields |= {"patches": ((64.0, 64.0, 30.0),), "cell": 8.0, "break_sigma": 0.3}
    whole, broken = (
        corrosion.paper_mask(
            np.random.default_rng(1),
            permutation(np.random.default_rng(2)),
            corrosion.CorrosionParams(**(fields | {"break_band": band})),
            (0, 0, 128, 128),
            part,
            1.0,
        )
        for band in (0, 4)
    )
    assert broken.sum() < whole.sum()
    assert not (broken & ~whole & 1).any()
    assert broken[cv2.erode(whole, np.ones((9, 9), np.uint8)) > 0].all()


def test_paper_corrosion_of_small_images_is_not_dropped_as_a_speck():
    this = surface("photo", "whole", 64, 64, 1)
    areas = [drawn("corrosion", "paper", this, seed)[1].mask.sum() for seed in range(40)]
    assert np.mean(np.array(areas) >= 12) >= 0.9


def test_corrosion_moves_colours_no_farther_than_the_surface_has_them():
    gray = Surface(texture("gray", 128, 128), np.ones((128, 128), np.uint8), "metal")
    vivid = Surface(texture("colour", 128, 128), np.ones((128, 128), np.uint8), "metal")
    assert all(drawn("corrosion", "realistic", gray, seed)[0].tint == (0, 0, 0) for seed in range(10))
    assert any(drawn("corrosion", "realistic", vivid, seed)[0].tint != (0, 0, 0) for seed in range(10))


# deformations


def folds(side, seeds, monkeypatch, style="realistic", where="whole", strength="strong"):
    """How many of some warps have a point where the picture is turned over, looked at pixel by pixel."""
    this, shifts = surface("photo", where, side, side, 1), []
    remap = deformation._remap
    monkeypatch.setattr(deformation, "_remap", lambda image, shift, box: shifts.append(shift) or remap(image, shift, box))
    bad = 0
    for seed in seeds:
        shifts.clear()
        drawn("deformation", style, this, seed, strength)
        f = shifts[0].astype(float)
        along_y, along_x = np.diff(f, axis=0)[:, :-1], np.diff(f, axis=1)[:-1]
        determinant = (1 - along_x[..., 0]) * (1 - along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
        bad += bool(determinant.size and determinant.min() <= 0)
    return bad


@pytest.mark.parametrize(("style", "where"), [("realistic", "whole"), ("paper", "whole"), ("paper", "corner")])
def test_no_warp_folds_at_512_pixels(style, where, monkeypatch):
    assert folds(512, range(8), monkeypatch, style, where) == 0


@pytest.mark.parametrize("side", [32, 64, 128])
def test_no_warp_folds_in_small_images(side, monkeypatch):
    assert folds(side, range(60), monkeypatch, "paper") == 0


def test_an_object_that_shrinks_leaves_no_rim_where_it_was():
    """Objects end softly; what shows of them beyond their outline goes with them."""
    part = disc(256, 256, 60)
    picture = np.rint(cv2.GaussianBlur(np.where(part[..., None] > 0, 200, 40).astype(np.float32).repeat(3, 2), (0, 0), 1.5))
    around = [(np.cos(a), np.sin(a)) for a in np.arange(12) * np.pi / 6]
    params = deformation.DeformationParams(
        kind="crumple", centre=(128, 128), radius=0, taper=0.5, shading=0.0, light=0.0,
        points=tuple((60 * x, 60 * y) for x, y in around), offsets=tuple((-12 * x, -12 * y) for x, y in around),
    )  # fmt: skip
    rendered = deformation.render_one(Surface(picture.astype(np.uint8), part), params)
    after = picture.copy()
    y0, x0, y1, x1 = rendered.box
    after[y0:y1, x0:x1] = rendered.patch
    distance = np.hypot(*(np.mgrid[:256, :256] - 128))
    assert np.abs(after[distance > 57] - 40).max() <= 12


@pytest.mark.parametrize(
    ("side", "grain"),
    [(512, 2), (400, 2), (256, 2), (512, 7)],
)
def test_a_warped_object_is_marked_where_it_changed_not_as_a_whole(side, grain):
    part = disc(side, side, side / 4)
    picture = cv2.GaussianBlur(np.where(part[..., None] > 0, 170, 90).astype(np.float32).repeat(3, 2), (0, 0), 1)
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, grain, picture.shape), 0, 255).astype(np.uint8)
    masks = [drawn("deformation", "paper", Surface(noisy, part), seed)[1].mask for seed in range(8)]
    assert 0 < np.median([mask.sum() / part.sum() for mask in masks]) < 0.5
