"""What the kinds of anomaly share about appearance: paint, light, tints, contrast, shapes."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.painting.appearance import LUMA, Coat, draw_light, draw_tint, lit, paint, recolour, signed_contrast
from synthgen.painting.shapes import coverage, filled, jagged_outline, ribbon, streaks
from synthgen.painting.surface import Surface
from tests.support.surfaces import ball, brushed, disc, plain


@given(st.floats(0, 2 * np.pi))
@settings(max_examples=20, deadline=None)
def test_light_is_found_on_a_ball(light):
    found, certainty = Surface(*ball(light=light)).light
    assert certainty > 0.7
    assert abs((found - light + np.pi) % (2 * np.pi) - np.pi) < 0.2


def test_where_light_cannot_be_told_it_comes_from_anywhere():
    surface = Surface(plain(), np.ones((192, 192), np.uint8))
    assert surface.light[1] == 0
    rng = np.random.default_rng(0)
    angles = np.array([draw_light(rng, surface) for _ in range(400)])
    assert abs(np.exp(1j * angles).mean()) < 0.1
    told = Surface(*ball(light=1.0))
    angles = np.array([draw_light(rng, told) for _ in range(100)])
    assert abs(np.angle(np.exp(1j * (angles - 1.0)).mean())) < 0.3


def test_lit_is_the_slope_towards_the_light():
    y, x = np.mgrid[:32, :32].astype(np.float32)
    plane = 0.5 * x - 0.25 * y
    assert np.allclose(lit(plane, 0.0)[4:-4, 4:-4], -0.5, atol=1e-5)
    assert np.allclose(lit(plane, np.pi / 2)[4:-4, 4:-4], 0.25, atol=1e-5)


@given(st.integers(0, 10**6), st.floats(5, 245), st.floats(0, 1), st.floats(5, 120))
@settings(max_examples=60, deadline=None)
def test_contrast_has_room(seed, level, bright_share, contrast):
    surface = Surface(np.full((64, 64, 3), int(level), np.uint8), np.ones((64, 64), np.uint8))
    change = signed_contrast(np.random.default_rng(seed), surface, (32, 32), (contrast, contrast), bright_share, 8)
    assert 0 <= int(level) + change <= 255
    assert abs(change) <= contrast + 1e-3


def test_tints_change_no_brightness_and_gray_has_none():
    coloured = Surface(plain(colour=(150, 110, 70)), np.ones((192, 192), np.uint8))
    gray = Surface(plain(), np.ones((192, 192), np.uint8))
    for k in range(50):
        tint = draw_tint(np.random.default_rng(k), coloured, (90, 90), 5, foreign_share=0.5)
        assert abs(np.dot(tint, (0.299, 0.587, 0.114))) < 0.01
        assert np.ptp(tint) <= 2 * coloured.chroma + 10
        assert draw_tint(np.random.default_rng(k), gray, (90, 90), 5, foreign_share=1.0) == (0, 0, 0)


def test_paint_is_recolour_plus_tint_plus_kept_texture():
    """Against the plain formula, pixel by pixel."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (40, 40, 3), np.uint8)
    surface = Surface(image, np.ones((40, 40), np.uint8))
    box = (5, 6, 35, 37)
    cover, light = rng.random((2, 30, 31)).astype(np.float32)
    change = rng.normal(0, 40, (30, 31)).astype(np.float32)
    coat = Coat(cover, change, (4.0, -2.0, 1.0), 1.0, 5, 10 * light)
    before = image[5:35, 6:37].astype(np.float32)
    smooth = cv2.blur(image[5:35, 6:37], (5, 5)).astype(np.float32)
    kept = (1 + np.minimum(change, 0) / (smooth @ LUMA)).clip(0)[..., None]  # what gets darker has less colour
    new = recolour(smooth.reshape(-1, 3), change.ravel()).reshape(before.shape) + kept * (4, -2, 1) + before - smooth
    expected = before + cover[..., None] * (new - before) + 10 * light[..., None]
    assert np.abs(paint(surface, box, coat, 0).astype(int) - np.clip(expected, 0, 255)).max() <= 0.51


def test_a_darker_place_takes_on_no_other_hue_than_the_surface_or_what_it_is_dyed_with():
    """A gray material under an orange surface is gray, however dark; it does not turn blue."""
    orange = np.full((40, 40, 3), (200, 120, 40), np.uint8)
    surface = Surface(orange, np.ones((40, 40), np.uint8))
    towards_gray = tuple(float(v) for v in orange[0, 0] @ LUMA - orange[0, 0])
    for change in (-110, -60, 0):
        coat = Coat(np.ones((40, 40), np.float32), change, towards_gray, 1.0)
        assert np.ptp(paint(surface, (0, 0, 40, 40), coat, 0)) <= 2


@pytest.mark.parametrize("keep", [0.0, 0.5, 3.5])
@pytest.mark.parametrize("change", [-30.0, 30.0])
def test_paint_ends_with_the_object_and_its_outline_is_no_texture(keep, change):
    shape = disc(128, 128, 40)
    share = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.5)[..., None]
    pixels = np.rint(share * (90, 60, 120) + (1 - share) * 240).astype(np.uint8)
    surface, box = Surface(pixels, shape), (10, 10, 118, 118)
    before = pixels[10:118, 10:118].astype(int)
    coat = Coat(np.ones((108, 108), np.float32), change, keep=keep, fine=11)
    change_there = paint(surface, box, coat, 0).astype(int) - before
    inside = shape[10:118, 10:118] > 0
    assert (change_there[~inside] == 0).all()
    well_inside = surface.alpha(box) == 1
    assert abs((change_there[well_inside] @ LUMA).mean() - change) < 2
    # a smooth object has no texture that could be made rougher, so no place changes by much more than all of it does
    assert (np.sign(change) * change_there[inside] @ LUMA).max() < 1.2 * abs(change)
    if keep >= 1:
        assert (np.sign(change) * change_there[inside]).min() >= -1
    with_overhang = paint(surface, box, coat, 0, overhangs=True).astype(int) - before
    assert (with_overhang[~inside] != 0).any()


@pytest.mark.parametrize("keep", [0.4, 2.0])
@pytest.mark.parametrize("change", [-25.0, 25.0])
def test_a_change_of_finish_neither_blurs_parts_nor_puts_halos_around_them(keep, change):
    rng = np.random.default_rng(0)
    values = 100 + rng.normal(0, 3, (128, 128))
    values[40:90, 50:58] += 90  # a small part on the surface
    pixels = np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)
    surface, box = Surface(pixels, np.ones((128, 128), np.uint8)), (20, 20, 110, 110)
    before = pixels[20:110, 20:110, 0].astype(float)
    whole = np.ones((90, 90), np.float32)
    painted = paint(surface, box, Coat(whole, change, keep=keep, fine=21, lines=keep), 0)[..., 0].astype(float)
    part = np.zeros((90, 90), np.uint8)
    part[20:70, 30:38] = 1
    near = (cv2.dilate(part, np.ones((21, 21), np.uint8)) > 0) & (part == 0)
    far = cv2.dilate(part, np.ones((45, 45), np.uint8)) == 0
    # beside the part the surface changes as it does far from it, and the part stands out as far as before
    assert abs((painted - before)[near].mean() - (painted - before)[far].mean()) < 12
    stood_out, stands_out = (image[part > 0].mean() - image[near].mean() for image in (before, painted))
    assert 0.65 * stood_out < stands_out < 1.25 * stood_out
    # its texture is as much stronger or weaker as was asked for; what is taken away leaves room for fresh grain
    assert painted[far].std() / before[far].std() == pytest.approx(np.hypot(keep, max(1 - keep, 0)), rel=0.25)
    if keep < 1:  # a coat that covers hides the part, as it should
        covering = paint(surface, box, Coat(whole, change, keep=keep, fine=21), 0)[..., 0].astype(float)
        assert covering[part > 0].mean() - covering[near].mean() < 0.6 * stood_out


def test_shapes_cover_what_they_should():
    square = np.array([[10.0, 10.0], [10.0, 30.0], [25.0, 30.0], [25.0, 10.0]])
    assert filled([square], (0, 0, 64, 64)).sum() == pytest.approx(15 * 20, rel=0.05)
    assert 15 * 20 <= filled([square], (0, 0, 64, 64), fine=False).sum() <= 16.5 * 21.5
    line = np.stack([np.full(20, 32.0), np.linspace(5, 55, 20)], 1)
    assert filled([ribbon(line, np.full(20, 2.0))], (0, 0, 64, 64)).sum() == pytest.approx(50 * 4, rel=0.12)
    outline = jagged_outline(np.random.default_rng(0), (50, 50), 20, 1.0, 0.0)
    assert 10 < np.hypot(*(outline - 50).T).mean() < 30
    assert coverage(np.array([-1, 0, 1], np.float32), 0.5).tolist() == [0, 0.5, 1]


def test_streaks_run_in_their_direction():
    lines = streaks(np.random.default_rng(0), (0, 0, 80, 80), 0.0, 3.0)
    assert lines.std(1).max() < 1e-4  # constant along x
    assert lines.std(0).min() > 0.3


def test_an_image_of_equal_channels_is_painted_as_one_of_three():
    """The short way for gray images gives what the long way gives for an image that is only nearly gray."""
    image = brushed()
    nearly = image.copy()
    nearly[0, 0, 0] ^= 1
    whole, box = np.ones((256, 256), np.uint8), (40, 30, 200, 220)
    rng = np.random.default_rng(0)
    cover = rng.uniform(0, 1, (160, 190)).astype(np.float32)
    for overhangs in (False, True):
        for coat in (
            Coat(cover, -20.0, keep=0.4),
            Coat(cover, rng.normal(0, 30, cover.shape).astype(np.float32), lines=2.0, keep=1.5),
        ):
            gray, colour = (paint(Surface(one, whole), box, coat, 7, overhangs) for one in (image, nearly))
            assert np.array_equal(gray, colour)
