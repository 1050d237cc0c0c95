"""What anomaly types are told about a surface is true, at any size and for the emptiest picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.painting.surface import Surface, averaged_along
from tests.support.surfaces import FOREGROUNDS, SURFACES, disc, foreground, stable, surface, texture

WHOLE = np.ones((128, 128), np.uint8)


def flat(level=120, height=128, width=128):
    return np.full((height, width, 3), level, np.uint8)


@stable(60)
@given(st.sampled_from(SURFACES), st.sampled_from(FOREGROUNDS), st.integers(16, 150), st.integers(16, 150), st.integers(0, 99))
def test_all_facts_exist_whatever_the_picture(kind, where, height, width, seed):
    this = surface(kind, where, height, width, seed)
    rng = np.random.default_rng(seed)
    y, x = this.place(rng)
    assert 0 <= y < height
    assert 0 <= x < width
    assert 0.4 <= this.softness <= 2.5
    assert 0 <= this.chroma <= 255
    assert (this.chroma == 0) or not this.is_gray
    assert np.isfinite(this.grain)
    assert 0 < this.diameter(y, x) <= 2 * np.sqrt(height * width / np.pi) + 1e-9
    assert this.part(y, x)[y, x] == 1
    assert np.isfinite(this.edge_direction(y, x)).all()
    assert this.lay is None or 0 <= this.lay <= np.pi
    lines = this.lines((0, 0, height, width), 5, 20)
    assert 0 <= this.most_texture((0, 0, height, width)) < 3 * 128
    assert np.isfinite(this.most_texture((y, x, y + 1, x + 1)))
    assert (lines is None) == (this.lay is None)
    assert lines is None or (lines.shape == (height, width) and np.isfinite(lines).all())
    assert np.isfinite(this.texture_around(y, x, 5))
    assert np.isfinite(this.texture((y, x, y + 1, x + 1)))
    assert this.plate.shape == (height, width, 3)
    assert this.plate.dtype == np.uint8
    assert this.scale == min(height, width) / 512


@pytest.mark.parametrize(
    ("kind", "gray"), [("gray", True), ("black", True), ("gray noise", True), ("colour", False), ("constant", False)]
)
def test_gray_is_three_equal_channels(kind, gray):
    this = surface(kind)
    assert this.is_gray == gray
    assert (this.chroma == 0) == gray
    one_off = texture("gray", 64, 64)
    one_off[3, 5, 1] ^= 1
    assert not Surface(one_off, np.ones((64, 64), np.uint8)).is_gray


@stable(20)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(0, 999))
def test_places_are_on_the_foreground_away_from_its_edge(height, width, seed):
    mask = disc(height, width, 8)
    this = Surface(flat(120, height, width), mask)
    side = 2 * round(2 * min(height, width) / 512) + 1
    far = cv2.erode(mask, np.ones((side, side), np.uint8))
    rng = np.random.default_rng(seed)
    assert all(far[this.place(rng)] for _ in range(50))


@pytest.mark.parametrize("width", [1, 3, 4])
def test_places_are_on_a_thin_foreground(width):
    mask = np.zeros((64, 64), np.uint8)
    mask[30 : 30 + width] = 1
    rng = np.random.default_rng(0)
    this = Surface(flat(120, 64, 64), mask)
    assert all(mask[this.place(rng)] for _ in range(50))


def test_parts_are_hit_as_their_area_asks_and_have_their_own_diameter():
    mask = disc(200, 200, 40, (60, 60)) | disc(200, 200, 20, (150, 150))
    this = Surface(flat(120, 200, 200), mask)
    rng = np.random.default_rng(0)
    places = [this.place(rng) for _ in range(600)]
    large = np.mean([y < 110 and x < 110 for y, x in places])
    assert large == pytest.approx(38**2 / (38**2 + 18**2), abs=0.06)
    assert this.diameter(60, 60) == pytest.approx(80, rel=0.02)
    assert this.diameter(150, 150) == pytest.approx(40, rel=0.03)
    assert this.diameter(0, 0) == pytest.approx(2 * 200 / np.sqrt(np.pi))
    assert np.array_equal(this.part(60, 60), disc(200, 200, 40, (60, 60)))


@pytest.mark.parametrize("sigma", [2, 5, 12])
def test_grain_is_the_standard_deviation_of_the_noise(sigma):
    noisy = flat(128, 256, 256)[..., 0] + np.random.default_rng(sigma).normal(0, sigma, (256, 256))
    noisy = np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, 2)
    assert Surface(noisy, np.ones((256, 256), np.uint8)).grain == pytest.approx(sigma, rel=0.15)
    assert Surface(flat(), WHOLE).grain == 0


def test_softness_follows_the_blur_of_the_edges():
    sharp = flat(60)
    sharp[:, 64:] = 190
    figures = [Surface(cv2.GaussianBlur(sharp, (0, 0), sigma), WHOLE).softness for sigma in (0.6, 1.0, 1.5, 2.2)]
    assert figures == pytest.approx([0.6, 1.0, 1.5, 2.2], rel=0.3)
    assert Surface(sharp, WHOLE).softness < 0.55


def test_texture_is_the_local_deviation_of_the_brightness():
    rough = flat()
    rough[:, 64:] = np.clip(120 + np.random.default_rng(0).normal(0, 20, (128, 64, 1)), 0, 255).astype(np.uint8)
    this = Surface(rough, WHOLE)
    assert this.texture((0, 0, 128, 48)) == 0
    assert this.texture((0, 80, 128, 128)) == pytest.approx(20, rel=0.15)
    assert this.texture_around(64, 100, 10) == pytest.approx(this.texture((54, 90, 74, 110)), rel=0.3)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120, 170])
def test_the_strongest_change_is_across_the_edge(angle):
    y, x = np.mgrid[:128, :128] - 64.0
    turn = np.deg2rad(angle)
    step = 100 / (1 + np.exp(-(x * np.cos(turn) + y * np.sin(turn)) / 4)) + 60
    this = Surface(np.repeat(step.astype(np.uint8)[..., None], 3, 2), WHOLE)
    found, strength = this.edge_direction(64, 64)
    assert abs((np.rad2deg(found) - angle + 90) % 180 - 90) < 6
    assert strength > 2 * this.edge_direction(64 + 50 * np.sin(turn), 64 + 50 * np.cos(turn))[1]


def test_the_plate_has_no_object_and_the_same_background():
    """Nor any of the soft rim that an object has beyond its outline."""
    mask = disc(256, 256, 60)
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)[..., None]
    pixels = np.rint(90 + share * (110, -50, -50)).astype(np.uint8)
    this = Surface(pixels, mask)
    plate, around = this.plate, this.around
    assert around[mask > 0].all()
    assert around.mean() < 1.3 * mask.mean()
    assert np.array_equal(plate[around == 0], pixels[around == 0])
    assert np.abs(plate[around > 0].astype(int) - 90).max() <= 12
    assert np.abs(plate.astype(int) - 90).mean() < 1


def test_nothing_is_written_to_what_is_given():
    pixels, mask = texture("photo", 64, 64), foreground("disc", 64, 64)
    before = pixels.copy(), mask.copy()
    this = Surface(pixels, mask)
    _ = this.plate, this.structure, this.grain, this.softness, this.chroma, this.texture((0, 0, 64, 64))
    assert np.array_equal(pixels, before[0])
    assert np.array_equal(mask, before[1])


def test_an_object_is_less_and_less_present_towards_its_outline():
    shape = disc(128, 128, 40)
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 2.0)
    seen = Surface(np.repeat(np.rint(60 + 140 * soft)[..., None], 3, 2).astype(np.uint8), shape)
    alpha = seen.alpha((0, 0, 128, 128))
    assert (alpha[shape == 0] == 0).all()
    assert alpha[64, 64] == 1
    row = alpha[64, 64:106]
    assert (np.diff(row) <= 0).all()
    assert ((row > 0) & (row < 1)).sum() >= 2  # no sharper than the picture
    assert seen.alpha((60, 60, 70, 70)) is None
    assert Surface(flat(), WHOLE).alpha((0, 0, 128, 128)) is None


def test_the_smoothof_an_object_knows_nothing_of_its_background():
    shape = disc(128, 128, 40)
    pixels = np.full((128, 128, 3), 250, np.uint8)
    pixels[shape > 0] = (90, 60, 30)
    smooth = Surface(pixels, shape).smooth((20, 20, 110, 110), 11)
    inside = shape[20:110, 20:110] > 0
    assert (smooth[inside] == (90, 60, 30)).all()
    assert (smooth[cv2.dilate(inside.astype(np.uint8), np.ones((13, 13))) == 0] == 250).all()


def test_a_wire_is_present_in_its_middle():
    wire = np.zeros((128, 128), np.uint8)
    wire[62:65, 10:118] = 1
    soft = cv2.GaussianBlur(wire.astype(np.float32), (0, 0), 2.0)
    seen = Surface(np.repeat(np.rint(60 + 140 * soft)[..., None], 3, 2).astype(np.uint8), wire)
    alpha = seen.alpha((0, 0, 128, 128))
    assert alpha[63, 30:100].min() == 1
    assert 0 < alpha[62, 64] < 1


def brushed(angle, side=256, lines=12.0, grain=6.0, period=11.0, seed=0):
    """(side, side) float64: lines along an angle in degrees over white noise, and the lines alone."""
    y, x = np.mgrid[:side, :side] - side / 2
    turn = np.deg2rad(angle)
    alone = lines * np.sqrt(2) * np.sin(2 * np.pi * (x * np.sin(turn) - y * np.cos(turn)) / period)
    return 120 + alone + np.random.default_rng(seed).normal(0, grain, (side, side)), alone


def gray(values):
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)


@stable(20)
@given(st.integers(0, 179))
def test_the_lay_is_the_direction_of_the_brushing(angle):
    this = Surface(gray(brushed(angle)[0]), np.ones((256, 256), np.uint8))
    assert abs((np.rad2deg(this.lay) - angle + 90) % 180 - 90) < 3
    assert this.lay_around(20, 20) == this.lay


def test_the_lay_is_that_of_the_object_not_of_its_background():
    pixels, mask = gray(brushed(0)[0]), disc(256, 256, 80)
    pixels[mask > 0] = gray(brushed(70)[0])[mask > 0]
    assert abs(np.rad2deg(Surface(pixels, mask).lay) - 70) < 5


@pytest.mark.parametrize("pixels", [flat(), gray(np.random.default_rng(0).normal(120, 20, (128, 128)))])
def test_what_has_no_lines_has_no_lay(pixels):
    this = Surface(pixels, WHOLE)
    assert this.lay is None
    assert this.lines((0, 0, 128, 128), 11, 255) is None
    assert this.lay_around(64, 64) == this.edge_direction(64, 64)[0] + np.pi / 2


@pytest.mark.parametrize("angle", [0, 25, 45, 90, 118, 160])
def test_lines_are_the_texture_along_the_lay_without_the_grain(angle):
    values, alone = brushed(angle)
    this = Surface(gray(values), np.ones((256, 256), np.uint8))
    found = this.lines((0, 0, 256, 256), 41, 255)
    middle = (slice(64, 192),) * 2  # far from where the picture ends and its mirror image goes on
    assert np.corrcoef(found[middle].ravel(), alone[middle].ravel())[0, 1] > 0.93
    assert found[middle].std() / alone[middle].std() == pytest.approx(1, abs=0.25)
    assert np.array_equal(this.lines((70, 80, 150, 170), 41, 255), found[70:150, 80:170])


def test_lines_of_an_object_know_nothing_of_its_background():
    values, alone = brushed(90)
    mask = disc(256, 256, 90)
    dark, bright = (gray(np.where(mask > 0, values, background)) for background in (10, 240))
    well = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0
    for pixels in (dark, bright):
        found = Surface(pixels, mask).lines((0, 0, 256, 256), 41, 255)
        assert np.corrcoef(found[well], alone[well])[0, 1] > 0.9
        assert np.abs(found[well]).max() < 3 * np.abs(alone).max()


def test_an_edge_is_no_texture_and_makes_no_lines():
    values, _ = brushed(90)
    values = 110 + 0.5 * (values - values.mean())
    plain = Surface(gray(values), np.ones((256, 256), np.uint8))
    part = values.copy()
    part[100:220, 120:180] += 110
    this = Surface(gray(part), np.ones((256, 256), np.uint8))
    box = (60, 60, 240, 240)
    most = this.most_texture(box)
    assert most == pytest.approx(plain.most_texture(box), rel=0.15)
    assert most < 110 / 2
    lines, without = (each.lines(box, 41, most) for each in (this, plain))
    assert np.abs(lines).max() <= most + 1e-3
    assert np.abs(lines - without).max() < 0.5 * np.abs(this.lines(box, 41, 255) - without).max()


def test_what_texture_can_be_is_told_by_the_object_alone():
    noisy = np.random.default_rng(0).normal(120, 8, (128, 128))
    mask = disc(128, 128, 30)
    on_plain = Surface(gray(np.where(mask > 0, noisy, 20)), mask)
    assert on_plain.most_texture((0, 0, 128, 128)) == pytest.approx(3 * 8, rel=0.3)


@stable(30)
@given(st.floats(0, np.pi), st.integers(4, 200), st.integers(20, 90), st.integers(20, 90))
def test_an_average_along_a_line_keeps_what_is_the_same_along_it(angle, length, height, width):
    field = np.full((height, width), 7, np.float32)
    assert np.allclose(averaged_along(field, angle, length), 7)
    point = np.zeros((401, 401), np.float32)
    point[200, 200] = 1
    spread = averaged_along(point, angle, length)
    at = np.argwhere(spread > 0) - 200.0
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    along, across = at @ (np.sin(angle), np.cos(angle)), at @ (np.cos(angle), -np.sin(angle))
    assert np.ptp(along) >= 0.9 * length - 2
    assert np.abs(across).max() < 2.5  # a line, to the rounding of its steps
    assert abs(across.mean()) < 0.5
    assert abs(along.mean()) < 1.1
