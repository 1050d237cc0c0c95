"""Photographs of the same object are told, and lie on one side of every split."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.real.defects import NORMAL
from detectors.real.objects import PHOTOGRAPHS, SIMILAR, objects_of
from detectors.real.worth.shots import _drawn
from detectors.real.worth.trial import Trial
from synthgen.errors import InputDataError

SIDE = 96


def surface(seed):
    """(SIDE, SIDE) float: a texture that no other seed has."""
    return cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 90, (SIDE, SIDE)), (0, 0), 2) + 120


def photograph(seed, light=0.0, shift=0, hole=None):
    """(SIDE, SIDE, 3) uint8: the object in another light, a little aside, with another hole."""
    pixels = np.roll(surface(seed), shift, 1) * np.linspace(1 - light, 1 + light, SIDE)
    if hole:
        pixels[hole : hole + 14, 20:34] = 20
    return np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[..., None], 3, 2)


def test_the_same_object_is_told_in_another_light_and_place():
    images = [photograph(1), photograph(2), photograph(1, 0.4, 2, 30), photograph(3), photograph(2, -0.3, 3, 50)]
    normals = [photograph(seed) for seed in range(10, 18)]
    names = [f"{k}.png" for k in range(5)]
    a, b, again, other, twice = objects_of(SIMILAR, names, images, normals)
    assert (a, b) == (again, twice)
    assert len({a, b, other}) == 3
    assert objects_of(PHOTOGRAPHS, names, images, normals) == [0, 1, 2, 3, 4]
    assert len(set(objects_of(SIMILAR, names, images, []))) == 5  # nothing to go by


def test_a_table_says_what_shows_the_same(tmp_path):
    table = tmp_path / "objects.csv"
    table.write_text("path,object\nhole/a.png,7\nhole/b.png,x\nhole/c.png,7\n")
    assert objects_of(str(table), ["hole/a.png", "hole/b.png", "hole/c.png"], [], []) == [0, 1, 0]
    with pytest.raises(InputDataError, match=r"no line for hole/d\.png"):
        objects_of(str(table), ["hole/a.png", "hole/d.png"], [], [])
    table.write_text("file,part\na,b\n")
    with pytest.raises(InputDataError, match="columns path and object"):
        objects_of(str(table), ["hole/a.png"], [], [])
    with pytest.raises(InputDataError, match="cannot be read"):
        objects_of(str(tmp_path / "none.csv"), ["hole/a.png"], [], [])


def test_no_object_is_shown_and_tested():
    kinds = [NORMAL, *["hole"] * 6, *["dent"] * 3, NORMAL]
    objects = [0, 1, 1, 1, 2, 3, 3, 1, 5, 5, 0]
    nothing = np.zeros((1, 1, 1, 1), np.float16)
    trial = Trial(
        backbone=None, device=None, good=nothing, seen=nothing, masks=[np.ones((4, 4), np.uint8)] * 11, kinds=kinds,
        objects=objects, steps=1,
    )  # fmt: skip
    for seed in range(8):
        shown = _drawn(trial, 2, seed)
        of_hole = [objects[i] for i in shown if kinds[i] == "hole"]
        assert len(set(of_hole)) == len(of_hole) == 2
        tested = trial.without(shown)
        assert {0, 10} <= set(tested)
        assert not {objects[i] for i in shown} & {objects[i] for i in tested if kinds[i] != NORMAL}
        assert set(_drawn(trial, 1, seed)) <= set(shown)
