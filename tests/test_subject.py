"""What anomaly types are told about a surface is true, at any size and for the emptiest picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surfaces import FOREGROUNDS, SURFACES, disc, foreground, stable, subject, surface

from synthgen.anomalies.subject import Subject

WHOLE = np.ones((128, 128), np.uint8)


def flat(level=120, height=128, width=128):
    return np.full((height, width, 3), level, np.uint8)


@stable(60)
@given(st.sampled_from(SURFACES), st.sampled_from(FOREGROUNDS), st.integers(16, 150), st.integers(16, 150), st.integers(0, 99))
def test_all_facts_exist_whatever_the_picture(kind, where, height, width, seed):
    this = subject(kind, where, height, width, seed)
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
    assert np.isfinite(this.texture_around(y, x, 5))
    assert np.isfinite(this.texture((y, x, y + 1, x + 1)))
    assert this.plate.shape == (height, width, 3)
    assert this.plate.dtype == np.uint8
    assert this.scale == min(height, width) / 512


@pytest.mark.parametrize(
    ("kind", "gray"), [("gray", True), ("black", True), ("gray noise", True), ("colour", False), ("constant", False)]
)
def test_gray_is_three_equal_channels(kind, gray):
    this = subject(kind)
    assert this.is_gray == gray
    assert (this.chroma == 0) == gray
    one_off = surface("gray", 64, 64)
    one_off[3, 5, 1] ^= 1
    assert not Subject(one_off, np.ones((64, 64), np.uint8)).is_gray


@stable(20)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(0, 999))
def test_places_are_on_the_foreground_away_from_its_edge(height, width, seed):
    mask = disc(height, width, 8)
    this = Subject(flat(120, height, width), mask)
    side = 2 * round(2 * min(height, width) / 512) + 1
    far = cv2.erode(mask, np.ones((side, side), np.uint8))
    rng = np.random.default_rng(seed)
    assert all(far[this.place(rng)] for _ in range(50))


@pytest.mark.parametrize("width", [1, 3, 4])
def test_places_are_on_a_thin_foreground(width):
    mask = np.zeros((64, 64), np.uint8)
    mask[30 : 30 + width] = 1
    rng = np.random.default_rng(0)
    this = Subject(flat(120, 64, 64), mask)
    assert all(mask[this.place(rng)] for _ in range(50))


def test_parts_are_hit_as_their_area_asks_and_have_their_own_diameter():
    mask = disc(200, 200, 40, (60, 60)) | disc(200, 200, 20, (150, 150))
    this = Subject(flat(120, 200, 200), mask)
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
    assert Subject(noisy, np.ones((256, 256), np.uint8)).grain == pytest.approx(sigma, rel=0.15)
    assert Subject(flat(), WHOLE).grain == 0


def test_softness_follows_the_blur_of_the_edges():
    sharp = flat(60)
    sharp[:, 64:] = 190
    figures = [Subject(cv2.GaussianBlur(sharp, (0, 0), sigma), WHOLE).softness for sigma in (0.6, 1.0, 1.5, 2.2)]
    assert figures == pytest.approx([0.6, 1.0, 1.5, 2.2], rel=0.3)
    assert Subject(sharp, WHOLE).softness < 0.55


def test_texture_is_the_local_deviation_of_the_brightness():
    rough = flat()
    rough[:, 64:] = np.clip(120 + np.random.default_rng(0).normal(0, 20, (128, 64, 1)), 0, 255).astype(np.uint8)
    this = Subject(rough, WHOLE)
    assert this.texture((0, 0, 128, 48)) == 0
    assert this.texture((0, 80, 128, 128)) == pytest.approx(20, rel=0.15)
    assert this.texture_around(64, 100, 10) == pytest.approx(this.texture((54, 90, 74, 110)), rel=0.3)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120, 170])
def test_the_strongest_change_is_across_the_edge(angle):
    y, x = np.mgrid[:128, :128] - 64.0
    turn = np.deg2rad(angle)
    step = 100 / (1 + np.exp(-(x * np.cos(turn) + y * np.sin(turn)) / 4)) + 60
    this = Subject(np.repeat(step.astype(np.uint8)[..., None], 3, 2), WHOLE)
    found, strength = this.edge_direction(64, 64)
    assert abs((np.rad2deg(found) - angle + 90) % 180 - 90) < 6
    assert strength > 2 * this.edge_direction(64 + 50 * np.sin(turn), 64 + 50 * np.cos(turn))[1]


def test_the_plate_has_no_object_and_the_same_background():
    mask = disc(128, 128, 30)
    pixels = flat(90)
    pixels[mask > 0] = (200, 40, 40)
    plate = Subject(pixels, mask).plate
    assert np.array_equal(plate[mask == 0], pixels[mask == 0])
    assert np.abs(plate[mask > 0].astype(int) - 90).max() <= 12


def test_nothing_is_written_to_what_is_given():
    pixels, mask = surface("photo", 64, 64), foreground("disc", 64, 64)
    before = pixels.copy(), mask.copy()
    this = Subject(pixels, mask)
    _ = this.plate, this.structure, this.grain, this.softness, this.chroma, this.texture((0, 0, 64, 64))
    assert np.array_equal(pixels, before[0])
    assert np.array_equal(mask, before[1])


def test_an_object_is_less_and_less_present_towards_its_outline():
    shape = disc(128, 128, 40)
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 2.0)
    seen = Subject(np.repeat(np.rint(60 + 140 * soft)[..., None], 3, 2).astype(np.uint8), shape)
    presence = seen.presence((0, 0, 128, 128))
    assert (presence[shape == 0] == 0).all()
    assert presence[64, 64] == 1
    row = presence[64, 64:106]
    assert (np.diff(row) <= 0).all()
    assert ((row > 0) & (row < 1)).sum() >= 2  # no sharper than the picture
    assert seen.presence((60, 60, 70, 70)) is None
    assert Subject(flat(), WHOLE).presence((0, 0, 128, 128)) is None


def test_the_surface_of_an_object_knows_nothing_of_its_background():
    shape = disc(128, 128, 40)
    pixels = np.full((128, 128, 3), 250, np.uint8)
    pixels[shape > 0] = (90, 60, 30)
    surface_ = Subject(pixels, shape).surface((20, 20, 110, 110), 11)
    inside = shape[20:110, 20:110] > 0
    assert (surface_[inside] == (90, 60, 30)).all()
    assert (surface_[cv2.dilate(inside.astype(np.uint8), np.ones((13, 13))) == 0] == 250).all()


def test_a_wire_is_present_in_its_middle():
    wire = np.zeros((128, 128), np.uint8)
    wire[62:65, 10:118] = 1
    soft = cv2.GaussianBlur(wire.astype(np.float32), (0, 0), 2.0)
    seen = Subject(np.repeat(np.rint(60 + 140 * soft)[..., None], 3, 2).astype(np.uint8), wire)
    presence = seen.presence((0, 0, 128, 128))
    assert presence[63, 30:100].min() == 1
    assert 0 < presence[62, 64] < 1
