"""`synthgen compare-real` and `synthgen doctor`."""

import json

import cv2
import numpy as np
import pytest

from detectors.real.comparison import compare_defects
from synthgen.anomalies.registry import TYPES
from synthgen.errors import InputDataError
from synthgen.fitting.measure import measure
from tests.support.builders import write
from tests.support.commands import build_arguments, build_normals, environment, synthgen

MADE = ("crack", "corrosion")


def defect(radius, change, count=1, size=96):
    """A gray picture with discs, and its mask."""
    image, mask = np.full((size, size, 3), 120, np.uint8), np.zeros((size, size), np.uint8)
    for k in range(count):
        cv2.circle(mask, (20 + 28 * k, 30 + 10 * k), radius, 1, cv2.FILLED)
    image[mask > 0] += np.uint8(change)
    return image, mask


def write_real(root, radius=3, change=40, count=2, images=6):
    for number in range(images):
        image, mask = defect(radius, change, count)
        write(root / "pit" / f"{number}.png", image)
        write(root / "ground_truth/pit" / f"{number}.png", mask * 255)
    write(root / "good/0.png", defect(0, 0)[0])
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = build_normals(tmp_path_factory.mktemp("normals"), per_category=8)
    out = tmp_path_factory.mktemp("built") / "set"
    done = synthgen(*build_arguments(root, out, "--max-rejected", 1, "-j", 1))
    assert done.returncode == 0, done.stderr
    return out


def test_measures_are_those_of_the_masks():
    found = measure([defect(5, 40, 2), defect(5, 40, 2)])
    assert found.images == 2
    assert found.values["count"].tolist() == [2, 2]
    assert len(found.values["area"]) == 4
    np.testing.assert_allclose(found.values["contrast"], 40)
    np.testing.assert_allclose(found.values["area"], 100 * defect(5, 40)[1].sum() / 96**2)
    np.testing.assert_allclose(found.values["extent"], 100 * np.hypot(11, 11) / 96)
    assert found.places.max() == pytest.approx(1)
    assert measure([defect(0, 0)]).images == 0


def test_a_page_says_how_far_apart_they_are_and_what_would_help(built, tmp_path):
    real = write_real(tmp_path / "real")
    done = synthgen("compare-real", built, "--real", real, "--category", "ü", "--match", "crack=pit", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "length_range" in done.stdout
    numbers = json.loads((tmp_path / "out/compare-real.json").read_text())
    assert numbers["matched"] == {"all": "all", "crack": "pit", "corrosion": "those like it"}
    assert numbers["real"]["pit"]["images"] == 6
    assert numbers["real"]["pit"]["contrast"] == pytest.approx([40, 40, 40], abs=10)  # resized to the shards' size
    page = (tmp_path / "out/compare-real.html").read_text()
    assert page.count("data:image/png") == 2
    assert "length_range" in page


def test_suggested_ranges_scale_as_the_defects_do(built, tmp_path):
    found = compare_defects(built, write_real(tmp_path / "real"), "ü", {"crack": "pit"})
    real, made = found.real["pit"].percentiles("extent"), found.synthetic["crack"].percentiles("extent")
    low, high = found.suggested["crack"]["length_range"]
    assert high / low >= 1.5  # twelve defects of one size do not say that all are of that size
    assert low < 0.9 * real[2] / made[2] <= 1.01 * high
    assert found.suggested["crack"]["count_range"] == [2, 2]
    assert found.suggested.keys() == {"crack"}  # nothing there is like corrosion


def test_what_is_suggested_is_never_narrow_and_always_taken(built, tmp_path):
    for number, (radius, change) in enumerate([(4, 3), (5, 130), (12, 20)]):
        found = compare_defects(
            built, write_real(tmp_path / str(number), radius, change, 1, 3), "ü", dict.fromkeys(MADE, "pit")
        )
        for kind, ranges in found.suggested.items():
            TYPES[kind].configure(**{name: tuple(values) for name, values in ranges.items() if name != "count_range"})
            assert all(high / low > 2 for name, (low, high) in ranges.items() if name != "count_range")  # of three defects


def test_what_cannot_be_compared_is_said(built, tmp_path):
    write(tmp_path / "bare/pit/0.png", defect(4, 40)[0])
    with pytest.raises(InputDataError, match="none of the defects has a mask"):
        compare_defects(built, tmp_path / "bare", "ü")
    with pytest.raises(InputDataError, match="name one of a b, ü"):
        compare_defects(built, write_real(tmp_path / "real"))
    done = synthgen("compare-real", built, "--real", tmp_path / "real", "--category", "ü", "--match", "crack=hole")
    assert done.returncode == 3
    assert "no such kind" in done.stderr
    assert synthgen("compare-real", built, "--real", tmp_path / "real", "--match", "crack").returncode == 2


def test_the_doctor_knows_the_machine(tmp_path):
    done = synthgen("doctor", "--out", tmp_path, "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 0, done.stderr
    assert found["synthgen"]["state"] == found["numpy"]["state"] == found["cache"]["state"] == "ok"
    assert "cores" in found["machine"]["told"]
    assert "MB/s" in found[f"folder {tmp_path}"]["told"]
    assert not list(tmp_path.iterdir())


def test_the_doctor_finds_what_is_amiss(tmp_path):
    (tmp_path / "data/visa").mkdir(parents=True)
    there = environment(SYNTHGEN_DATA=tmp_path / "data", SYNTHGEN_SAM=tmp_path / "no.pth", SYNTHGEN_CACHE=tmp_path / "cache")
    done = synthgen("doctor", "--out", tmp_path / "nowhere", env=there)
    assert done.returncode == 3
    lines = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert len(lines) == 3
    assert any("visa" in line for line in lines)
    assert any("SYNTHGEN_SAM" in line for line in lines)
    assert any("cannot be written" in line for line in lines)
