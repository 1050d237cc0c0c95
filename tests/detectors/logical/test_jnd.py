"""Just noticeable differences, against the formulas written out."""

import cv2
import numpy as np
import pytest
import skimage.data
from scipy.ndimage import binary_dilation, correlate

from detectors.logical.jnd import (
    background,
    contrast_masking,
    disorder,
    jnd_map,
    luminance_adaptation,
    masked,
    normalised,
    prediction,
)


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (height // 4, width // 4)).astype(np.float32), (width, height))
    return np.clip(np.round(coarse + rng.normal(0, 6, (height, width))), 0, 255).astype(np.float32)


def colours(luma):
    return np.repeat(luma.astype(np.uint8)[..., None], 3, 2)


def reference_background(luma):
    weights = np.ones((5, 5))
    weights[1:4, 1:4], weights[2, 2] = 2, 0
    padded, out = np.pad(luma.astype(np.float64), 2, mode="symmetric"), np.zeros(luma.shape)
    for y, x in np.ndindex(luma.shape):
        mean = np.floor((padded[y : y + 5, x : x + 5] * weights).sum() / 32)
        out[y, x] = np.round(32 + mean * 95 / 127) if mean <= 127 else mean
    return out


def reference_adaptation(luma):
    b = reference_background(luma)
    return np.where(b <= 127, 17 * (1 - np.sqrt(np.minimum(b, 127) / 127)) + 3, 3 * (b - 127) / 128 + 3)


def reference_prediction(luma):
    """Patch by patch, in double precision, without any trick against underflow."""
    y, (height, width) = luma.astype(np.float64), luma.shape
    spread = np.maximum(reference_adaptation(luma), 8)
    wide = np.pad(np.pad(y, 10, mode="symmetric"), 0)
    padded = np.pad(y, 3, mode="symmetric")
    out = np.zeros_like(y)
    squares = {}
    for dy in range(21):
        for dx in range(21):
            if (dy, dx) != (10, 10):
                squares[dy, dx] = np.pad((y - wide[dy : dy + height, dx : dx + width]) ** 2, 3, mode="symmetric")
    for i, j in np.ndindex(y.shape):
        deviation = padded[i : i + 7, j : j + 7].std()
        fall = spread[i, j] ** 3 / deviation if deviation > spread[i, j] else spread[i, j] ** 2
        exponents = np.array([-square[i : i + 7, j : j + 7].mean() / fall for square in squares.values()])
        values = np.array([wide[dy + i, dx + j] for dy, dx in squares])
        weights = np.exp(exponents - exponents.max())
        out[i, j] = np.round(((weights * values).sum() + y[i, j]) / (weights.sum() + 1))
    return out


def test_a_plain_image_hides_by_its_luminance_alone():
    for level in (0, 60, 127, 200, 255):
        image = np.full((40, 48, 3), level, np.uint8)
        b = 32 + round(level * 95 / 127) if level <= 127 else level
        wanted = 17 * (1 - np.sqrt(b / 127)) + 3 if b <= 127 else 3 * (b - 127) / 128 + 3
        np.testing.assert_allclose(luminance_adaptation(image[..., 0].astype(np.float32)), wanted, rtol=1e-5)
        contrast = abs(0.5 - 0.01 * b)
        np.testing.assert_allclose(jnd_map(image), wanted + 0.7 * contrast, rtol=1e-4)


def test_parts_agree_with_the_formulas():
    luma = noise(32, 36)
    np.testing.assert_array_equal(background(luma), reference_background(luma))
    np.testing.assert_allclose(luminance_adaptation(luma), reference_adaptation(luma), rtol=1e-5)


def test_the_prediction_agrees_with_the_formulas():
    luma = noise(24, 32, seed=1)
    found, wanted = prediction(luma), reference_prediction(luma)
    assert np.abs(found - wanted).max() <= 1  # a half may be rounded either way
    assert (found != wanted).mean() < 0.02


def test_isolated_dots_do_not_swallow_the_prediction():
    luma = np.zeros((24, 30), np.float32)
    luma[3:9, 5:12] = 255
    luma[16, 20], luma[17, 21] = 200, 90
    found, wanted = prediction(luma), reference_prediction(luma)
    assert np.abs(found - wanted).max() <= 1
    assert found[5, 7] > 200  # of its weights, single precision would make zeros


def test_more_contrast_never_hides_less():
    for seed in range(3):
        texture = noise(64, 64, seed) - 127.5
        medians = [
            np.median(contrast_masking(np.clip(np.round(127.5 + factor * texture), 0, 255).astype(np.float32)))
            for factor in (0.2, 0.4, 0.8)
        ]
        assert medians == sorted(medians)


def test_edges_are_protected_and_disorder_hides():
    step = np.full((48, 48), 40.0, np.float32)
    step[:, 24:] = 210
    assert disorder(step, prediction(step)).max() < 3
    grainy = noise(48, 48, 2)
    assert np.median(disorder(grainy, prediction(grainy))) > np.median(disorder(step, prediction(step)))


def test_photographs_lie_in_the_usual_range():
    image = cv2.resize(skimage.data.astronaut(), (160, 128), interpolation=cv2.INTER_AREA)
    found = jnd_map(image)
    assert found.shape == (128, 160)
    assert found.dtype == np.float32
    assert 2.5 < found.min() < 5
    assert 4 < np.median(found) < 9
    assert np.percentile(found, 99) < 20
    np.testing.assert_array_equal(found, jnd_map(image))
    scaled = normalised(found)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, np.minimum(found / 20, 1))


def test_a_known_photograph_has_its_known_range():
    image = cv2.resize(skimage.data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    found = jnd_map(image)
    assert found.min() == pytest.approx(3, abs=0.1)
    assert found.max() == pytest.approx(43, abs=1)
    assert 5 < np.median(found) < 7


def test_disorder_agrees_with_the_formulas():
    luma = noise(40, 44, 5)
    predicted = prediction(luma)
    error = np.abs(luma - predicted).astype(np.float64)
    spread = np.zeros_like(error)
    padded = np.pad(luma.astype(np.float64), 3, mode="symmetric")
    for y, x in np.ndindex(luma.shape):
        spread[y, x] = padded[y : y + 7, x : x + 7].std()
    line = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 3) ** 2))
    smooth = correlate(error, np.outer(line, line) / line.sum() ** 2, mode="reflect")
    error = np.where(spread < 10, np.minimum(error, smooth), error)
    edges = cv2.Canny(luma.astype(np.uint8), 0.28 * 255, 0.7 * 255) > 0
    near = binary_dilation(edges, np.hypot(*np.mgrid[-2:3, -2:3]) <= 2)
    line = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    protection = correlate(1 - 0.8 * near, np.outer(line, line) / line.sum() ** 2, mode="reflect")
    assert edges.any()
    np.testing.assert_allclose(disorder(luma, predicted), error * protection, atol=1e-3)


@pytest.mark.parametrize(("one", "other", "together"), [(4.0, 0.0, 4.0), (4.0, 2.0, 5.4), (3.0, 3.0, 5.1)])
def test_effects_overlap(one, other, together):
    assert masked(np.float32([[one]]), np.float32([[other]]))[0, 0] == pytest.approx(together)
