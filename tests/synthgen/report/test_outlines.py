"""`synthgen view --foreground`: outlines of what is built, and of what would be."""

import cv2
import pytest

from tests.support.builders import picture, write
from tests.support.commands import synthgen
from tests.support.surfaces import disc, texture


@pytest.fixture
def good(tmp_path):
    """Discs, and a texture."""
    for number in range(3):
        pixels = picture(number, 96, 96) // 8 + 20
        pixels[disc(96, 96, 24 + number) > 0] = (200, 190, 180)
        write(tmp_path / "good/part" / f"{number}.png", pixels)
        write(tmp_path / "good/cloth" / f"{number}.png", texture("noise", 96, 96, number))
    return tmp_path / "good"


def built(good, out, *more):
    done = synthgen(
        "build", "--dataset", "folder", "--root", good, "--types", "spot", "--per-image", 1, "--size", 96, "--max-rejected", 1,
        "--out", out, "-j", 1, *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_what_was_decided_is_said_by_build_info_and_sheet(good, tmp_path):
    said = built(good, tmp_path / "set")
    assert "foreground of folder/part: the object, 2" in said
    assert "foreground of folder/cloth: the whole image: it is filled by one surface" in said
    told = synthgen("info", tmp_path / "set").stdout
    assert "foreground of folder/part: the object, 2" in told
    for folder in (tmp_path / "set", good):
        done = synthgen("view", folder, "--foreground", "-n", 2, "--per-row", 2, "-o", tmp_path / "sheet.png")
        assert done.returncode == 0, done.stderr
        assert cv2.imread(str(tmp_path / "sheet.png")).shape == (6 + 2 * (22 + 232 + 16 + 6), 2 * 238 + 6, 3)


def test_masks_of_ones_own_are_shown(good, tmp_path):
    for number in range(3):
        for name in ("part", "cloth"):
            write(tmp_path / "masks" / name / f"{number}.png", disc(96, 96, 30) * 255)
    built(good, tmp_path / "set", "--foreground-masks", tmp_path / "masks")
    view = ("view", tmp_path / "set", "--foreground", "-o", tmp_path / "sheet.png")
    assert synthgen(*view).returncode == 2
    assert synthgen(*view, "--foreground-masks", tmp_path / "masks").returncode == 0
    done = synthgen(*view, "--foreground-masks", tmp_path / "masks", "--categories", "pat")
    assert (done.returncode, "Did you mean 'part'" in done.stderr) == (3, True)


def test_what_would_be_found_is_shown_before_anything_is_built(good, tmp_path):
    for number in range(3):
        write(tmp_path / "masks/part" / f"{number}.png", disc(96, 96, 30) * 255)
    view = ("view", good, "--foreground", "--categories", "part", "-n", 1, "--per-row", 1)
    sheets = []
    for name, more in (("found", ()), ("masks", ("--foreground-masks", tmp_path / "masks"))):
        assert synthgen(*view, *more, "-o", tmp_path / f"{name}.png").returncode == 0
        sheets.append(cv2.imread(str(tmp_path / f"{name}.png")))
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    done = synthgen(*view, "--sam-checkpoint", tmp_path / "none.pth", "-o", tmp_path / "sam.png")
    assert (done.returncode, "none.pth" in done.stderr) == (2, True)


def test_options_of_other_sheets_are_refused(good, tmp_path):
    for other in (("--types", "spot"), ("--steps",), ("--compare", good)):
        done = synthgen("view", good, "--foreground", *other, "-o", tmp_path / "sheet.png")
        assert (done.returncode, "leave --types" in done.stderr) == (2, True)
