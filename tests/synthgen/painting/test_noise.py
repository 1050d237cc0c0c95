"""Gradient noise: the values of the `noise` package, in any window, with a known spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise import pnoise2

from synthgen.painting.noise import fractal_noise, noise_std, permutation
from tests.support.surfaces import stable
from tools.bench.generation import perlin_table

SIDES = st.integers(1, 70)


def reference(shape, cell, octaves, persistence, origin):
    (height, width), (top, left) = shape, origin
    return np.array(
        [
            [pnoise2((left + x) / cell, (top + y) / cell, octaves=octaves, persistence=persistence) for x in range(width)]
            for y in range(height)
        ]
    )


@stable(25)
@given(
    st.tuples(SIDES, SIDES),
    st.sampled_from((0.5, 1.0, 2.0, 8.0, 16.0, 64.0)),  # pnoise2 takes 32-bit coordinates: only these cells are exact there
    st.integers(1, 5),
    st.sampled_from((0.25, 0.5, 0.6, 1.0)),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_the_values_are_those_of_the_noise_package(shape, cell, octaves, persistence, origin):
    ours = fractal_noise(shape, cell, perlin_table(), octaves, persistence, origin)
    assert ours.shape == shape
    assert ours.dtype == np.float32
    assert np.abs(ours - reference(shape, cell, octaves, persistence, origin)).max() < 1e-6


@stable(10)
@given(st.floats(0.7, 90))
def test_cells_of_any_size_agree_as_far_as_32_bit_coordinates_allow(cell):
    ours = fractal_noise((40, 33), cell, perlin_table(), 3)
    assert np.abs(ours - reference((40, 33), cell, 3, 0.5, (0, 0))).max() < 1e-6 * max(1, 4 * 40 / cell)


@stable(30)
@given(
    st.tuples(st.integers(60, 200), st.integers(60, 200)),
    st.tuples(st.integers(0, 59), st.integers(0, 59)),
    st.floats(1, 100),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_a_window_is_the_crop_of_the_larger_field(shape, corner, cell, octaves, seed):
    table = permutation(np.random.default_rng(seed))
    whole = fractal_noise(shape, cell, table, octaves)
    window = fractal_noise((shape[0] - corner[0], shape[1] - corner[1]), cell, table, octaves, origin=corner)
    assert np.abs(window - whole[corner[0] :, corner[1] :]).max() < 1e-6


@pytest.mark.parametrize(("octaves", "persistence", "cell"), [(1, 0.5, 8), (1, 0.5, 13.7), (3, 0.6, 16), (4, 0.55, 24)])
def test_noise_std_makes_unit_variance_and_the_mean_is_zero(octaves, persistence, cell):
    tables = (permutation(np.random.default_rng(seed)) for seed in range(20))
    fields = np.stack([fractal_noise((256, 256), cell, table, octaves, persistence) for table in tables])
    fields /= noise_std(octaves, persistence)
    assert fields.std() == pytest.approx(1, abs=0.05)
    assert abs(fields.mean()) < 0.05


def test_a_field_stays_within_one_and_is_zero_on_the_lattice():
    field = fractal_noise((128, 128), 16, permutation(np.random.default_rng(0)))
    assert np.abs(field).max() <= 1
    assert not field[::16, ::16].any()
    assert field[8::16, 8::16].any()


def test_another_permutation_is_another_field():
    one, other = (fractal_noise((64, 64), 16, permutation(np.random.default_rng(seed))) for seed in (0, 1))
    assert np.abs(one - other).max() > 0.1
    assert sorted(permutation(np.random.default_rng(2))) == list(range(256))
