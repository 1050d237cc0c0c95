"""The literal pseudocode does what the algorithms' lines say: it is what other tests and the benchmark lean on."""

import math

import numpy as np
import pytest
from scipy.special import lambertw

from tests.reference import literal


def disc(size, radius):
    y, x = np.mgrid[:size, :size] - size // 2
    return (y**2 + x**2 <= radius**2).astype(np.uint8)


STRAIGHT = {"max_steps": 40, "step_size": 1.0, "branching_prob": 0.0, "stop_prob": 0.0}
SMOOTH = {"alpha": 0.1, "epsilon": 0.5, "noise_scale": 0.0, "noise_octaves": 1}
WARP = {"num_ctrl_points": 5, "max_offset": 3.0, "dist_field_radius": 10.0, "inpaint_radius": 3.0, "margin": 5}


def walk(foreground, starts, seed, **changes):
    return literal.generate_skeleton(foreground, starts, **(STRAIGHT | changes), rng=np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_skeleton_stays_in_the_foreground_and_starts_where_told(seed):
    foreground = disc(64, 25)
    points = literal.random_start_points(foreground, 2, np.random.default_rng(seed))
    skeleton = walk(foreground, points, seed + 10, branching_prob=0.1, stop_prob=0.01)
    assert not (skeleton & ~foreground & 1).any()
    assert all(skeleton[y, x] == 1 for y, x in points)


def test_a_walk_that_neither_stops_nor_branches_is_a_straight_line_of_max_steps():
    skeleton = walk(np.ones((101, 101), np.uint8), [(50, 50)], 3, max_steps=30)
    ys, xs = np.nonzero(skeleton)
    far = np.hypot(ys - 50, xs - 50)
    assert far.max() == pytest.approx(30, abs=1)
    end = np.argmax(far)
    direction = np.array([ys[end] - 50, xs[end] - 50]) / far[end]
    off_line = np.abs((ys - 50) * direction[1] - (xs - 50) * direction[0])
    assert off_line.max() <= 1.5


def test_certain_stop_takes_one_step_and_no_steps_leave_the_start_alone():
    foreground, wide = np.ones((31, 31), np.uint8), {"step_size": 2.0, "branching_prob": 1.0}
    assert walk(foreground, [(15, 15)], 0, **wide, max_steps=10, stop_prob=1.0).sum() == 2
    assert walk(foreground, [(15, 15)], 0, **wide, max_steps=0).sum() == 1


def test_branching_adds_pixels_and_long_steps_leave_gaps():
    foreground = np.ones((128, 128), np.uint8)
    plain = walk(foreground, [(64, 64)], 1)
    branched = walk(foreground, [(64, 64)], 1, branching_prob=0.2)
    assert branched.sum() > 1.5 * plain.sum()
    stepped = walk(foreground, [(64, 64)], 1, max_steps=10, step_size=4.0)
    assert stepped.sum() == 11


@pytest.mark.parametrize(("w0", "alpha"), [(1.0, 0.1), (2.0, 0.1), (4.0, 0.2), (10.0, 1.0), (8.0, 0.1)])
def test_crack_reaches_the_radius_that_lambert_w_gives(w0, alpha):
    epsilon = 0.5
    reach = epsilon + lambertw(alpha * w0 * math.exp(-alpha * epsilon)).real / alpha
    skeleton = np.zeros((41, 48), np.uint8)
    skeleton[20] = 1
    crack = literal.threshold_crack(skeleton, w0=w0, **(SMOOTH | {"alpha": alpha, "epsilon": epsilon}))
    radius = (crack[:, 24].sum() - 1) / 2
    assert abs(radius - reach) <= 1
    assert reach - 1 <= radius <= reach  # exactly the pixels at a whole distance below it


def test_opening_deletes_thin_lines_and_the_blur_widens_those_that_stay():
    skeleton = np.zeros((41, 48), np.uint8)
    skeleton[20] = 1
    for w0, before, after in ((0.4, 1, 0), (1.0, 3, 5)):
        assert literal.threshold_crack(skeleton, w0=w0, **SMOOTH)[:, 24].sum() == before
        assert literal.crack_mask(skeleton, w0=w0, **SMOOTH, morph_kernel_size=3)[:, 24].sum() == after


def test_noise_changes_the_edge_but_by_no_more_than_its_amplitude():
    skeleton = np.zeros((64, 64), np.uint8)
    skeleton[32] = 1
    smooth = literal.threshold_crack(skeleton, w0=4.0, **SMOOTH)
    rough = literal.threshold_crack(skeleton, w0=4.0, **(SMOOTH | {"noise_scale": 3.0}), noise_frequency=9.7)
    assert (smooth != rough).any()
    halves = rough.sum(axis=0) / 2
    assert np.ptp(halves) >= 1
    assert np.abs(halves - smooth[:, 0].sum() / 2).max() <= 3 + 1


def test_crack_darkens_the_mask_by_the_formula_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    mask = disc(24, 5)
    out = literal.apply_crack(image, mask, base_alpha=0.8, max_darken=0.3, max_color_shift=(-5, 0, 10), edge_fade=3)
    assert np.array_equal(out[mask == 0], image[mask == 0])
    inside = image[mask == 1].astype(np.float64)
    expected = np.clip(0.2 * inside + 0.8 * (0.3 * inside + [-5, 0, 10]), 0, 255)
    assert np.abs(out[mask == 1] - expected).max() <= 1
    again = literal.apply_crack(image, mask, base_alpha=0.8, max_darken=0.3, max_color_shift=(-5, 0, 10), edge_fade=30)
    assert np.array_equal(out, again)  # lines 4 to 6 are void


PATCHES = {"polygons": 2, "radius": 6, "vertices": 10, "overlap_prob": 0.5, "growth_steps": 0, "grow_prob": 0.4}


def corrosion(foreground, seed=0, noise_threshold=None, **changes):
    rng = np.random.default_rng(seed)
    return literal.corrosion_mask(
        foreground, **(PATCHES | changes), noise_threshold=noise_threshold, noise_frequency=8, rng=rng
    )


def test_corrosion_has_polygons_that_grow_outwards_and_noise_that_takes_nothing():
    foreground = disc(80, 20)
    grown, noisy = corrosion(foreground, growth_steps=5), corrosion(foreground, growth_steps=5, noise_threshold=-1.0)
    start = corrosion(foreground)
    assert 0 < start.sum() < grown.sum()
    assert not (start & ~grown & 1).any()
    assert np.array_equal(grown, noisy)  # step (D) is void as printed
    assert corrosion(np.zeros((20, 20), np.uint8)).sum() == 0
    assert np.array_equal(corrosion(foreground, growth_steps=1, grow_prob=0.0), start)


def test_corrosion_blends_the_mask_only():
    image = np.full((32, 32, 3), 200, np.uint8)
    mask = disc(32, 8)
    out = literal.apply_corrosion(image, mask, color=(90, 60, 40), strength=0.5, noise_frequency=6)
    assert np.array_equal(out[mask == 0], image[mask == 0])
    assert (out[mask == 1] < 200).all()
    assert (out[mask == 1] >= [90, 60, 40]).all()
    assert np.ptp(out[mask == 1][:, 0]) > 5


def test_deformation_returns_the_warped_object_as_mask_and_an_erased_object_as_image():
    image = np.full((64, 64, 3), 180, np.uint8)
    mask = disc(64, 14)
    image[mask == 1] = (20, 40, 60)
    more = {"num_ctrl_points": 6, "max_offset": 4.0, "margin": 6}
    out, out_mask = literal.tps_deform_local_inpaint(image, mask, **(WARP | more), rng=np.random.default_rng(2))
    assert out_mask.sum() > 0
    assert (out_mask != mask).any()
    assert (out > 100).all()  # lines 3 and 7: the object is gone, not deformed
    outside = np.ones((64, 64), bool)
    outside[12:53, 12:53] = False
    assert np.array_equal(out[outside], image[outside])


def test_deformation_without_offsets_keeps_the_mask_and_an_empty_mask_changes_nothing():
    image = np.full((48, 48, 3), 180, np.uint8)
    mask = disc(48, 10)
    rng = np.random.default_rng(0)
    _, same = literal.tps_deform_local_inpaint(image, mask, **(WARP | {"max_offset": 0.0}), rng=rng)
    assert np.array_equal(same, mask)
    empty = np.zeros_like(mask)
    out, out_mask = literal.tps_deform_local_inpaint(image, empty, **WARP, rng=rng)
    assert out is image
    assert out_mask is empty


def test_control_points_move_by_their_offsets():
    mask = disc(40, 12)
    map_x, map_y = literal._backward_map(mask, 5, 3.0, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    ys, xs = np.nonzero(mask)
    chosen = rng.choice(len(ys), size=5, replace=False)
    offset = rng.uniform(-3.0, 3.0, (2, 5))
    assert np.abs(map_x[ys[chosen], xs[chosen]] - (xs[chosen] - offset[0])).max() < 1e-3
    assert np.abs(map_y[ys[chosen], xs[chosen]] - (ys[chosen] - offset[1])).max() < 1e-3
