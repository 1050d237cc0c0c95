"""`synthgen fit`: types held against real defects, and the recipe that comes of it."""

import cv2
import numpy as np
import pytest
import yaml

from synthgen.anomalies.registry import TYPES
from synthgen.fitting.fit import fit_types
from synthgen.fitting.measure import measure
from synthgen.fitting.samples import make_some
from synthgen.painting.surface import Surface
from synthgen.recipe.file import read_recipe_file
from synthgen.samples import NormalImage
from synthgen.synthesis import PreparedNormal
from tests.support.commands import synthgen
from tests.synthgen.exemplars.photographs import SIDE, damaged, plain, spot, write_defects, write_normals


def line(seed, width=1):
    """(SIDE, SIDE) uint8 {0, 1}: a crooked line that crosses half of the picture."""
    rng = np.random.default_rng(seed)
    xs = np.linspace(0.25, 0.75, 12) * SIDE
    points = np.stack([xs, SIDE / 2 + rng.normal(0, 7, 12).cumsum()], 1).round().astype(np.int32)
    return cv2.polylines(np.zeros((SIDE, SIDE), np.uint8), [points], False, 1, width)


def prepared(count=4):
    whole = np.ones((SIDE, SIDE), np.uint8)
    normals = [NormalImage("folder", "x", f"{k}.png", "", plain(100 + k)) for k in range(count)]
    return [PreparedNormal(normal, Surface(normal.pixels, whole), "") for normal in normals]


def photographs(masks, change=-60):
    return [("defect", damaged(plain(k), mask, change), mask) for k, mask in enumerate(masks)]


def test_ranges_bring_a_type_nearer_to_the_defects_that_are_like_it():
    marked = photographs([line(k, 2) for k in range(6)], change=-25)
    settings = {name: TYPES[name].configure() for name in ("crack", "spot")}
    fitted = fit_types(marked, prepared(), settings)
    assert (fitted["spot"].ranges, fitted["spot"].reason) == ({}, "no real defect is like it")
    crack = fitted["crack"]
    assert crack.defects == 6
    assert "few, so ranges are wide" in crack.reason
    changed = TYPES["crack"].configure(**crack.ranges)

    def off(measured):
        return sum(
            abs(np.log(measured.percentiles(name)[1] / crack.real.percentiles(name)[1])) for name in ("extent", "contrast")
        )

    made = measure((sample.image, sample.mask) for sample in make_some("crack", changed, prepared(), 48, 1))
    assert off(made) < off(crack.made)


def test_of_two_defects_nothing_is_concluded():
    fitted = fit_types(photographs([spot(60, 60, 3), spot(40, 80, 3)]), prepared(), {"spot": TYPES["spot"].configure()})
    assert (fitted["spot"].ranges, fitted["spot"].reason) == ({}, "2 real defects like it: too few to say")


def test_the_same_defects_give_the_same_ranges():
    marked, settings = photographs([spot(60, 60 + k, 3) for k in range(4)]), {"spot": TYPES["spot"].configure()}
    first, again = (fit_types(marked, prepared(), settings)["spot"] for _ in range(2))
    assert first.ranges == again.ranges


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("fit")
    return write_normals(root / "good", 6), write_defects(root / "mine", [line(k, 2) for k in range(4)], kind="crack: 1")


def test_the_recipe_builds_and_says_why(folders, tmp_path):
    good, mine = folders
    common = ["--dataset", "folder", "--root", good, "--size", SIDE]
    done = synthgen("fit", *common, "--real", mine, "--no-check", "--out", tmp_path / "mine.yaml")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "mine.yaml").read_text()
    recipe = read_recipe_file(tmp_path / "mine.yaml")
    assert "Do not measure a detector on these defects" in text
    assert "real defects like it" in text
    assert recipe.types["real"].weight == 0.5
    assert sum(kind.weight for kind in recipe.types.values()) == pytest.approx(1, abs=0.01)
    assert "length_range" in yaml.safe_load(text)["types"]["crack"]
    done = synthgen("plan", "--recipe", tmp_path / "mine.yaml", "--root", good)
    assert done.returncode == 0, done.stderr


def test_one_category_at_a_time(folders, tmp_path):
    good, mine = folders
    for name in ("a", "b"):
        write_normals(tmp_path / name, 3)
        write_defects(tmp_path / "real" / name, [spot(60, 60)])
    done = synthgen("fit", "--dataset", "folder", "--root", tmp_path, "--real", tmp_path / "real", "--categories", "a,b")
    assert (done.returncode, "choose one by --categories" in done.stderr) == (2, True)
    done = synthgen("fit", "--recipe", "logical", "--real", mine)
    assert (done.returncode, "takes --dataset and --real" in done.stderr) == (2, True)
    done = synthgen("fit", "--dataset", "folder", "--root", good, "--real", tmp_path / "none")
    assert (done.returncode, "no such folder" in done.stderr) == (3, True)
