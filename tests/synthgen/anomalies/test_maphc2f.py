"""Cracks, corrosion and deformations: what the paper says of them, and what holds in any style."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.anomalies import corrosion, crack, deformation
from synthgen.anomalies.crack_path import MAX_BRANCHES, Branch, WalkRules, grow
from synthgen.painting.blending import odd_size
from synthgen.painting.noise import permutation
from synthgen.painting.surface import Surface
from tests.reference import literal
from tests.support.anomalies import drawn
from tests.support.surfaces import FOREGROUNDS, disc, foreground, stable, surface, texture

# cracks

STRAIGHT = WalkRules(
    steps=20, step=3.0, branching=0.0, stopping=0.0, jitter=0.0, wander=0.0, kink=0.0, branch_angle=(0.0, math.pi / 4)
)


@stable(30)
@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0, 0.3), st.sampled_from(FOREGROUNDS[:5]))
def test_arms_stay_in_the_part_and_are_never_too_many(seed, branching, jitter, where):
    part = foreground(where, 80, 90, seed)
    starts = [(float(y), float(x), 0.3) for y, x in np.argwhere(part)[::400]]
    rules = replace(
        STRAIGHT, steps=60, step=2.5, branching=branching, stopping=0.01, jitter=jitter, wander=jitter,
        kink=0.05, branch_angle=(0.2, 0.8),
    )  # fmt: skip
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
    rules = replace(STRAIGHT, steps=40, step=1.0, branching=0.03, stopping=0.01)
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
