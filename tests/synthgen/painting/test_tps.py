"""Thin-plate splines against SciPy's, and the figure that tells whether a warp folds over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator

from synthgen.painting import tps
from tests.support.surfaces import stable


def spaced_points(rng, count, height, width, least):
    """Up to `count` points (x, y) in a window, at least `least` apart."""
    points = []
    for _ in range(40 * count):
        point = rng.uniform(0, (width - 1, height - 1))
        if all(np.hypot(*(point - other)) >= least for other in points):
            points.append(point)
    return np.array(points[:count])


@stable(25)
@given(st.integers(0, 10**6), st.integers(4, 30), st.integers(1, 3))
def test_coefficients_and_values_are_those_of_scipy(seed, count, columns):
    rng = np.random.default_rng(seed)
    points = spaced_points(rng, count, 200, 300, 8)
    values = rng.normal(0, 10, (len(points), columns))
    at = rng.uniform(-20, 320, (50, 2))
    coefficients = tps.solve(points, values)
    theirs = RBFInterpolator(points, values, kernel="thin_plate_spline", degree=1)
    assert coefficients.shape == (len(points) + 3, columns)
    assert np.abs(tps.evaluate(coefficients, points, at) - theirs(at)).max() < 1e-8
    assert np.abs(tps.evaluate(coefficients, points, points) - values).max() < 1e-8
    weights = coefficients[: len(points)]
    assert np.abs(weights.sum(0)).max() < 1e-8
    assert np.abs(points.T @ weights).max() < 1e-6


def field_error(height, width, seed):
    """Largest difference between `field` and the spline itself, in pixels; points a tenth of the window apart."""
    rng = np.random.default_rng(seed)
    points = spaced_points(rng, 12, height, width, 0.1 * max(height, width))
    coefficients = tps.solve(points, rng.uniform(-1, 1, (len(points), 2)) * 0.05 * min(height, width))
    field = tps.field(coefficients, points, height, width)
    assert (field.shape, field.dtype) == ((height, width, 2), np.float32)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    exact = tps.evaluate(coefficients, points, np.stack([x.ravel(), y.ravel()], 1).astype(float))
    return np.abs(field.reshape(-1, 2) - exact).max()


@stable(8)
@given(st.integers(0, 10**6), st.integers(320, 420), st.integers(320, 420))
def test_the_field_is_within_0_3_pixels_where_points_are_spaced(seed, height, width):
    assert field_error(height, width, seed) < 0.3


def test_the_field_is_as_close_in_small_windows():
    assert max(field_error(side, side, seed) for side in (24, 40, 64, 100, 200) for seed in range(6)) < 0.25


@stable(30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 9), st.integers(0, 10**6))
def test_affine_displacements_are_exact_whatever_the_size_and_step(height, width, step, seed):
    rng = np.random.default_rng(seed)
    matrix, shift = rng.uniform(-0.3, 0.3, (2, 2)), rng.uniform(-9, 9, 2)
    points = np.array([(0, 0), (width + 5, 0), (0, height + 5), (width + 5, height + 5), (3.5, 4.25)])
    coefficients = tps.solve(points, points @ matrix + shift)
    field = tps.field(coefficients, points, height, width, step)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    assert np.abs(field - (np.stack([x, y], -1) @ matrix + shift)).max() < 1e-4
    assert tps.smallest_jacobian(field) == pytest.approx(
        np.linalg.det(np.eye(2) - matrix) if min(height, width) > 1 else 1.0, abs=1e-3
    )


@pytest.mark.parametrize(
    "points", [[(0, 0), (1, 1), (2, 2)], [(0, 0), (3, 1), (3, 1), (5, 9)]], ids=["on one line", "two coincide"]
)
def test_points_without_a_spline_are_refused(points):
    with pytest.raises(np.linalg.LinAlgError):
        tps.solve(np.array(points, float), np.eye(len(points), 2))


def test_the_jacobian_tells_folds_from_squeezes():
    x = np.arange(64, dtype=np.float32)
    wave = np.zeros((64, 64, 2), np.float32)
    wave[..., 0] = np.sin(x / 8)
    assert tps.smallest_jacobian(np.zeros((64, 64, 2), np.float32)) == 1
    assert tps.smallest_jacobian(4 * wave) == pytest.approx(0.5, abs=0.01)
    assert tps.smallest_jacobian(12 * wave) < 0
    turned = wave.transpose(1, 0, 2)[..., ::-1]
    assert tps.smallest_jacobian(12 * turned) < 0
