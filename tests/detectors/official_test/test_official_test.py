"""The official test split: found in every layout, closed while training, with masks that keep their defects."""

import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detectors.official_test import ClosedSplitError, closed, open_test_split, read_mask, resize_mask
from synthgen.errors import InputDataError, UsageError
from tests.support.builders import build_btad, build_folder, build_loco, build_mvtec, build_visa, picture, write


def listed(files):
    return [(file.name, file.label, file.kind, [mask.name for mask in file.masks]) for file in files]


@pytest.mark.parametrize("dataset", ["mvtec", "mpdd", "madsim", "visa"])  # visa: the converted layout
def test_folders_of_kinds(dataset, tmp_path):
    build_mvtec(tmp_path)
    assert listed(open_test_split(dataset, tmp_path, "bottle")) == [
        ("bottle/test/good/000.png", 0, "good", []),
        ("bottle/test/good/001.png", 0, "good", []),
        ("bottle/test/scratch/000.png", 1, "scratch", ["000_mask.png"]),
        ("bottle/test/scratch/001.png", 1, "scratch", ["001_mask.png"]),
    ]


def test_btad_says_ok_and_has_extensions_of_its_own(tmp_path):
    build_btad(tmp_path)
    for category, suffix, mask in (("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")):
        assert listed(open_test_split("btad", tmp_path, category)) == [
            (f"{category}/test/ko/0000{suffix}", 1, "ko", [f"0000{mask}"]),
            (f"{category}/test/ok/0000{suffix}", 0, "good", []),
        ]


def test_visas_split_file_decides(tmp_path):
    build_visa(tmp_path)
    files = open_test_split("visa", tmp_path, "candle")
    assert Counter(file.label for file in files) == {0: 2, 1: 1}
    assert [mask.name for file in files for mask in file.masks] == ["000.png"]
    mask = read_mask(next(file for file in files if file.label), (48, 64))
    assert mask.sum() == 200  # whatever the value in the file


def test_loco_has_a_folder_of_masks_for_each_image(tmp_path):
    category = build_loco(tmp_path) / "screw_bag"
    write(category / "test/logical_anomalies/000.png", picture(1))
    for number in range(2):
        mask = np.zeros((48, 64), np.uint8)
        mask[10 * number : 10 * number + 5, :4] = 255 - number
        write(category / f"ground_truth/logical_anomalies/000/{number:03}.png", mask)
    (file,) = (one for one in open_test_split("mvtec_loco", tmp_path, "screw_bag") if one.kind == "logical_anomalies")
    assert [mask.name for mask in file.masks] == ["000.png", "001.png"]
    assert read_mask(file, (48, 64)).sum() == 40


def test_ones_own_folders(tmp_path):
    own = tmp_path / "Prüfling"
    build_folder(own / "train/good")
    write(own / "test/good/é 1.png", picture(1))
    write(own / "test/dent/a.png", picture(2))
    assert [file.label for file in open_test_split("folder", own, "Prüfling")] == [1, 0]
    assert next(file.name for file in open_test_split("folder", tmp_path, "Prüfling")).endswith("test/dent/a.png")
    with pytest.raises(InputDataError, match="no test split"):
        open_test_split("folder", build_folder(tmp_path / "plain"), "plain")


def test_what_is_not_there_is_said(tmp_path):
    build_mvtec(tmp_path)
    with pytest.raises(InputDataError, match="Did you mean 'bottle'"):
        open_test_split("mvtec", tmp_path, "botle")
    with pytest.raises(UsageError, match="tray alone"):
        open_test_split("demo", None, "brick")
    with pytest.raises(UsageError, match="Did you mean 'mvtec'"):
        open_test_split("mvtek", tmp_path, "bottle")
    shutil.rmtree(tmp_path / "bottle/test")
    with pytest.raises(InputDataError, match=r"bottle has no test split\. Expected in it: test/good"):
        open_test_split("mvtec", tmp_path, "bottle")


def test_anomalies_without_a_usable_mask(tmp_path):
    build_mvtec(tmp_path)
    truth = tmp_path / "bottle/ground_truth/scratch"
    (truth / "000_mask.png").unlink()
    write(truth / "001_mask.png", np.zeros((48, 64), np.uint8))
    write(truth / "stranger_mask.png", np.ones((48, 64), np.uint8))
    missing, empty = open_test_split("mvtec", tmp_path, "bottle")[2:]
    assert missing.masks == ()
    assert read_mask(missing, (24, 32)) is None
    assert empty.masks
    assert read_mask(empty, (24, 32)) is None
    assert not read_mask(open_test_split("mvtec", tmp_path, "bottle")[0], (24, 32)).any()


def test_masks_that_belong_to_something_else(tmp_path):
    build_mvtec(tmp_path)
    truth = tmp_path / "bottle/ground_truth/scratch"
    write(truth / "000_mask.png", np.ones((64, 48), np.uint8))
    (truth / "001_mask.png").write_bytes(b"no picture")
    first, second = open_test_split("mvtec", tmp_path, "bottle")[2:]
    with pytest.raises(InputDataError, match=r"000_mask\.png is 48x64, but .*000\.png is 64x48"):
        read_mask(first, (24, 32))
    with pytest.raises(InputDataError, match=r"001_mask\.png"):
        read_mask(second, (24, 32))
    write(truth / "000.bmp", np.ones((48, 64), np.uint8))
    with pytest.raises(InputDataError, match="both are called like the mask"):
        open_test_split("mvtec", tmp_path, "bottle")


def test_it_is_closed_while_training_in_every_thread(tmp_path):
    build_mvtec(tmp_path)
    file = open_test_split("mvtec", tmp_path, "bottle")[2]
    seen = []

    def look():
        for action in (lambda: open_test_split("mvtec", tmp_path, "bottle"), lambda: read_mask(file, (8, 8))):
            try:
                action()
            except ClosedSplitError as error:
                seen.append(str(error))

    with closed(), closed():
        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert len(seen) == 4
    assert all("detectors eval" in text for text in seen)
    look()
    assert len(seen) == 4


def components(mask):
    return cv2.connectedComponents(mask, connectivity=8)[0] - 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(40, 160), st.integers(40, 160), st.integers(16, 120))
def test_strict_keeps_areas_and_every_defect(seed, height, width, side):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        cv2.circle(mask, (int(rng.integers(width)), int(rng.integers(height))), int(rng.integers(0, 12)), 1, -1)
    resized = resize_mask(mask, (side, side))
    assert set(np.unique(resized)) <= {0, 1}
    assert resized.any()
    # the resized picture shows each component: something of it is set where it lies
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    for label in range(1, labels.max() + 1):
        touched = np.zeros_like(resized)
        for y, x in zip(*np.nonzero(labels == label), strict=True):
            ends = -(-(y + 1) * side // height), -(-(x + 1) * side // width)
            touched[y * side // height : ends[0], x * side // width : ends[1]] = 1
        assert (resized & touched).any()


def test_strict_keeps_the_area_of_a_defect_that_is_large_enough():
    for radius in (10, 20, 40, 80):
        mask = cv2.circle(np.zeros((1024, 1024), np.uint8), (500, 517), radius, 1, -1)
        share = resize_mask(mask, (288, 288)).mean() / mask.mean()
        assert share == pytest.approx(1, abs=0.06)
        assert resize_mask(mask, (288, 288), "paper").mean() < 0.95 * mask.mean()
        assert resize_mask(mask, (288, 288), "paper-visa").mean() > 1.05 * mask.mean()


def test_the_same_size_changes_nothing():
    mask = (np.random.default_rng(0).random((37, 53)) < 0.2).astype(np.uint8)
    for rule in ("strict", "paper", "paper-visa"):
        assert np.array_equal(resize_mask(mask, (37, 53), rule), mask)
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        resize_mask(mask, (8, 8), "papr")


def test_paper_does_what_the_reference_code_does():
    mask = cv2.circle(np.zeros((100, 140), np.uint8), (60, 50), 22, 255, -1)
    resized = Image.fromarray(mask).resize((32, 32), Image.Resampling.BILINEAR)
    wanted = (np.asarray(resized, np.float32) / 255).astype(np.int64)  # a tensor of 0..1, truncated
    assert np.array_equal(resize_mask((mask > 0).astype(np.uint8), (32, 32), "paper"), wanted)


@pytest.mark.realdata
@pytest.mark.skipif("SYNTHGEN_TEST_DATA" not in os.environ, reason="needs SYNTHGEN_TEST_DATA")
@pytest.mark.parametrize(
    ("dataset", "root", "category", "counts", "masked"),
    [
        ("mvtec", "mvtec", "bottle", {0: 8, 1: 63}, 8),
        ("mvtec", "magnetic_tile", "tile", {0: 60, 1: 392}, 388),
        ("mvtec_loco", "mvtec_loco", "juice_bottle", {1: 48}, 48),
    ],
)
def test_real_test_splits(dataset, root, category, counts, masked):
    files = open_test_split(dataset, Path(os.environ["SYNTHGEN_TEST_DATA"]) / root, category)
    assert Counter(file.label for file in files) == counts
    masks = [read_mask(file, (256, 256)) for file in files if file.label]
    assert sum(mask is not None for mask in masks) == masked
    assert all(mask.any() for mask in masks if mask is not None)


@pytest.mark.parametrize("normal", ["OK", "ok", "normal", "Pass", "GOOD"])
def test_folders_that_are_called_normal_are_normal(normal, tmp_path):
    build_folder(tmp_path / "cap/train/good")
    write(tmp_path / "cap/test" / normal / "a.png", picture(1))
    write(tmp_path / "cap/test/NG/b.png", picture(2))
    files = open_test_split("folder", tmp_path / "cap", "cap")
    assert {file.path.name: (file.label, file.kind) for file in files} == {"a.png": (0, "good"), "b.png": (1, "NG")}
