"""Masks of edge edits: what differs between two generated pictures, where the edit was."""

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from synthgen.edges.truth import find_truth, structural_difference, visible_change

SIDE = 128
SEEN = np.full((SIDE, SIDE), 99, np.float32)


def picture(seed=0):
    rng = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 2)
    return np.clip(3 * (blurred - 127) + 127, 0, 255).astype(np.uint8)


def disc(centre, radius):
    return cv2.circle(np.zeros((SIDE, SIDE), np.uint8), centre, radius, 1, cv2.FILLED)


def test_the_difference_is_that_of_scikit_image():
    one, other = picture(0), picture(1)
    other[:, :40] = one[:, :40]
    ours = structural_difference(one, other)
    _, theirs = structural_similarity(
        one / 255, other / 255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=1.0, full=True,
    )  # fmt: skip
    inner = np.s_[8:-8, 8:-8]
    assert np.allclose(ours[inner], np.clip(1 - theirs.mean(-1), 0, 1)[inner], atol=2e-3)
    assert ours[:, :30].max() < 1e-4


def test_the_mask_covers_the_change_in_the_area_and_no_other():
    difference = np.zeros((SIDE, SIDE), np.float32)
    changed = disc((60, 60), 15)
    difference[changed > 0] = 0.9
    difference[5:15, 5:15] = 0.9  # far from the edit: a side effect
    truth = find_truth(difference, SEEN, disc((60, 60), 18), None, 0.5)
    assert not truth.refused
    assert truth.mask[5:15, 5:15].sum() == 0
    overlap = (truth.mask & changed).sum() / (truth.mask | changed).sum()
    assert overlap > 0.9


def test_what_cannot_be_seen_is_not_labelled():
    difference = np.zeros((SIDE, SIDE), np.float32)
    difference[30:90, 30:90] = 1
    change = np.zeros((SIDE, SIDE), np.float32)
    change[30:60, 30:90] = 40
    truth = find_truth(difference, change, np.ones((SIDE, SIDE), np.uint8), None, 0.5)
    assert truth.mask[32:58, 32:88].all()
    assert not truth.mask[64:].any()


def test_a_change_is_seen_in_any_channel_and_in_the_right_place():
    one = np.full((SIDE, SIDE, 3), 100, np.uint8)
    other = one.copy()
    other[20:40, 20:40, 2] += 50
    change = visible_change(one, other)
    assert change[30, 30] == pytest.approx(50, abs=1)
    assert change[:16].max() == change[:, 45:].max() == 0


def test_holes_are_filled_and_specks_dropped():
    difference = np.zeros((SIDE, SIDE), np.float32)
    ring = disc((64, 64), 20) - disc((64, 64), 12)
    difference[ring > 0] = 1
    difference[100, 100] = 1
    truth = find_truth(difference, SEEN, np.ones((SIDE, SIDE), np.uint8), None, 0.5)
    assert truth.mask[64, 64] == 1
    assert truth.mask[100, 100] == 0


def test_a_part_that_is_gone_is_labelled_whole():
    part = disc((64, 64), 20)
    difference = np.zeros((SIDE, SIDE), np.float32)
    difference[part > 0] = 1
    difference[58:70, 40:90] = 0  # the floor looks like the part there
    area = disc((64, 64), 23)
    parts = [find_truth(difference, SEEN, area, removed, 0.5).mask for removed in (None, part)]
    assert parts[1][part > 0].mean() > 0.97
    assert parts[0][part > 0].mean() < 0.75


@pytest.mark.parametrize(
    ("inside", "outside", "said"),
    [(0.0, 0.0, "nothing"), (0.9, 0.3, "whole"), (0.9, 0.0, "")],
)
def test_what_teaches_nothing_is_refused(inside, outside, said):
    difference = np.full((SIDE, SIDE), outside, np.float32)
    area = disc((64, 64), 20)
    difference[area > 0] = inside
    refused = find_truth(difference, SEEN, area, None, 0.5).refused
    assert said in refused
    assert bool(said) == bool(refused)


def test_a_tiny_change_of_a_large_area_is_refused():
    difference = np.zeros((SIDE, SIDE), np.float32)
    difference[60:68, 60:68] = 1
    assert find_truth(difference, SEEN, disc((64, 64), 40), None, 0.5).refused
