"""The stand-in for the real datasets: true folders and counts, the same bytes for a seed, nobody else's files touched."""

import csv
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml

from synthgen import datasets
from synthgen.manifests import manifest_dir
from tests.support.paths import ROOT
from tools import make_standin
from tools.standin.looks import LOOKS, render

SHARE, SIZE = 0.004, 64
SMALL = make_standin.Options(SIZE, SHARE)


def run(folder, *more, status=0):
    """The tool as a person runs it; its words."""
    arguments = [sys.executable, "-m", "tools.make_standin", folder, f"--share={SHARE}", f"--size={SIZE}", *more]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small share of all three datasets; not to be changed."""
    folder = tmp_path_factory.mktemp("standin") / "all"
    said = run(folder)
    files = sum(path.is_file() for path in folder.rglob("*"))
    assert f"{files - 1} files written" in said
    return folder


def test_counts_are_those_that_the_recipe_expects():
    recipe = yaml.safe_load((manifest_dir() / "maphc2f.yaml").read_text(encoding="utf-8"))
    assert {name: entry["normals"] for name, entry in recipe["datasets"].items()} == make_standin.COUNTS
    planned = [picture for name in make_standin.COUNTS for picture in make_standin.pictures(name, make_standin.Options())]
    assert len({picture.path for picture in planned}) == len(planned) == 14_087 + 30 * 2 * make_standin._TEST
    assert set(LOOKS) == {picture.category for picture in planned}


@pytest.mark.parametrize("dataset", make_standin.COUNTS)
def test_a_scan_finds_the_training_images_and_refuses_none(whole, dataset):
    scan = datasets.scan(dataset, whole / dataset)
    expected = {name: max(2, round(count * SHARE)) for name, count in make_standin.COUNTS[dataset].items()}
    assert {category.name: len(category.used) for category in scan.categories} == expected
    assert not any(category.rejected for category in scan.categories)
    digests = set()
    for source in (source for category in scan.categories for source in category.used):
        normal = datasets.read_normal(source, (SIZE, SIZE))
        assert normal.pixels.std() > 5
        digests.add(normal.sha256)
    assert len(digests) == sum(expected.values())


@pytest.mark.parametrize("category", LOOKS)
def test_pictures_of_a_category_vary_but_not_for_the_same_seed(category):
    size = 100
    first, again, other = (render(category, size, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == ((size, size) if LOOKS[category].gray else (size, size, 3))
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 2


def test_gray_categories_have_gray_files(whole):
    gray = set()
    for file in whole.glob("mvtec/*/train/good/000.png"):
        if cv2.imread(str(file), cv2.IMREAD_UNCHANGED).ndim == 2:
            gray.add(file.parts[-4])
    assert gray == {"grid", "screw", "zipper"}


def test_every_test_image_with_a_defect_has_its_mask(whole):
    pairs = [
        (picture.path, picture.mask, picture.mask_value)
        for dataset in make_standin.COUNTS
        for picture in make_standin.pictures(dataset, SMALL)
        if picture.mask
    ]
    assert len(pairs) == 30 * make_standin._TEST
    for image, mask, value in pairs:
        pixels = cv2.imread(str(whole / mask), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == cv2.imread(str(whole / image)).shape[:2] == (SIZE, SIZE)
        assert set(np.unique(pixels)) == {0, value}
    assert {value for image, _, value in pairs if image.startswith("visa")} <= set(range(1, 10))
    assert {path.suffix for path in (whole / "btad").rglob("*/*.*") if "03" in path.parts} == {".bmp"}
    assert {path.suffix for path in (whole / "btad/01").rglob("*.*")} == {".bmp", ".png"}


@pytest.mark.parametrize("name", make_standin.SPLITS)
def test_split_files_list_each_image_once(whole, name):
    with (whole / f"visa/split_csv/{name}.csv").open(newline="") as stream:
        assert stream.readline() == "object,split,label,image,mask\n"
        rows = list(csv.reader(stream))
    listed = [image for _, _, _, image, _ in rows]
    there = [path.relative_to(whole / "visa").as_posix() for path in (whole / "visa").rglob("*.JPG")]
    assert sorted(listed) == sorted(there)
    assert all((whole / "visa" / mask).is_file() == (label == "anomaly") for _, _, label, _, mask in rows)
    kinds = {(split, label) for _, split, label, _, _ in rows}
    assert (("train", "anomaly") in kinds) == (name != "1cls")
    assert {("train", "normal"), ("test", "normal"), ("test", "anomaly")} <= kinds


def test_the_same_seed_gives_the_same_bytes_whatever_the_processes_and_datasets(whole, tmp_path):
    run(tmp_path / "a", "--datasets=btad,visa", "--jobs=1")
    made, all_of_them = contents(tmp_path / "a"), contents(whole)
    assert made.items() < all_of_them.items()
    run(tmp_path / "b", "--datasets=btad", "--seed=1")
    same = [path for path, content in contents(tmp_path / "b").items() if made[path] == content]
    assert all("ground_truth" in path for path in same)


def test_a_killed_run_can_be_completed_and_nothing_is_written_twice(whole, tmp_path):
    folder = tmp_path / "standin"
    arguments = [sys.executable, "-m", "tools.make_standin", folder, f"--share={SHARE}", f"--size={SIZE}", "--jobs=1"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(folder.glob("mvtec/carpet/train/good/000.png")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("mvtec/b*/train/good/[0-9]*.png")}
    written = int(re.search(r"([\d,]+) files written", run(folder))[1].replace(",", ""))
    assert 0 < written < sum(path.is_file() for path in whole.rglob("*")) - 1
    assert contents(folder) == contents(whole)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_folder_with_something_else_is_refused_and_left_alone(whole, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in run(tmp_path, status=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis.txt"]
    for folder, options, words in [
        (tmp_path / "thesis.txt", SMALL, "not a folder"),
        (whole, make_standin.Options(65, SHARE), "'size': 64"),
        (tmp_path / "added", SMALL, "btad/01/train/ok/mine.bmp"),
    ]:
        if folder.name == "added":
            (folder / "btad/01/train/ok").mkdir(parents=True)
            (folder / "btad/01/train/ok/mine.bmp").write_bytes(b"")
            (folder / "standin.json").write_bytes((whole / "standin.json").read_bytes())
        with pytest.raises(SystemExit, match=words):
            make_standin.check_folder(folder, options)


@pytest.mark.parametrize(
    "wrong", ["--datasets=mvtec,visaa", "--share=0", "--share=1.5", "--share=nan", "--size=8", "--seed=-1", "--jobs=0"]
)
def test_options_that_cannot_be_meant(tmp_path, wrong):
    with pytest.raises(SystemExit) as caught:
        make_standin.main([str(tmp_path / "standin"), wrong])
    assert caught.value.code == 2
    assert not (tmp_path / "standin").exists()


def test_a_file_that_cannot_be_written_is_no_success(tmp_path):
    (tmp_path / "btad/02/train/ok/.0001.png.part").mkdir(parents=True)
    with pytest.raises(SystemExit, match="a process failed"):
        make_standin.make(tmp_path, ["btad"], make_standin.Options(SIZE, 0.001), jobs=1)
