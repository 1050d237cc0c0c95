"""Layouts of datasets on disk: which images a scan takes for normal training images, and which it leaves alone."""

import re
import shutil

import pytest

from synthgen import datasets
from synthgen.errors import InputDataError
from tests.support import builders
from tests.support.scans import check, problem, used


@pytest.mark.parametrize("dataset", ["mvtec", "mpdd", "madsim", "visa"])
def test_mvtec_layout_gives_training_images_only(tmp_path, dataset):
    known = next(iter(datasets.dataset_info(dataset).categories))
    builders.build_mvtec(tmp_path, ("my own", known))
    scan = check(datasets.scan(dataset, tmp_path))
    expected = [f"train/good/{i:03}.png" for i in range(4)]
    assert used(scan) == {name: [f"{name}/{rest}" for rest in expected] for name in sorted(("my own", known))}
    assert scan.root == tmp_path
    assert scan.licence == datasets.dataset_info(dataset).licence


def test_a_dataset_is_not_taken_for_another_with_another_licence(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle", "cable"))
    for dataset in ("visa", "mpdd", "mvtec_loco", "madsim"):
        with pytest.raises(InputDataError, match=rf"--dataset {dataset}: none of the categories.*bottle, cable"):
            datasets.scan(dataset, tmp_path)


def test_loco_leaves_validation_alone(tmp_path):
    builders.build_loco(tmp_path)
    scan = check(datasets.scan("mvtec_loco", tmp_path))
    assert used(scan) == {"screw_bag": [f"screw_bag/train/good/{i:03}.png" for i in range(4)]}


@pytest.mark.parametrize("wrapper", ["", "BTech_Dataset_transformed"])
def test_btad(tmp_path, wrapper):
    builders.build_btad(tmp_path / wrapper)
    scan = check(datasets.scan("btad", tmp_path))
    assert scan.root == tmp_path / wrapper
    assert {name: len(sources) for name, sources in used(scan).items()} == {"01": 3, "02": 3, "03": 3}
    assert all("/train/ok/" in source for sources in used(scan).values() for source in sources)
    assert [category.used[0].path.suffix for category in scan.categories] == [".bmp", ".png", ".bmp"]


def test_visa_raw_follows_the_split_file(tmp_path):
    builders.build_visa(tmp_path, train=3, test=2)
    scan = check(datasets.scan("visa", tmp_path))
    assert "raw" in scan.layout
    expected = [f"Data/Images/Normal/{i:04}.JPG" for i in (2, 3, 4)]
    assert used(scan) == {name: [f"{name}/{rest}" for rest in expected] for name in ("candle", "pcb1")}


def test_visa_split_file_beside_the_root(tmp_path):
    root = builders.build_visa(tmp_path / "images")
    shutil.move(root / "split_csv", tmp_path / "split_csv")
    assert len(used(datasets.scan("visa", root))) == 2


def test_visa_lists_a_missing_file(tmp_path):
    builders.build_visa(tmp_path)
    (tmp_path / "candle/Data/Images/Normal/0003.JPG").unlink()
    candle = check(datasets.scan("visa", tmp_path)).categories[0]
    assert [(file.path, file.reason) for file in candle.rejected] == [("candle/Data/Images/Normal/0003.JPG", "missing")]


def test_visa_without_split_file(tmp_path):
    builders.build_visa(tmp_path)
    shutil.rmtree(tmp_path / "split_csv")
    text = problem("visa", tmp_path)
    assert "split_csv/1cls.csv" in text
    assert "copy it to" in text


@pytest.mark.parametrize(
    "image",
    [
        "/etc/passwd",
        "../../secret.png",
        "candle/Data/Images/Normal/../../../../secret.png",
        "candle/Data/Images/Normal/..\\secret.png",
        "candle/Data/Images/Normal/..",
        "candle/Data/Images/Normal/a\0.png",
        "C:\\secret.png",
        "~/secret.png",
        "pcb1/Data/Images/Normal/0000.JPG",
        "",
    ],
)
def test_visa_split_file_cannot_lead_out_of_the_folder(tmp_path, image):
    builders.build_visa(tmp_path / "root")
    builders.write(tmp_path / "secret.png", builders.picture(1))
    builders.write_split(tmp_path / "root/split_csv/1cls.csv", [("candle", "train", "normal", image, "")])
    assert re.search(r"1cls\.csv:2: .* is not a file in candle/Data/Images/Normal", problem("visa", tmp_path / "root"))


def test_visa_split_file_of_another_kind(tmp_path):
    builders.build_visa(tmp_path)
    (tmp_path / "split_csv/1cls.csv").write_text("file;role\n1;2\n")
    assert "expected the columns image, label, object, split" in problem("visa", tmp_path)


def test_visa_split_file_that_lists_only_some_categories(tmp_path):
    builders.build_visa(tmp_path, ("candle", "pcb1"))
    row = ("candle", "train", "normal", "candle/Data/Images/Normal/0004.JPG", "")
    builders.write_split(tmp_path / "split_csv/1cls.csv", [row, row])
    scan = check(datasets.scan("visa", tmp_path))
    assert used(scan) == {"candle": ["candle/Data/Images/Normal/0004.JPG"]}
    assert "not in the split file: pcb1" in scan.layout
    builders.write_split(tmp_path / "split_csv/1cls.csv", [("candle", "test", *row[2:])])
    assert "lists no normal training image of candle, pcb1" in problem("visa", tmp_path)
    (tmp_path / "split_csv/1cls.csv").write_text("object,split,label,image\n" + '"' + "x" * 200_000)
    assert "cannot be read" in problem("visa", tmp_path)


@pytest.mark.parametrize("wrapper", ["", "1cls", "visa_pytorch/1cls", "VisA_pytorch/1cls"])
def test_visa_converted(tmp_path, wrapper):
    builders.build_mvtec(tmp_path / wrapper, ("candle",))
    scan = check(datasets.scan("visa", tmp_path))
    assert "converted" in scan.layout
    assert used(scan)["candle"][0] == "candle/train/good/000.png"
    assert scan.root == tmp_path / wrapper


def test_folder_of_images_is_one_category(tmp_path):
    builders.build_folder(tmp_path / "bolts", suffix=".jpg")
    scan = check(datasets.scan("folder", tmp_path / "bolts"))
    assert used(scan) == {"bolts": ["000.jpg", "001.jpg", "002.jpg", "003.jpg"]}


def test_folder_of_folders_is_one_category_each(tmp_path):
    for name in ("b", "a", "Ä ö"):
        builders.build_folder(tmp_path / name, 2)
    (tmp_path / "no images").mkdir()
    scan = check(datasets.scan("folder", tmp_path))
    assert used(scan) == {name: [f"{name}/000.png", f"{name}/001.png"] for name in ("a", "b", "Ä ö")}
    assert [category.name for category in scan.categories] == ["a", "b", "Ä ö"]


def test_folder_with_both_asks_which(tmp_path):
    root = builders.build_folder(tmp_path / "bolts")
    builders.build_folder(root / "old")
    assert "--categories bolts" in problem("folder", root)
    assert list(used(datasets.scan("folder", root, ["bolts"]))) == ["bolts"]
    assert list(used(datasets.scan("folder", root, ["old"]))) == ["old"]


@pytest.mark.parametrize(
    ("build", "dataset"),
    [
        (builders.build_mvtec, "mvtec"),
        (builders.build_loco, "mvtec_loco"),
        (builders.build_btad, "btad"),
        (builders.build_visa, "visa"),
    ],
)
def test_known_layouts_are_named_to_those_who_ask_for_another(tmp_path, build, dataset):
    build(tmp_path)
    assert f"--dataset {dataset}" in problem("folder", tmp_path)
    if dataset in ("btad", "visa"):
        assert f"--dataset {dataset}" in problem("mvtec", tmp_path)


WRONG = ["bad", "NG", "defect", "anomaly", "abnormal", "test", "ground_truth", "Mask", "masks", "fail", "n-ok", "KO", "scratch"]


@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_is_painted_on_what_is_not_normal(tmp_path, wrong):
    for name in ("good", wrong):
        builders.build_folder(tmp_path / "cap" / name, 2)
    said = problem("folder", tmp_path / "cap")
    assert wrong in said
    assert f"--root {str(tmp_path / 'cap/good')!r}" in said
    for name in ("good", wrong):
        assert list(used(datasets.scan("folder", tmp_path / "cap", [name]))) == [name]


def test_folders_that_are_called_like_masks_are_not_painted_on(tmp_path):
    for name in ("bolt", "nut", "masks"):
        builders.build_folder(tmp_path / "cap" / name, 2)
    assert "--categories bolt,nut" in problem("folder", tmp_path / "cap")
    for name in ("nut", "bolt"):
        shutil.rmtree(tmp_path / "cap" / name)
    assert "masks" in problem("folder", tmp_path / "cap")
    builders.build_folder(tmp_path / "ground_truth/scratch", 2)
    assert "ground_truth" in problem("folder", tmp_path / "ground_truth")
