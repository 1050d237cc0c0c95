"""The phase field: its energy, what it keeps, and anomalies that it smooths."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.painting.surface import Surface
from synthgen.refine import phase_field
from synthgen.refine.phase_field import energy, epsilon_squared, minimise, refine, solve
from synthgen.synthesis import sample_generator
from tests.support.surfaces import texture


def line(width, side=96):
    mask = np.zeros((side, side), np.uint8)
    top = side // 2 - width // 2
    mask[top : top + width, 12:-12] = 1
    return mask


def disc(radius, side=96):
    y, x = np.mgrid[:side, :side] - side / 2
    return (y**2 + x**2 <= radius**2).astype(np.uint8)


def blobs(seed, side=64):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32), (0, 0), 2)
    mask = (noise > noise.std() * 0.7).astype(np.uint8)
    mask[:6] = mask[-6:] = mask[:, :6] = mask[:, -6:] = 0
    return mask


SHAPES = {
    "line of 1": line(1),
    "line of 3": line(3),
    "line of 5": line(5),
    "line of 12": line(12),
    "disc": disc(20),
    "dot": disc(1.5),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_area_stays_whatever_the_width(name):
    mask = SHAPES[name]
    phi = solve(mask)
    assert abs(int((phi > 0).sum()) - int(mask.sum())) <= phase_field.LARGEST_AREA_CHANGE * mask.sum()
    assert phi.min() >= -1
    assert phi.max() <= 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_no_step_raises_the_energy(seed, scale):
    mask = blobs(seed)
    start = 2 * mask.astype(np.float32) - 1
    squares = epsilon_squared(mask, scale)
    energies = [energy(minimise(start, squares, steps), start, squares) for steps in (0, 1, 2, 3, 5, 8, 20, 60)]
    assert np.all(np.diff(energies) <= 1e-4 * energies[0])
    assert energies[-1] < energies[0]


def test_the_slope_is_the_energys_derivative():
    rng = np.random.default_rng(0)
    phi, start = rng.uniform(-1, 1, (7, 9)).astype(np.float32), np.sign(rng.normal(size=(7, 9))).astype(np.float32)
    squares = rng.uniform(0.1, 4, (7, 9)).astype(np.float32)
    slope = phase_field._slope(phi.astype(np.float64), start, *phase_field._between(squares.astype(np.float64)))
    for y, x in ((0, 0), (3, 4), (6, 8), (2, 0)):
        step = np.zeros((7, 9))
        step[y, x] = 1e-5
        numeric = (energy(phi + step, start, squares) - energy(phi - step, start, squares)) / 2e-5
        assert slope[y, x] == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def test_epsilon_follows_the_width_of_each_part():
    mask = line(3, 128)
    mask[90:120, 40:90] = 1  # a broad part elsewhere
    squares = epsilon_squared(mask)
    assert squares[64, 64] == pytest.approx((4 / 6) ** 2, rel=0.3)
    assert squares[105, 65] == 4
    assert np.all(epsilon_squared(np.zeros((8, 8), np.uint8)) > 0)


def test_an_anomaly_that_fills_the_window_is_as_wide_as_it_gets():
    np.testing.assert_array_equal(epsilon_squared(np.ones((40, 60), np.uint8), 0.5), np.float32(1))
    assert solve(np.ones((40, 60), np.uint8)).min() > 0.99


def test_a_jagged_boundary_becomes_shorter():
    mask = disc(22)
    comb = mask.copy()
    angles = np.arctan2(*(np.mgrid[:96, :96] - 48.0))
    comb[(disc(24) > 0) & (np.sin(40 * angles) > 0)] = 1

    def length(one):
        contours, _ = cv2.findContours(one, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return sum(cv2.arcLength(contour, True) for contour in contours)

    assert length((solve(comb) > 0).astype(np.uint8)) < 0.85 * length(comb)


@pytest.mark.parametrize("kind", SURFACE_TYPES.values(), ids=list(SURFACE_TYPES))
def test_a_refined_anomaly_keeps_the_contract(kind):
    surface = Surface(texture("photo", 128, 160, 3), np.ones((128, 160), np.uint8))
    changed = 0
    for attempt in range(4):
        params = kind.draw(sample_generator(0, f"x/{kind.name}", attempt), surface, kind.configure())
        rendered = kind.render_one(surface, params)
        if not rendered.mask.any():
            continue
        refined = refine(surface.pixels, rendered, surface.scale)
        again = refine(surface.pixels, rendered, surface.scale)
        np.testing.assert_array_equal(refined.patch, again.patch)
        y0, x0, y1, x1 = refined.box
        before = surface.pixels[y0:y1, x0:x1]
        assert np.all((before != refined.patch).any(2)[refined.mask > 0])
        # nothing is farther from the normal image than stage A was, but for rounding and the one level that a mask costs
        whole = surface.pixels.copy()
        whole[rendered.box[0] : rendered.box[2], rendered.box[1] : rendered.box[3]] = rendered.patch
        stage_a = np.abs(whole[y0:y1, x0:x1].astype(int) - before)
        assert np.all(np.abs(refined.patch.astype(int) - before) <= stage_a + 1)
        changed += int((refined.patch != whole[y0:y1, x0:x1]).sum())
    assert changed
