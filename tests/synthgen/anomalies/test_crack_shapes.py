"""The figures of crack geometry on shapes whose figures are known."""

import itertools

import cv2
import h5py
import numpy as np
import pytest

from tools.bench import crack_shapes


def drawing(*lines, size=512, thickness=5):
    """(size, size) uint8: the pixels within thickness / 2 of a polyline of (x, y) points (cv2's thick lines are not exact)."""
    y, x = np.mgrid[:size, :size].astype(float)
    mask = np.zeros((size, size), bool)
    for line in lines:
        for (x0, y0), (x1, y1) in itertools.pairwise(line):
            along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
            mask |= np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)) <= thickness / 2
    return mask.astype(np.uint8)


def test_a_straight_line_has_its_length_and_width_and_no_turns():
    for end in [(400, 100), (400, 400), (400, 224)]:
        got = crack_shapes.describe(drawing([(100, 100), end]))
        assert got["length"] == pytest.approx(np.hypot(end[0] - 100, end[1] - 100), rel=0.09)
        assert got["width_mean"] == pytest.approx(5, abs=0.8)
        assert 4 <= got["width_median"] <= 6.5
        assert got["tortuosity"] == pytest.approx(1, abs=0.01)
        assert got["turn_mean"] < 2
        assert got["branches_per_100"] == 0
        assert got["ends_per_100"] * got["length"] / 100 == pytest.approx(2)


def test_lengths_do_not_depend_on_the_resolution():
    small = crack_shapes.describe(drawing([(60, 60), (150, 120), (200, 220)], size=256, thickness=5))
    large = crack_shapes.describe(drawing([(120, 120), (300, 240), (400, 440)], size=512, thickness=10))
    for name in ("length", "width_mean", "path_length", "tortuosity", "tip_width"):
        assert small[name] == pytest.approx(large[name], rel=0.12), name


def test_branches_and_ends_of_a_fork_and_a_cross():
    fork = crack_shapes.describe(drawing([(100, 256), (256, 256)], [(256, 256), (400, 150)], [(256, 256), (400, 350)]))
    cross = crack_shapes.describe(drawing([(100, 256), (400, 256)], [(256, 100), (256, 400)]))
    for figures, branches, ends in [(fork, 1, 3), (cross, 1, 4)]:
        assert figures["branches_per_100"] * figures["length"] / 100 == pytest.approx(branches)
        assert figures["ends_per_100"] * figures["length"] / 100 == pytest.approx(ends)


def test_a_rough_edge_makes_no_branches_but_an_arm_longer_than_the_width_does():
    bumps = [[(x, 256), (x, 250)] for x in range(120, 400, 20)]
    rough = crack_shapes.describe(drawing([(100, 256), (420, 256)], thickness=7) | drawing(*bumps, thickness=3))
    assert rough["branches_per_100"] == 0
    arm = crack_shapes.describe(drawing([(100, 256), (420, 256)], [(250, 256), (250, 226)], thickness=7))
    assert arm["branches_per_100"] > 0


def test_pinholes_are_counted_and_change_nothing_else():
    whole = drawing([(100, 256), (420, 256)], thickness=9)
    pierced = whole.copy()
    pierced[256, 150:400:25] = 0
    one, other = crack_shapes.describe(whole), crack_shapes.describe(pierced)
    assert (one["pinholes"], other["pinholes"]) == (0, 10)
    assert {k: v for k, v in one.items() if k not in ("pinholes", "area_fraction")}.items() <= other.items()


def test_a_zigzag_turns_and_a_wedge_has_tips_of_different_width():
    corners = [(100 + 40 * i, 240 + 40 * (i % 2)) for i in range(8)]
    bent = crack_shapes.describe(drawing(corners))
    assert bent["tortuosity"] > 1.2
    assert bent["turn_mean"] > 10
    wedge = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(wedge, [np.array([(100, 256), (260, 250), (420, 256), (260, 262)], np.int32)], 1)
    assert crack_shapes.describe(wedge)["tip_width"] < 0.6


def test_an_empty_mask_and_a_single_pixel_are_described_too():
    empty, dot = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    dot[5, 5] = 255
    assert crack_shapes.describe(empty)["components"] == 0
    assert crack_shapes.describe(dot)["components"] == 1
    assert "tortuosity" not in crack_shapes.describe(dot)
    assert crack_shapes.summarise([empty, dot])["area_fraction"]["masks"] == 1


def test_masks_come_from_images_and_from_shards_by_type(tmp_path):
    masks = np.stack([drawing([(10, 10), (50, 20 + 10 * i)], size=64, thickness=2) for i in range(3)])
    (tmp_path / "images").mkdir()
    for i, mask in enumerate(masks):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), mask * 255)
    assert np.array_equal(np.stack(list(crack_shapes.read_masks(tmp_path / "images", "crack"))) > 0, masks > 0)
    with h5py.File(tmp_path / "shard.h5", "w") as shard:
        shard["mask"] = masks
        shard["label"] = np.array([1, 1, 0], np.uint8)
        shard["type"] = np.array([1, 0, 1], np.uint8)
        shard["type"].attrs["names"] = ["corrosion", "crack"]
    found = list(crack_shapes.read_masks(tmp_path / "shard.h5", "crack"))
    assert len(found) == 1
    assert np.array_equal(found[0], masks[0])
    with pytest.raises(SystemExit, match="no mask images"):
        list(crack_shapes.read_masks(tmp_path / "nothing", "crack"))
