"""The demo set: always the same pictures, none like another, rules kept, and parts that can be told apart."""

import dataclasses
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from synthgen import datasets
from synthgen.datasets import demo
from synthgen.datasets.demo.parts import COLOURS, KINDS
from synthgen.datasets.demo.tray import COLUMNS, ROWS, RULES, render_tray, tray_scene

CATEGORIES = sorted(demo.COUNTS)


def scene(number=0):
    return tray_scene(demo.generator("tray", "train", number))


def test_scan_needs_no_files():
    scan = datasets.scan("demo")
    assert [category.name for category in scan.categories] == CATEGORIES
    assert scan.root is None
    for category in scan.categories:
        assert category.found == len(category.used) == demo.COUNTS[category.name] >= 20
        assert len({source.source for source in category.used}) == category.found
        assert all(source.path is None for source in category.used)


@pytest.mark.parametrize("category", CATEGORIES)
def test_images_differ_from_each_other_but_not_from_themselves(category):
    sources = datasets.scan("demo", categories=[category]).categories[0].used
    normals = [datasets.read_normal(source, (512, 512)) for source in sources[:3]]
    again = datasets.read_normal(sources[0], (512, 512))
    assert np.array_equal(normals[0].pixels, again.pixels)
    assert len({normal.sha256 for normal in normals}) == 3
    for normal in normals:
        assert normal.pixels.shape == (512, 512, 3)
        assert 40 < normal.pixels.mean() < 220
        assert normal.pixels.std() > 10
        assert (normal.pixels == 255).mean() < 0.05
        assert (normal.pixels == 0).mean() < 0.05
    difference = np.abs(normals[0].pixels.astype(int) - normals[1].pixels.astype(int)).mean()
    assert difference > 2


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_digest_is_of_the_rendered_pixels_whatever_the_size(category):
    source = datasets.scan("demo", categories=[category]).categories[0].used[-1]
    large, small = datasets.read_normal(source, (512, 512)), datasets.read_normal(source, (64, 96))
    assert large.sha256 == small.sha256
    assert small.pixels.shape == (64, 96, 3)


def test_another_process_renders_the_same_bytes():
    code = """
import cv2
cv2.setNumThreads(1)
from synthgen.datasets import demo
print(*(demo.read_rendered(category, "007", (512, 512))[1] for category in sorted(demo.COUNTS)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == [demo.read_rendered(category, "007", (512, 512))[1] for category in CATEGORIES]


def test_a_tray_keeps_its_rules():
    assert len(RULES) == COLUMNS * ROWS
    for number in range(10):
        tray = scene(number)
        count = Counter((part.compartment, part.kind, part.colour) for part in tray.parts)
        assert count == {(i, rule.kind, rule.colour): len(rule.places) for i, rule in enumerate(RULES)}


def test_every_part_is_seen_whole_and_apart_from_the_others():
    areas = {}
    for number in range(12):
        tray = scene(number)
        pixels, owner = render_tray(tray)
        assert set(np.unique(owner)) == set(range(len(tray.parts) + 1))
        for index, part in enumerate(tray.parts, start=1):
            areas.setdefault(part.kind, []).append(int((owner == index).sum()))
        assert pixels.shape == (512, 512, 3)
    assert areas.keys() == KINDS.keys()
    for kind, sizes in areas.items():
        # a part hidden by another, or cut off by the edge of its window, would be smaller than its likes
        assert min(sizes) > 0.97 * max(sizes), kind


def test_a_missing_part_changes_only_where_it_lay():
    tray = scene(3)
    whole, owner = render_tray(tray)
    for index in range(len(tray.parts)):
        fewer = dataclasses.replace(tray, parts=tray.parts[:index] + tray.parts[index + 1 :])
        changed = (render_tray(fewer)[0] != whole).any(axis=2)
        mask = owner == index + 1
        assert changed[mask].mean() > 0.9
        rows, columns = np.nonzero(mask)
        near = np.zeros_like(changed)
        near[max(0, rows.min() - 60) : rows.max() + 60, max(0, columns.min() - 60) : columns.max() + 60] = True  # its shadow
        assert not changed[~near].any()


def test_another_colour_changes_the_part_and_not_its_surroundings():
    tray = scene(5)
    whole, owner = render_tray(tray)
    index = next(i for i, part in enumerate(tray.parts) if part.kind == "spacer")
    other = dataclasses.replace(tray.parts[index], colour="green")
    changed = (
        render_tray(dataclasses.replace(tray, parts=(*tray.parts[:index], other, *tray.parts[index + 1 :])))[0] != whole
    ).any(axis=2)
    mask = owner == index + 1
    assert changed[mask].mean() > 0.95
    assert not changed[cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) == 0].any()  # the lens blurs it a little


def test_colours_and_kinds_of_the_rules_exist():
    assert {rule.colour for rule in RULES} <= COLOURS.keys()
    assert {rule.kind for rule in RULES} == KINDS.keys()


def test_a_gear_stands_out_from_its_ground():
    for number in range(3):
        gray = demo.render_normal("gear", number).mean(axis=2)
        border = np.concatenate([gray[:30].ravel(), gray[-30:].ravel(), gray[:, :30].ravel(), gray[:, -30:].ravel()])
        assert border.std() < 8
        assert np.median(border) - np.median(gray[200:312, 120:180]) > 20
