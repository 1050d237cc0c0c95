"""Scenes to measure the foreground by and to learn it from, the measures, and the network's training."""

import cv2
import numpy as np
import pytest

from synthgen.foreground import network
from tests.support.surfaces import disc
from tools.bench.foreground import measure, outline_distance, overlap, rendered_categories
from tools.bench.support.scenes import category_name, render
from tools.foreground.__main__ import train, write_onnx
from tools.foreground.products import SIDE, scene


def test_scenes_depend_on_their_numbers_alone():
    for category in (0, 3, 13):
        first, again = render(category, 1, 96), render(category, 1, 96)
        assert np.array_equal(first.pixels, again.pixels)
        assert np.array_equal(first.foreground, again.foreground)
        assert not np.array_equal(first.pixels, render(category, 2, 96).pixels)
    assert np.array_equal(scene(5)[0], scene(5)[0])


def test_a_scene_shows_its_product_where_its_mask_says():
    kinds = {category_name(number) for number in range(60)}
    assert {"body", "texture", "thin", "with holes", "transparent", "like the ground", "over the border"} <= kinds
    for category in range(12):
        found = render(category, 0, 96)
        assert (found.pixels.shape, found.foreground.shape) == ((96, 96, 3), (96, 96))
        assert found.foreground.all() == (category_name(category) == "texture")
        assert found.foreground.any()
    for seed in range(20):
        pixels, mask = scene(seed)
        assert (pixels.shape, mask.shape, pixels.dtype) == ((SIDE, SIDE, 3), (SIDE, SIDE), np.uint8)
        assert 0 <= mask.min() <= mask.max() == 1


def test_overlap_and_distance_are_what_they_say():
    true, moved = disc(200, 200, 50), disc(200, 200, 50, (100, 110))
    assert overlap(true, true) == 1
    assert outline_distance(true, true) == 0
    assert overlap(true, moved) == pytest.approx((true & moved).sum() / (true | moved).sum())
    assert outline_distance(true, moved) == pytest.approx(10 / 200, rel=0.1)
    assert outline_distance(true, np.ones_like(true)) == 1


def test_a_category_is_measured_as_it_is_built():
    ((name, items),) = rendered_categories(1, 3)
    assert name == category_name(0)
    found = measure(items, "none")
    assert [one.iou for one in found] == pytest.approx([float(mask.mean()) for _, mask in items])


def test_a_training_writes_what_opencv_runs(tmp_path, monkeypatch):
    """Two steps: enough to be another network than ours, run in the same way."""
    write_onnx(train(2, 2), tmp_path / "network.onnx")
    monkeypatch.setattr(network, "_FILE", tmp_path / "network.onnx")
    network._network.cache_clear()
    try:
        likely = network.probability(cv2.resize(scene(0)[0], (60, 40)))
    finally:
        network._network.cache_clear()
    assert likely.shape == (SIDE, SIDE)
    assert 0 < likely.min() < likely.max() < 1
