"""The test split: which images, labels and masks are found in each layout, how masks are resized, and who may not look."""

import csv
import os
import shutil
import threading
from pathlib import Path

import builders
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from detectors.test_split import (
    RULES,
    LabelledFile,
    TestSplitError,
    open_test_split,
    read_mask,
    resize_mask,
    training,
)
from synthgen import datasets
from synthgen.errors import InputDataError, UsageError

SIZE = (48, 64)
BLOB = np.zeros(SIZE, np.uint8)
BLOB[10:20, 10:30] = 1  # what builders paint


def rows(files):
    return [(file.name, file.label, file.kind, tuple(mask.name for mask in file.masks)) for file in files]


def check(files, base):
    """What holds for every test split."""
    names = [file.name for file in files]
    assert names == sorted(set(names))
    for file in files:
        assert file.path == base / file.name
        assert file.label == (file.kind != "good")
        assert file.label or not file.masks
        assert all(mask.is_file() for mask in file.masks)
    return files


def problem(dataset, root, category):
    with pytest.raises(InputDataError) as caught:
        open_test_split(dataset, root, category)
    return str(caught.value)


def only(root, category="bottle", dataset="mvtec"):
    """The one anomalous image of a split."""
    (file,) = [file for file in open_test_split(dataset, root, category) if file.label]
    return file


def one_image(root, mask=None, mask_name="000_mask.png", image_name="000.png", pixels=None):
    """A category of MVTec AD whose test split is one anomalous image; a mask is an array, or a file's bytes."""
    builders.write(root / "bottle/test/dent" / image_name, builders.picture(1) if pixels is None else pixels)
    if isinstance(mask, bytes):
        path = root / "bottle/ground_truth/dent" / mask_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mask)
    elif mask is not None:
        builders.write(root / "bottle/ground_truth/dent" / mask_name, mask)
    return root


# ---- layouts


@pytest.mark.parametrize(
    ("dataset", "category", "wrapper"),
    [
        ("mvtec", "bottle", ""),
        ("mvtec", "my own", "mvtec_anomaly_detection"),
        ("mpdd", "tubes", "MPDD"),
        ("madsim", "01Gorilla", "MAD-Sim"),
        ("visa", "candle", "visa_pytorch/1cls"),
        ("visa", "candle", ""),
    ],
)
def test_layout_of_mvtec(tmp_path, dataset, category, wrapper):
    builders.build_mvtec(tmp_path / wrapper, (category, "other"))
    files = check(open_test_split(dataset, tmp_path, category), tmp_path / wrapper)
    assert rows(files) == [
        (f"{category}/test/good/000.png", 0, "good", ()),
        (f"{category}/test/good/001.png", 0, "good", ()),
        (f"{category}/test/scratch/000.png", 1, "scratch", ("000_mask.png",)),
        (f"{category}/test/scratch/001.png", 1, "scratch", ("001_mask.png",)),
    ]
    assert {file.dataset for file in files} == {dataset}
    assert not read_mask(files[0], SIZE).any()
    assert np.array_equal(read_mask(files[2], SIZE), BLOB)


@pytest.mark.parametrize("wrapper", ["", "BTech_Dataset_transformed"])
@pytest.mark.parametrize(("category", "image", "mask"), [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")])
def test_btad(tmp_path, wrapper, category, image, mask):
    builders.build_btad(tmp_path / wrapper)
    files = check(open_test_split("btad", tmp_path, category), tmp_path / wrapper)
    assert rows(files) == [
        (f"{category}/test/ko/0000.{image}", 1, "ko", (f"0000.{mask}",)),
        (f"{category}/test/ok/0000.{image}", 0, "good", ()),
    ]
    assert np.array_equal(read_mask(files[0], SIZE), BLOB)


def test_loco_merges_the_masks_of_all_defects(tmp_path):
    builders.build_loco(tmp_path)
    shutil.rmtree(tmp_path / "screw_bag/ground_truth")
    (tmp_path / "screw_bag/test/scratch").rename(tmp_path / "screw_bag/test/logical_anomalies")
    upper, lower = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    upper[2:9], lower[40:44] = 255, 7  # the dataset numbers defects by value
    for number, mask in enumerate((upper, lower)):
        builders.write(tmp_path / f"screw_bag/ground_truth/logical_anomalies/001/{number:03}.png", mask)
    (tmp_path / "screw_bag/ground_truth/logical_anomalies/000").mkdir()
    files = check(open_test_split("mvtec_loco", tmp_path, "screw_bag"), tmp_path)
    assert not any("validation" in file.name for file in files)
    empty, two = [file for file in files if file.label]
    assert (empty.masks, [mask.name for mask in two.masks]) == ((), ["000.png", "001.png"])
    assert np.array_equal(read_mask(two, SIZE), (upper | lower) > 0)
    assert read_mask(empty, SIZE) is None


@pytest.mark.parametrize("wrapper", ["", "VisA_20220922"])
def test_visa_as_downloaded(tmp_path, wrapper):
    builders.build_visa(tmp_path / wrapper, train=3, test=2)
    files = check(open_test_split("visa", tmp_path, "pcb1"), tmp_path / wrapper)
    assert rows(files) == [
        ("pcb1/Data/Images/Anomaly/000.JPG", 1, "anomaly", ("000.png",)),
        ("pcb1/Data/Images/Normal/0000.JPG", 0, "good", ()),
        ("pcb1/Data/Images/Normal/0001.JPG", 0, "good", ()),
    ]
    assert np.array_equal(read_mask(files[0], SIZE), BLOB)


def test_visa_split_file_beside_the_root(tmp_path):
    root = builders.build_visa(tmp_path / "images")
    shutil.move(root / "split_csv", tmp_path / "split_csv")
    assert len(open_test_split("visa", root, "candle")) == 3
    shutil.rmtree(tmp_path / "split_csv")
    assert "copy it to" in problem("visa", root, "candle")


def test_visa_lists_an_image_that_is_not_there(tmp_path):
    builders.build_visa(tmp_path)
    (tmp_path / "candle/Data/Images/Normal/0001.JPG").unlink()
    text = problem("visa", tmp_path, "candle")
    assert "0001.JPG" in text
    assert "of 3 test images, 1 are not" in text


@pytest.mark.parametrize("mask", ["", "candle/Data/Masks/Anomaly/none.png"])
def test_visa_lists_no_mask_or_one_that_is_not_there(tmp_path, mask):
    builders.build_visa(tmp_path)
    row = ("candle", "test", "anomaly", "candle/Data/Images/Anomaly/000.JPG", mask)
    builders.write_split(tmp_path / "split_csv/1cls.csv", [row, row])
    (file,) = open_test_split("visa", tmp_path, "candle")
    assert file.masks == ()
    assert read_mask(file, SIZE) is None


IMAGE, MASK = "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"


@pytest.mark.parametrize(
    ("label", "image", "mask"),
    [
        ("anomaly", "../secret.png", MASK),
        ("anomaly", "/etc/passwd", MASK),
        ("anomaly", "candle/Data/Images/Anomaly/..", MASK),
        ("anomaly", "pcb1/Data/Images/Anomaly/000.JPG", MASK),
        ("anomaly", "", MASK),
        ("normal", IMAGE, ""),
        ("anomaly", IMAGE, "../secret.png"),
        ("anomaly", IMAGE, "candle/Data/Masks/Anomaly/..\\secret.png"),
        ("anomaly", IMAGE, "candle/Data/Masks/Anomaly/a\0.png"),
        ("odd", IMAGE, MASK),
    ],
)
def test_visa_split_file_is_not_trusted(tmp_path, label, image, mask):
    builders.build_visa(tmp_path / "root")
    builders.write(tmp_path / "secret.png", builders.picture(1))
    builders.write_split(tmp_path / "root/split_csv/1cls.csv", [("candle", "test", label, image, mask)])
    assert "1cls.csv:2" in problem("visa", tmp_path / "root", "candle")


def test_visa_split_file_of_another_shape(tmp_path):
    builders.build_visa(tmp_path)
    (tmp_path / "split_csv/1cls.csv").write_text("object,split\ncandle,test\n")
    assert "expected the columns" in problem("visa", tmp_path, "candle")
    builders.write_split(
        tmp_path / "split_csv/1cls.csv", [("candle", "train", "normal", "candle/Data/Images/Normal/0.JPG", "")]
    )
    assert "no test image of candle" in problem("visa", tmp_path, "candle")


def test_own_folder(tmp_path):
    root = builders.build_folder(tmp_path / "parts")
    builders.build_mvtec(tmp_path / "made", ("x",))
    shutil.move(tmp_path / "made/x/test", root / "test")
    shutil.move(tmp_path / "made/x/ground_truth", root / "ground_truth")
    files = check(open_test_split("folder", root, "parts"), root)
    assert [file.name for file in files] == [f"test/{kind}/{i:03}.png" for kind in ("good", "scratch") for i in range(2)]
    assert np.array_equal(read_mask(files[-1], SIZE), BLOB)
    assert "no such category. Did you mean 'parts'?" in problem("folder", root, "part")


def test_own_folders(tmp_path):
    builders.build_mvtec(tmp_path, ("gears", "nuts"))
    assert [file.kind for file in open_test_split("folder", tmp_path, "nuts")] == ["good", "good", "scratch", "scratch"]
    assert "Did you mean 'nuts'?" in problem("folder", tmp_path, "nutts")


def test_own_folder_whose_normal_images_are_the_only_category(tmp_path):
    builders.build_folder(tmp_path / "good")
    builders.write(tmp_path / "test/dent/1.png", builders.picture(1))
    assert rows(open_test_split("folder", tmp_path, "good")) == [("test/dent/1.png", 1, "dent", ())]
    builders.build_folder(tmp_path / "other")
    assert "has no test split" in problem("folder", tmp_path, "good")  # whose would it be?


def test_plain_folder_has_no_test_split(tmp_path):
    builders.build_folder(tmp_path / "parts")
    text = problem("folder", tmp_path / "parts", "parts")
    assert "has no test split" in text
    assert "test/good" in text
    builders.build_folder(tmp_path / "more/nuts")
    assert "has no test split" in problem("folder", tmp_path / "more", "nuts")


def test_demo_has_no_test_split():
    with pytest.raises(UsageError, match="--shards"):
        open_test_split("demo", None, "gear")


def test_root_from_the_environment(tmp_path, monkeypatch):
    builders.build_mvtec(tmp_path / "mpdd", ("tubes",))
    monkeypatch.setenv("SYNTHGEN_DATA", str(tmp_path))
    assert len(open_test_split("mpdd", None, "tubes")) == 4


def test_category_without_training_images(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    shutil.rmtree(tmp_path / "bottle/train")
    assert len(open_test_split("mvtec", tmp_path, "bottle")) == 4


def test_names_of_any_letters(tmp_path):
    root = one_image(tmp_path / "Prüfung 検査", BLOB * 255, "№7 ü_mask.png", "№7 ü.png")
    file = only(root)
    assert file.name == "bottle/test/dent/№7 ü.png"
    assert np.array_equal(read_mask(file, SIZE), BLOB)


def test_nothing_is_written(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    before = builders.snapshot(tmp_path)
    for file in open_test_split("mvtec", tmp_path, "bottle"):
        read_mask(file, (32, 32))
    assert builders.snapshot(tmp_path) == before


# ---- what can be amiss


@pytest.mark.parametrize("dataset", ["mvtec", "visa"])
def test_unknown_category(tmp_path, dataset):
    (builders.build_mvtec if dataset == "mvtec" else builders.build_visa)(tmp_path, ("candle", "screw"))
    assert "--category candel:" in (text := problem(dataset, tmp_path, "candel"))
    assert "Did you mean 'candle'?" in text
    assert "no such category" in problem(dataset, tmp_path, f"../{tmp_path.name}/candle")


def test_category_without_test_images(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle", "screw"))
    shutil.rmtree(tmp_path / "bottle/test")
    assert "bottle has no test split" in problem("mvtec", tmp_path, "bottle")
    shutil.rmtree(tmp_path / "screw/test")
    (tmp_path / "screw/test/good").mkdir(parents=True)
    assert "screw has no test split" in problem("mvtec", tmp_path, "screw")


def test_folder_of_another_layout(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    assert "is one category, not a whole dataset" in problem("mvtec", tmp_path / "bottle", "bottle")
    assert "not the layout of" in problem("mpdd", tmp_path / "bottle/train", "tubes")
    assert "does not exist" in problem("mvtec", tmp_path / "none", "bottle")


def test_images_that_are_neither_normal_nor_anomalous(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    builders.write(tmp_path / "bottle/test/lost.png", builders.picture(1))
    assert "lost.png" in problem("mvtec", tmp_path, "bottle")


# ---- which mask is whose


@pytest.mark.parametrize("mask", ["000_mask.png", "000.png", "000.PNG", "000_mask.bmp", "000.tif", "000/any.png"])
@pytest.mark.parametrize("image", ["000.png", "000.JPG"])
def test_masks_are_found_by_name(tmp_path, image, mask):
    one_image(tmp_path, BLOB * 255, mask, image)
    builders.write(tmp_path / "bottle/ground_truth/dent/001_mask.png", BLOB)  # without an image: passed over
    (tmp_path / "bottle/ground_truth/dent/.000_mask.png").write_bytes(b"")
    assert np.array_equal(read_mask(only(tmp_path), SIZE), BLOB)


def test_images_without_masks_are_kept(tmp_path):
    one_image(tmp_path)
    assert only(tmp_path).masks == ()
    assert read_mask(only(tmp_path), SIZE) is None


@pytest.mark.parametrize("other", ["000.png", "000_mask.bmp", "000/000.png"])
def test_two_masks_for_one_image(tmp_path, other):
    one_image(tmp_path, BLOB)
    builders.write(tmp_path / "bottle/ground_truth/dent" / other, BLOB)
    assert "both are called like the mask of" in problem("mvtec", tmp_path, "bottle")


def test_two_images_for_one_mask(tmp_path):
    one_image(tmp_path, BLOB)
    builders.write(tmp_path / "bottle/test/dent/000.bmp", builders.picture(2))
    text = problem("mvtec", tmp_path, "bottle")
    assert "000.bmp" in text
    assert "both are called like the image of" in text


def test_an_image_called_like_a_mask(tmp_path):
    one_image(tmp_path, BLOB, "000_mask_mask.png", "000_mask.png")
    builders.write(tmp_path / "bottle/test/dent/000.png", builders.picture(2))
    builders.write(tmp_path / "bottle/ground_truth/dent/000.png", BLOB)
    assert [mask for *_, (mask,) in rows(open_test_split("mvtec", tmp_path, "bottle"))] == ["000.png", "000_mask_mask.png"]


# ---- what is in a mask file


def ramp(values):
    return np.tile(np.array(values, np.uint8)[:, None], (16, 4)).reshape(-1, 4)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (builders.encoded(BLOB), BLOB),
        (builders.encoded(BLOB * 9), BLOB),
        (builders.encoded(BLOB * 200), BLOB),
        (builders.encoded(Image.fromarray(BLOB * 255).convert("1")), BLOB),
        (builders.encoded(Image.fromarray(BLOB * 255).convert("RGB")), BLOB),
        (builders.encoded(Image.fromarray(BLOB * 255).convert("RGBA")), BLOB),
        (builders.encoded(np.dstack([BLOB * 0, BLOB * 64, BLOB * 0])), BLOB),
        (builders.encoded(BLOB.astype(np.uint16)), BLOB),
        (builders.encoded(BLOB * np.uint16(65535)), BLOB),
        (builders.encoded(BLOB * 255, "JPEG", quality=40), BLOB),  # rings around edges
        (builders.encoded(cv2.GaussianBlur(BLOB * 255, (3, 3), 0.5)), BLOB),
    ],
    ids=["one", "ids", "value", "bit", "rgb", "rgba", "colour", "sixteen ids", "sixteen", "jpeg", "soft"],
)
def test_values_in_masks(tmp_path, data, expected):
    assert np.array_equal(read_mask(only(one_image(tmp_path, data)), SIZE), expected)


def test_many_ids_in_one_mask(tmp_path):
    mask = BLOB.copy()
    mask[30:33, 5:9], mask[40:42, 5:9] = 2, 9
    file = only(one_image(tmp_path, mask))
    assert np.array_equal(read_mask(file, SIZE), mask > 0)


def test_an_empty_mask_is_no_truth(tmp_path):
    file = only(one_image(tmp_path, BLOB * 0))
    assert len(file.masks) == 1
    assert [read_mask(file, (32, 32), rule) for rule in RULES] == [None] * len(RULES)


@pytest.mark.parametrize("data", [b"", b"no image", builders.encoded(BLOB)[:-30], builders.encoded(BLOB)[:60]])
def test_damaged_masks(tmp_path, data):
    file = only(one_image(tmp_path, data))
    with pytest.raises(InputDataError, match="000_mask.png"):
        read_mask(file, SIZE)


def test_vanished_files(tmp_path):
    file = only(one_image(tmp_path, BLOB))
    file.path.unlink()
    with pytest.raises(InputDataError, match=r"000\.png"):
        read_mask(file, SIZE)
    file.masks[0].unlink()
    with pytest.raises(InputDataError, match="cannot be read"):
        read_mask(file, SIZE)


def test_a_mask_of_another_shape(tmp_path):
    file = only(one_image(tmp_path, np.ones((64, 48), np.uint8)))
    with pytest.raises(InputDataError, match=r"000_mask\.png is 48x64, but .*000\.png is 64x48"):
        read_mask(file, SIZE)


def test_masks_of_one_image_with_different_sizes(tmp_path):
    one_image(tmp_path, BLOB, "000/000.png")
    builders.write(tmp_path / "bottle/ground_truth/dent/000/001.png", np.ones((24, 32), np.uint8))
    with pytest.raises(InputDataError, match=r"001\.png is 32x24, but .*000\.png is 64x48"):
        read_mask(only(tmp_path), SIZE)


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (25, 32), (16, 21)])
def test_a_mask_of_another_resolution(tmp_path, size):
    assert read_mask(only(one_image(tmp_path, np.ones(size, np.uint8))), SIZE).all()


def test_a_photograph_that_asks_to_be_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    builders.write(tmp_path / "bottle/test/dent/000.jpg", builders.picture(1), exif=exif)
    builders.write(tmp_path / "bottle/ground_truth/dent/000.png", np.ones((64, 48), np.uint8))
    assert read_mask(only(tmp_path), SIZE).all()


# ---- resizing


def components(mask):
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask), connectivity=8)
    return [labels == label for label in range(1, count)]


def literal_coverage(mask, size):
    """The share of each resized pixel that is covered, by counting in a grid that both sizes divide."""
    fine = np.kron(mask, np.ones(size, np.int64))
    height, width = mask.shape
    return fine.reshape(size[0], height, size[1], width).sum(axis=(1, 3)) / (height * width)


def triangle(pixels, cells):
    """(cells, pixels) weights of the bilinear filter, which widens where the picture shrinks."""
    scale = pixels / cells
    reach = max(scale, 1.0)
    distance = np.abs(np.arange(pixels) + 0.5 - (np.arange(cells)[:, None] + 0.5) * scale)
    weights = np.clip(1 - distance / reach, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


SMALL_MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 1))
SIZES = st.tuples(st.integers(1, 17), st.integers(1, 17))


@settings(max_examples=300, deadline=None)
@given(SMALL_MASKS, SIZES)
def test_strict_is_half_the_area_and_no_defect_vanishes(mask, size):
    resized = resize_mask(mask, size)
    assert (resized.shape, resized.dtype) == (size, np.uint8)
    at_least_half = literal_coverage(mask, size) >= 0.5
    assert np.all(resized[at_least_half] == 1)
    shares = [literal_coverage(part, size) for part in components(mask)]
    assert all(resized[share > 0].any() for share in shares)
    for y, x in np.argwhere((resized == 1) & ~at_least_half):  # nothing but the best pixel of a defect that would vanish
        assert any(share[y, x] == share.max() and not at_least_half[share > 0].any() for share in shares)


def blobs(seed, size=(400, 500)):
    rng, mask = np.random.default_rng(seed), np.zeros(size, np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        cv2.ellipse(
            mask, centre, (int(rng.integers(12, 60)), int(rng.integers(12, 60))), float(rng.uniform(180)), 0, 360, 1, -1
        )
    return mask


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [(256, 256), (100, 100), (600, 512)])
def test_strict_keeps_the_area(seed, size):
    mask = blobs(seed)
    assert resize_mask(mask, size).mean() == pytest.approx(mask.mean(), rel=0.02)


def test_strict_keeps_what_is_thin():
    mask = np.zeros((900, 1200), np.uint8)
    cv2.line(mask, (10, 20), (1150, 700), 1, 1)
    mask[800, 100], mask[802, 100], mask[850:852, 600] = 1, 1, 1
    resized = resize_mask(mask, (256, 256))
    assert all(resize_mask(part.astype(np.uint8), (256, 256)).any() for part in components(mask))
    assert resized[(800 * 256) // 900, (100 * 256) // 1200] == 1
    assert not resize_mask(np.zeros((900, 1200), np.uint8), (256, 256)).any()
    assert resize_mask(np.ones((900, 1200), np.uint8), (256, 256)).all()


@pytest.mark.parametrize("size", [(48, 64), (100, 100), (288, 288), (500, 640)])
@pytest.mark.parametrize("seed", range(4))
def test_paper_rules_are_what_the_reference_code_does(seed, size):
    mask = blobs(seed)
    down, across = triangle(mask.shape[0], size[0]), triangle(mask.shape[1], size[1])
    # that code resizes bytes (rounding after each direction), divides by 255 and truncates
    rounded = np.floor(down @ np.floor(mask * 255.0 @ across.T + 0.5) + 0.5)
    assert np.array_equal(resize_mask(mask, size, "paper"), (rounded / 255).astype(int))
    assert np.array_equal(resize_mask(mask, size, "paper-visa"), down @ mask @ across.T > 0)


def test_paper_shrinks_and_inflates():
    mask = np.zeros((1024, 1024), np.uint8)
    cv2.circle(mask, (503, 301), 20, 1, -1)
    share = {rule: resize_mask(mask, (288, 288), rule).mean() / mask.mean() for rule in RULES}
    assert share["strict"] == pytest.approx(1, abs=0.05)
    assert share["paper"] == pytest.approx(0.66, abs=0.05)
    assert share["paper-visa"] == pytest.approx(1.4, abs=0.1)


@pytest.mark.parametrize("dataset", ["visa", "mvtec"])
def test_paper_depends_on_the_dataset(tmp_path, dataset):
    builders.build_mvtec(tmp_path, ("candle",))
    *_, file = open_test_split(dataset, tmp_path, "candle")
    expected = resize_mask(BLOB, (20, 20), "paper-visa" if dataset == "visa" else "paper")
    assert np.array_equal(read_mask(file, (20, 20), "paper"), expected)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_size_is_a_copy(rule):
    resized = resize_mask(BLOB, SIZE, rule)
    assert np.array_equal(resized, BLOB)
    assert not np.shares_memory(resized, BLOB)


def test_masks_in_any_memory_order():
    mask = blobs(1)
    for rule in RULES:
        assert np.array_equal(resize_mask(np.asfortranarray(mask), (90, 80), rule), resize_mask(mask, (90, 80), rule))
        assert np.array_equal(resize_mask(mask[::-1], (90, 80), rule), resize_mask(mask[::-1].copy(), (90, 80), rule))


def test_unknown_rule(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'strict'"):
        resize_mask(BLOB, (8, 8), "strickt")
    with pytest.raises(UsageError, match="no such rule"):
        read_mask(LabelledFile("a.png", tmp_path / "a.png", 0, "good", ()), SIZE, "loose")


# ---- training never sees it


def test_training_closes_the_test_split(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    files = open_test_split("mvtec", tmp_path, "bottle")
    with training(), training():
        pass
    with training():
        with training():
            pass
        with pytest.raises(TestSplitError, match="never sees it.*`detectors eval`"):
            open_test_split("mvtec", tmp_path, "bottle")
        with pytest.raises(TestSplitError):
            read_mask(files[-1], SIZE)
        assert resize_mask(BLOB, (24, 32)).any()  # masks of synthetic samples are resized in training
    assert open_test_split("mvtec", tmp_path, "bottle") == files
    assert issubclass(TestSplitError, UsageError)


def test_training_that_fails_opens_the_test_split_again(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    with pytest.raises(ZeroDivisionError), training():
        raise ZeroDivisionError
    assert open_test_split("mvtec", tmp_path, "bottle")


@pytest.mark.parametrize("started_before", [True, False])
def test_the_test_split_is_closed_in_other_threads(tmp_path, started_before):
    builders.build_mvtec(tmp_path, ("bottle",))
    caught, go = [], threading.Event()

    def look():
        go.wait(10)
        try:
            open_test_split("mvtec", tmp_path, "bottle")
        except TestSplitError as error:
            caught.append(error)

    thread = threading.Thread(target=look)
    if started_before:
        thread.start()
    with training():
        if not started_before:
            thread.start()
        go.set()
        thread.join(10)
    assert len(caught) == 1


# ---- real data


@pytest.fixture
def base():
    data = os.environ.get("SYNTHGEN_TEST_DATA")
    if not data:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    return Path(data)


def counts(files):
    kinds = sorted({file.kind for file in files})
    return {kind: sum(file.kind == kind for file in files) for kind in kinds}


@pytest.mark.realdata
def test_real_bottle(base):
    files = check(open_test_split("mvtec", base / "mvtec", "bottle"), base / "mvtec")
    assert (sum(file.label == 0 for file in files), sum(file.label for file in files)) == (9, 63)
    masks = [read_mask(file, (256, 256)) for file in files if file.masks]
    assert len(masks) == 8
    assert all(mask.any() for mask in masks)


@pytest.mark.realdata
def test_real_tiles(base):
    files = check(open_test_split("mvtec", base / "magnetic_tile", "tile"), base / "magnetic_tile")
    assert counts(files) == {"blowhole": 115, "break": 85, "crack": 57, "fray": 32, "good": 60, "uneven": 103}
    assert all(len(file.masks) == file.label for file in files)
    masks = {file.name: read_mask(file, (256, 256)) for file in files if file.label}
    unknown = [name for name, mask in masks.items() if mask is None]
    assert len(unknown) == 4
    assert all("/uneven/" in name for name in unknown)
    assert all(mask.any() for mask in masks.values() if mask is not None)


@pytest.mark.realdata
def test_real_juice_bottle(base):
    files = check(open_test_split("mvtec_loco", base / "mvtec_loco", "juice_bottle"), base / "mvtec_loco")
    assert counts(files) == {"logical_anomalies": 48}
    assert all(file.masks and read_mask(file, (256, 256)).any() for file in files)


@pytest.mark.realdata
def test_real_samples(base):
    for category in ("capsule", "leather", "metal_nut"):
        files = check(open_test_split("mvtec", base / "mvtec_samples", category), base / "mvtec_samples")
        assert all(read_mask(file, (256, 256)) is not None for file in files if file.masks)


@pytest.mark.realdata
def test_real_split_of_visa(base, tmp_path):
    shutil.copytree(base / "visa_meta/split_csv", tmp_path / "split_csv")
    data = builders.encoded(builders.picture(1, 16, 16))
    with (tmp_path / "split_csv/1cls.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["split"] == "test":
                for name in filter(None, (row["image"], row["mask"])):
                    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / name).write_bytes(data)
    files = [
        file
        for name in datasets.dataset_info("visa").categories
        for file in check(open_test_split("visa", tmp_path, name), tmp_path)
    ]
    assert (sum(not file.label for file in files), sum(file.label for file in files)) == (962, 1200)
    assert sum(len(file.masks) for file in files) == 1200
