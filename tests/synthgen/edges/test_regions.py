"""Candidate regions: what refinement promises of any masks, and what the watershed makes of drawn edges."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.edges.regions import MOST_REGIONS, SMALLEST_SHARE, Regions, covers_border, refine
from synthgen.edges.watershed import edge_segments
from tests.support.surfaces import disc, foreground, stable, texture


def random_masks(seed, height, width, count):
    """Discs, boxes and clouds of specks of any size, some of them twice, some of them empty."""
    rng = np.random.default_rng(seed)
    masks = []
    for kind in rng.integers(0, 5, count):
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask = np.zeros((height, width), bool)
        if kind == 0:
            mask = disc(height, width, rng.uniform(1, 0.6 * min(height, width)), (y, x)) > 0
        elif kind == 1:
            mask[y : y + rng.integers(0, height), x : x + rng.integers(1, width)] = True
        elif kind == 2:
            for _ in range(6):
                mask |= disc(height, width, 2.5, (y + rng.integers(-8, 9), x + rng.integers(-8, 9))) > 0
        elif kind == 3 and masks:
            mask = np.roll(masks[rng.integers(len(masks))], rng.integers(-2, 3, 2), (0, 1))
        elif masks:
            mask = masks[rng.integers(len(masks))].copy()
        masks.append(mask)
    return masks


def same(one, other):
    return one.available == other.available and np.array_equal(one.labels, other.labels)


cases = given(
    st.integers(0, 10_000),
    st.sampled_from([(64, 64), (48, 80), (97, 60)]),
    st.integers(0, 40),
    st.sampled_from([None, "whole", "disc", "corner", "parts", "empty"]),
)


@stable(60)
@cases
def test_refined_regions_keep_their_promises(seed, size, count, where):
    masks, image = random_masks(seed, *size, count), texture("photo", *size, seed)
    objects = None if where is None else foreground(where, *size, seed) > 0
    regions = refine(masks, image, objects)
    assert regions.labels.dtype == np.uint8
    assert regions.labels.shape == size
    assert set(np.unique(regions.labels)) | {0} == set(range(len(regions) + 1))
    assert len(regions) <= MOST_REGIONS
    areas = regions.areas
    assert len(areas) == len(regions)
    assert (np.diff(areas) <= 0).all()
    assert (areas >= SMALLEST_SHARE * image[..., 0].size).all()
    covered = np.any(masks, axis=0) if masks else np.zeros(size, bool)
    assert not (regions.labels > 0)[~covered].any()  # nothing is made up
    if where == "empty":
        assert not regions.available
    assert regions.available <= (len(regions) >= 3)


@stable(40)
@cases
def test_the_order_of_the_masks_makes_no_difference(seed, size, count, where):
    masks, image = random_masks(seed, *size, count), texture("photo", *size, seed)
    objects = None if where is None else foreground(where, *size, seed) > 0
    shuffled = [masks[k] for k in np.random.default_rng(seed).permutation(count)]
    assert same(refine(masks, image, objects), refine(shuffled, image, objects))


@stable(40)
@cases
def test_refining_again_changes_nothing(seed, size, count, where):
    image = texture("photo", *size, seed)
    objects = None if where is None else foreground(where, *size, seed) > 0
    once = refine(random_masks(seed, *size, count), image, objects)
    assert same(once, refine([once.mask(k) for k in range(1, len(once) + 1)], image, objects))


def test_masks_and_image_are_left_as_they_were():
    masks, image = random_masks(3, 64, 64, 20), texture("photo", 64, 64)
    before = [mask.copy() for mask in masks]
    for array in (*masks, image):
        array.setflags(write=False)
    refine(masks, image)
    assert all(np.array_equal(*pair) for pair in zip(masks, before, strict=True))


def test_area_box_and_border_are_those_of_each_region():
    labels = np.zeros((40, 50), np.uint8)
    labels[10:30, 5:25] = 1
    labels[0:8, 30:50] = 2
    regions = Regions(labels, True)
    assert regions.areas.tolist() == [400, 160]
    assert regions.boxes == [(10, 5, 30, 25), (0, 30, 8, 50)]
    nothing = Regions(np.zeros((40, 50), np.uint8), False)
    assert (len(nothing), nothing.areas.tolist(), nothing.boxes) == (0, [], [])


# one rule at a time, on a 256-pixel image

FLAT = texture("constant", 256, 256)


def at(y, x, radius):
    return disc(256, 256, radius, (y, x)) > 0


def box(y0, x0, y1, x1):
    mask = np.zeros((256, 256), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_background_goes():
    part = at(128, 128, 20)
    half, frame, beside = box(20, 20, 240, 240), box(0, 0, 256, 90), at(40, 40, 20)
    assert covers_border(frame)
    assert not covers_border(half)
    regions = refine([half, frame, part], FLAT)
    assert np.array_equal(regions.mask(1), part)
    assert len(regions) == 1
    assert len(refine([part, beside], FLAT, at(128, 128, 40))) == 1
    assert len(refine([part, beside], FLAT, np.ones((256, 256), bool))) == 2  # a scene that fills the frame


def test_two_masks_of_one_thing_are_one_region_and_parts_belong_to_their_whole():
    one, again, part, beside = at(80, 80, 30), at(82, 84, 30), at(80, 92, 10), at(180, 180, 25)
    regions = refine([one, again, part, beside], FLAT)
    assert len(regions) == 2
    assert np.array_equal(regions.mask(1), one | again | part)
    tray = box(40, 40, 210, 210)  # too large to swallow what lies in it
    regions = refine([tray, part, beside], FLAT)
    assert len(regions) == 3
    assert np.array_equal(regions.mask(3), part)
    assert np.array_equal(regions.mask(1), tray & ~part & ~beside)


def test_where_regions_overlap_a_little_the_smaller_one_is_on_top():
    large, small = at(100, 100, 40), at(100, 145, 15)
    regions = refine([small, large], FLAT)
    assert np.array_equal(regions.mask(2), small)
    assert np.array_equal(regions.mask(1), large & ~small)


def test_a_crumb_joins_the_neighbour_of_its_colour():
    image = FLAT.copy()
    left, right, crumb = box(60, 60, 100, 100), box(60, 106, 100, 146), box(75, 101, 85, 105)
    image[left], image[right], image[crumb] = (200, 40, 40), (40, 40, 200), (190, 50, 50)
    regions = refine([left, right, crumb], image)
    assert len(regions) == 2
    assert np.array_equal(regions.labels > 0, left | right | crumb)
    assert (regions.labels[crumb] == regions.labels[65, 65]).all()


def test_a_heap_of_crumbs_is_one_region_and_a_lonely_crumb_none():
    crumbs = [at(100 + 11 * y, 100 + 11 * x, 3) for y in range(3) for x in range(3)]
    image = FLAT.copy()
    regions = refine([*crumbs, at(200, 200, 3)], image)
    assert len(regions) == 1
    assert np.array_equal(regions.mask(1), np.any(crumbs, axis=0))
    for number, crumb in enumerate(crumbs):  # of all colours they are no heap
        image[crumb] = (255, 255, 255) if number % 2 else (0, 0, 0)
    assert len(refine(crumbs, image)) == 0


def test_no_more_regions_than_a_label_map_of_64_and_those_the_largest():
    masks = [box(24 * y, 24 * x, 24 * y + 12 + y, 24 * x + 14) for y in range(10) for x in range(10)]
    regions = refine(masks, FLAT)
    assert len(regions) == MOST_REGIONS
    assert regions.areas.min() >= 14 * 15


# edges


def drawn(outlines, size=256, width=2.0):
    """A soft edge map of the outlines of masks, as wide as PiDiNet's lines."""
    lines = np.zeros((size, size), np.float32)
    for mask in outlines:
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(lines, found, -1, 1.0, 3)
    soft = cv2.GaussianBlur(lines, (0, 0), width)
    return soft / soft.max()


def scene(size=256):
    circles = [(70, 70, 24), (70, 180, 28), (150, 90, 20), (180, 180, 30), (120, 135, 14)]
    return [disc(size, size, r * size / 256, (y * size // 256, x * size // 256)) for y, x, r in circles]


def overlap(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_each_disc_of_a_drawn_scene_is_one_region(size):
    discs = scene(size)
    masks, objects = edge_segments(drawn(discs, size, 2.0 * size / 256))
    regions = refine(masks, texture("constant", size, size), objects)
    assert regions.available
    assert len(regions) == len(discs)
    for mask in discs:
        assert max(overlap(mask > 0, regions.mask(k)) for k in range(1, len(regions) + 1)) > 0.75
    assert overlap(objects, np.any(discs, axis=0)) > 0.75


def test_discs_on_a_tray_are_parts_beside_the_tray():
    tray = box(20, 20, 236, 236).astype(np.uint8)
    masks, objects = edge_segments(drawn([tray, *scene()]))
    regions = refine(masks, FLAT, objects)
    assert overlap(objects, tray > 0) > 0.9
    for mask in scene():
        assert max(overlap(mask > 0, regions.mask(k)) for k in range(1, len(regions) + 1)) > 0.75


def test_a_tray_whose_outline_is_faint_on_one_side_is_found():
    tray = box(20, 20, 236, 236).astype(np.uint8)
    edges = drawn([tray])
    edges[:, :40] *= 0.3
    _, objects = edge_segments(edges)
    assert overlap(objects, tray > 0) > 0.9


def test_a_faint_edge_sets_large_parts_apart():
    halves = box(40, 40, 200, 200).astype(np.uint8)
    edges = drawn([halves])
    edges[50:190, 118:124] = np.maximum(edges[50:190, 118:124], 0.15)
    edges[30:210, 119:123] = np.maximum(edges[30:210, 119:123], 0.15)
    masks, objects = edge_segments(edges)
    assert len(refine(masks, FLAT, objects)) == 2


@pytest.mark.parametrize("kind", ["nothing", "weak texture", "strong texture", "lines"])
def test_a_texture_has_no_regions_to_choose_from(kind):
    noise = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    edges = {
        "nothing": np.zeros((256, 256)),
        "weak texture": 0.3 * noise,
        "strong texture": 0.3 + 0.7 * noise,
        "lines": np.where(np.arange(256) % 16 < 5, 0.9, 0.02) * np.ones((256, 1)) * (np.arange(256) % 60 > 6)[:, None],
    }[kind]
    masks, objects = edge_segments(edges)
    assert not refine(masks, texture("noise", 256, 256), objects).available


def test_segments_share_no_pixel_and_are_the_same_each_time():
    edges = cv2.GaussianBlur(np.random.default_rng(1).random((90, 130)).astype(np.float32), (0, 0), 4)
    edges = (edges - edges.min()) / np.ptp(edges)
    masks, objects = edge_segments(edges)
    assert len(masks) > 3
    assert np.sum(masks, axis=0).max() == 1
    again, objects_again = edge_segments(edges.astype(np.float64))
    assert np.array_equal(masks, again)
    assert np.array_equal(objects, objects_again)


@pytest.mark.realdata
def test_real_pictures():
    import torch

    from synthgen.edges.pidinet import edge_maps, load_pidinet

    if "SYNTHGEN_TEST_DATA" not in os.environ:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    root = Path(os.environ["SYNTHGEN_TEST_DATA"])
    network = load_pidinet(root / "weights" / "table5_pidinet-tiny.pth")

    def regions_of(folder):
        path = sorted((root / folder).glob("*"))[0]
        image = cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), (256, 256), interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            fused = edge_maps(network, torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[-1][0, 0]
        masks, objects = edge_segments(fused.numpy())
        return refine(masks, image, objects)

    bottle, leather = regions_of("mvtec_loco/juice_bottle/train/good"), regions_of("mvtec_samples/leather/train/good")
    assert bottle.available
    assert 4 <= len(bottle) <= 20
    assert not leather.available
