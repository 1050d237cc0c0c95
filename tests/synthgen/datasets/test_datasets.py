"""Datasets on disk: categories, roots, single files and manifests, and what is said when something is amiss."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from synthgen import datasets
from synthgen.datasets.listing import printable, unique_stems
from synthgen.errors import InputDataError, UsageError
from synthgen.manifests import manifest_dir
from tests.support import builders
from tests.support.scans import check, problem, used

# ---- choosing categories and roots


def test_categories_are_chosen_whatever_their_order(tmp_path):
    builders.build_mvtec(tmp_path, ("a", "b", "c"))
    assert list(used(datasets.scan("mvtec", tmp_path, ["c", "a", "c"]))) == ["a", "c"]


def test_unknown_category_is_refused_with_a_suggestion(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle", "screw"))
    assert "Did you mean 'bottle'?" in problem("mvtec", tmp_path, ["botle"])
    with pytest.raises(InputDataError, match="Did you mean 'gear'"):
        datasets.scan("demo", None, ["geer"])


def test_a_category_as_root_names_its_parent(tmp_path):
    builders.build_mvtec(tmp_path / "own set", ("bottle",))
    for dataset in ("mvtec", "mpdd"):
        text = problem(dataset, tmp_path / "own set" / "bottle")
        assert f"--dataset {dataset} --root '{tmp_path}/own set' --categories 'bottle'" in text
    assert f"--dataset mvtec --root '{tmp_path}/own set'" in problem("folder", tmp_path / "own set" / "bottle")
    builders.build_visa(tmp_path / "visa")
    assert f"--dataset visa --root '{tmp_path}/visa' --categories 'pcb1'" in problem("visa", tmp_path / "visa/pcb1")


def test_a_root_of_something_else_says_expected_and_found(tmp_path):
    (tmp_path / "stuff").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    text = problem("mvtec", tmp_path)
    assert "Expected: folders CATEGORY/train/good" in text
    assert "readme.txt, stuff/" in text
    builders.build_folder(tmp_path / "stuff")
    assert "--dataset folder" in problem("mvtec", tmp_path)
    (tmp_path / "bare").mkdir()
    assert "Found: nothing" in problem("folder", tmp_path / "bare")


def test_root_that_is_missing_or_a_file(tmp_path):
    text = problem("mvtec", tmp_path / "nowhere")
    assert f"--root {tmp_path / 'nowhere'} does not exist" in text
    assert "https://www.mvtec.com" in text
    assert "CC BY-NC-SA 4.0" in text
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in problem("folder", tmp_path / "file")


def test_root_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNTHGEN_DATA", raising=False)
    assert "SYNTHGEN_DATA" in problem("mvtec", None)
    monkeypatch.setenv("SYNTHGEN_DATA", str(tmp_path))
    assert f"{tmp_path / 'mvtec'} (from SYNTHGEN_DATA) does not exist" in problem("mvtec", None)
    builders.build_mvtec(tmp_path / "mvtec")
    assert datasets.resolve_root("mvtec", None) == tmp_path / "mvtec"
    assert len(used(datasets.scan("mvtec"))) == 2
    assert datasets.resolve_root("mvtec", tmp_path) == tmp_path  # the option goes before
    assert "--root DIR" in problem("folder", None)


def test_rendered_dataset_takes_no_root(tmp_path):
    assert datasets.resolve_root("demo", None) is None
    with pytest.raises(UsageError, match="Leave --root away"):
        datasets.scan("demo", tmp_path)


def test_unknown_dataset_is_a_usage_error():
    with pytest.raises(UsageError, match="Did you mean 'mvtec'"):
        datasets.scan("mvtek")


def test_category_without_usable_image(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    (tmp_path / "screw/train/good").mkdir(parents=True)
    (tmp_path / "screw/train/good/000.png").write_bytes(b"")
    text = problem("mvtec", tmp_path)
    assert "category screw" in text
    assert "screw/train/good/000.png: the file" in text
    assert list(used(datasets.scan("mvtec", tmp_path, ["bottle"]))) == ["bottle"]


def test_categories_without_training_images_are_mentioned(tmp_path):
    builders.build_mvtec(tmp_path, ("bottle",))
    (tmp_path / "pill/test/good").mkdir(parents=True)
    assert "passed over, without train/good: pill" in datasets.scan("mvtec", tmp_path).layout


# ---- single files


def test_zoo(tmp_path):
    expected = builders.build_zoo(tmp_path / "zoo")
    before = builders.snapshot(tmp_path)
    start = time.perf_counter()
    scan = check(datasets.scan("folder", tmp_path / "zoo"))
    assert time.perf_counter() - start < 1
    (category,) = scan.categories
    found = {source.source: None for source in category.used} | {file.path: file.reason for file in category.rejected}
    assert found.keys() == expected.keys()
    assert category.found == len(expected)
    for name, reason in expected.items():
        assert found[name] is None if reason is None else re.fullmatch(reason, found[name] or "used"), name
    for source in category.used:
        normal = datasets.read_normal(source, (32, 40))
        assert normal.pixels.shape == (32, 40, 3)
        assert normal.pixels.std() > 5, source.source
    assert builders.snapshot(tmp_path) == before


def test_stems_are_unique():
    names = ["a.png", "a.jpg", "b.png", "c.png.png", "c.png", "c.bmp", "ä.png"]
    stems = unique_stems([Path(name) for name in names])
    assert stems == ["a.png", "a.jpg", "b", "c.png.png", "c.png", "c.bmp", "ä"]
    assert len(set(stems)) == len(stems)


def test_names_that_are_not_text(tmp_path):
    builders.build_folder(tmp_path / "x", 1)
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        (tmp_path / "x" / os.fsdecode(name)).write_bytes(builders.encoded(builders.picture(1)))
    (category,) = check(datasets.scan("folder", tmp_path / "x")).categories
    assert sorted(file.path for file in category.rejected) == ["caf\\udce9.png", "two\\nlines.png"]
    assert {file.reason for file in category.rejected} == {"bad-name"}
    assert printable("Prüfling 検査") == "Prüfling 検査"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_unreadable_files_and_folders():
    with tempfile.TemporaryDirectory() as name:
        root = builders.build_folder(Path(name) / "open", 2)
        closed = builders.build_folder(Path(name) / "closed", 1)
        Path(name).chmod(0o755)
        root.chmod(0o755)
        (root / "001.png").chmod(0)
        closed.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nothing is unreadable to root
        try:
            (category,) = check(datasets.scan("folder", root)).categories
            text = problem("folder", closed)
        finally:
            os.seteuid(user)
            closed.chmod(0o755)
    assert [(file.path, file.reason) for file in category.rejected] == [("001.png", "unreadable")]
    assert "cannot be listed" in text


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a user of its own")
def test_folders_of_others_are_passed_over():
    with tempfile.TemporaryDirectory() as name:
        root = builders.build_mvtec(Path(name) / "mvtec", ("bottle",))
        closed = root / "lost+found"
        closed.mkdir()
        for folder in (Path(name), *(path for path in root.rglob("*") if path.is_dir()), root):
            folder.chmod(0o755)
        closed.chmod(0)
        os.seteuid(65534)
        try:
            assert list(used(datasets.scan("mvtec", root))) == ["bottle"]
        finally:
            os.seteuid(0)


def test_pipes_are_not_opened(tmp_path):
    builders.build_folder(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe.png")
    (category,) = datasets.scan("folder", tmp_path).categories
    assert [file.reason for file in category.rejected] == ["not-a-file"]


def test_a_file_that_went_away_is_named(tmp_path):
    builders.build_folder(tmp_path / "x", 1)
    source = datasets.scan("folder", tmp_path / "x").categories[0].used[0]
    source.path.write_bytes(source.path.read_bytes()[:200])
    with pytest.raises(InputDataError, match=r"000\.png: truncated"):
        datasets.read_normal(source, (32, 32))
    source.path.unlink()
    with pytest.raises(InputDataError, match=r"000\.png: No such file"):
        datasets.read_normal(source, (32, 32))


# ---- manifests


@pytest.mark.parametrize("name", datasets.dataset_names())
def test_manifests_are_complete(name):
    info = datasets.dataset_info(name)
    assert info.title
    assert info.licence
    assert info.layout
    assert info.commercial_use in (True, False, None)
    assert ("NC" in info.licence) == (info.commercial_use is False)
    assert info.homepage.startswith("http") or name in ("demo", "folder")
    for category in (info.default, *info.categories.values()):
        assert category.material in ("metal", "wood", "fabric", "plastic", "food", "stone")
        assert category.foreground in ("auto", "whole")
    assert info.category("never heard of") == info.default


def test_manifests_list_the_published_categories():
    counts = {name: len(datasets.dataset_info(name).categories) for name in datasets.dataset_names()}
    assert counts == {"btad": 3, "demo": 5, "folder": 0, "madsim": 20, "mpdd": 6, "mvtec": 15, "mvtec_loco": 5, "visa": 12}
    assert set(datasets.dataset_info("demo").categories) == set(used_in_demo())


def used_in_demo():
    return [category.name for category in datasets.scan("demo").categories]


def test_relative_roots_become_absolute(tmp_path, monkeypatch):
    builders.build_mvtec(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    scan = check(datasets.scan("mvtec", Path("own")))
    assert scan.root == tmp_path / "own"


def test_manifests_of_an_installed_package(tmp_path):
    source = Path(datasets.__file__).parents[1]
    shutil.copytree(source, tmp_path / "synthgen", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from synthgen.manifests import manifest_dir; print(manifest_dir())"

    def run():
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)

    assert "Install the package again" in run().stderr
    shutil.copytree(manifest_dir(), tmp_path / "synthgen" / "_manifests")
    assert run().stdout.strip() == str(tmp_path / "synthgen" / "_manifests")


def test_manifest_folder():
    assert sorted(path.stem for path in (manifest_dir() / "datasets").glob("*.yaml")) == datasets.dataset_names()


# ---- real data


@pytest.fixture
def base():
    data = os.environ.get("SYNTHGEN_TEST_DATA")
    if not data:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    return Path(data)


@pytest.mark.realdata
def test_real_split_of_visa(base, tmp_path):
    shutil.copytree(base / "visa_meta/split_csv", tmp_path / "split_csv")
    names = datasets.dataset_info("visa").categories
    with (tmp_path / "split_csv/1cls.csv").open() as stream:
        for row in csv.DictReader(stream):
            path = tmp_path / row["image"]
            if row["label"] == "normal" and not path.parent.exists():
                path = path if row["split"] == "train" else path.with_name("unlisted.JPG")
                builders.write(path, builders.picture(1, 16, 16))
    scan = check(datasets.scan("visa", tmp_path))
    assert [category.name for category in scan.categories] == sorted(names)
    assert sum(category.found for category in scan.categories) == 8659
    assert {file.reason for category in scan.categories for file in category.rejected} == {"missing"}


@pytest.mark.realdata
def test_real_folders(base):
    counts = {
        (dataset, folder, category.name): len(category.used)
        for dataset, folder in (("mvtec", "mvtec"), ("mvtec_loco", "mvtec_loco"), ("mvtec", "magnetic_tile"))
        for category in check(datasets.scan(dataset, base / folder)).categories
    }
    assert counts == {
        ("mvtec", "mvtec", "bottle"): 189,
        ("mvtec", "mvtec", "hazelnut"): 50,
        ("mvtec_loco", "mvtec_loco", "juice_bottle"): 120,
        ("mvtec", "magnetic_tile", "tile"): 300,
    }
    for category in datasets.scan("mvtec", base / "magnetic_tile").categories:
        for source in category.used[::30]:
            assert datasets.read_normal(source, (256, 256)).pixels.std() > 1
    assert "split_csv" in problem("visa", base / "visa_meta")
