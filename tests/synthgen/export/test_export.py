"""Exports: each is read back with the other tool's own loader, and gives the same images and masks."""

import json
import shutil
import tarfile
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from detectors.official_test import open_test_split, read_mask
from synthgen.errors import StorageError, UsageError
from synthgen.export import export, mvtec
from synthgen.export.instances import instances, polygons, run_lengths
from synthgen.export.selection import choose
from synthgen.export.yolo import line_of
from synthgen.files import unique_names
from synthgen.shards import ShardDataset, schema
from tests.support.builders import snapshot
from tests.support.commands import build_arguments, build_normals, synthgen, tree
from tests.support.shard_samples import make_header, make_set, write_shard

FORMATS = ("mvtec", "coco", "yolo", "webdataset", "parquet", "numpy")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = build_normals(tmp_path_factory.mktemp("normals"), per_category=6)
    out = tmp_path_factory.mktemp("built") / "set"
    done = synthgen(*build_arguments(root, out, "--max-rejected", 1, "-j", 1))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def samples(built):
    """The accepted samples by the names that exports give them."""
    chosen = choose(built)
    return {name: chosen.sample(number) for number, name in chosen.names.items()}


def exported(built, to, out, *more):
    done = synthgen("export", built, "--to", to, "--out", out, *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    card = json.loads((out / "synthgen-export.json").read_text())
    assert card["format"] == to
    assert card["licences"]
    return out


def rgb(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def blobs(seed, size=(40, 52)):
    """A mask of odd parts, with holes, lines and single pixels."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=size).astype(np.float32), (0, 0), 1.5 + seed % 3)
    mask = (field > np.quantile(field, 0.6)).astype(np.uint8)
    mask[rng.integers(size[0]), rng.integers(size[1])] = 1
    mask[3, 5:20] = 1
    return mask


def test_mvtecs_folders_are_a_dataset_with_a_test_split(built, samples, tmp_path):
    out = exported(built, "mvtec", tmp_path / "out")
    for category in ("a b", "ü"):
        files = open_test_split("mvtec", out, category)
        anomalies = [file for file in files if file.label]
        assert anomalies
        for file in anomalies:
            sample = samples[file.path.stem]
            assert sample.spec.category == category
            np.testing.assert_array_equal(rgb(file.path), sample.image)
            np.testing.assert_array_equal(read_mask(file, sample.mask.shape), sample.mask)
        tested = {samples[file.path.stem].spec.source for file in anomalies}
        assert len(tested) == 1  # a fifth of six
        assert len(list((out / category / "train/good").iterdir())) == 5
        assert len([file for file in files if not file.label]) == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_coco_is_read_by_pycocotools(built, samples, tmp_path):
    from pycocotools.coco import COCO

    out = exported(built, "coco", tmp_path / "out", "--split", "0.5/0.5")
    seen = set()
    for split in ("train", "val"):
        coco = COCO(str(out / "annotations" / f"instances_{split}.json"))
        for image in coco.loadImgs(coco.getImgIds()):
            path = out / split / image["file_name"]
            found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            if "sample_id" not in image["synthgen"]:
                assert not found
                continue
            sample = samples[path.stem]
            seen.add(path.stem)
            np.testing.assert_array_equal(rgb(path), sample.image)
            whole = np.zeros_like(sample.mask)
            for one in found:
                mask = coco.annToMask(one)
                assert mask.sum() == one["area"]
                x, y, width, height = one["bbox"]
                assert mask[y : y + height, x : x + width].sum() == one["area"]
                assert coco.loadCats(one["category_id"])[0]["name"] == sample.spec.type
                whole |= mask
            np.testing.assert_array_equal(whole, sample.mask)
    assert seen == set(samples)


def test_yolos_polygons_fill_to_the_same_masks(built, samples, tmp_path):
    out = exported(built, "yolo", tmp_path / "out")
    config = yaml.safe_load((out / "data.yaml").read_text())
    seen = set()
    for split in ("train", "val"):
        for image in sorted((out / config[split]).iterdir()):
            lines = (out / "labels" / split / f"{image.stem}.txt").read_text().splitlines()
            if image.stem.endswith("_good"):
                assert not lines
                continue
            sample = samples[image.stem]
            seen.add(image.stem)
            np.testing.assert_array_equal(rgb(image), sample.image)
            mask = np.zeros_like(sample.mask)
            for line in lines:
                kind, *numbers = line.split()
                assert config["names"][int(kind)] == sample.spec.type
                corners = np.array(numbers, float).reshape(-1, 2) * (mask.shape[1], mask.shape[0])
                assert len(corners) >= 3
                cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
            np.testing.assert_array_equal(mask, sample.mask)
    assert seen == set(samples)


def test_webdataset_reads_its_tar_files(built, samples, tmp_path):
    import webdataset

    out = exported(built, "webdataset", tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        rows = list(webdataset.WebDataset(str(out / "all-000000.tar"), shardshuffle=False).decode("rgb8"))
    assert {row["__key__"] for row in rows} == set(samples)
    for row in rows:
        sample = samples[row["__key__"]]
        np.testing.assert_array_equal(row["image.png"], sample.image)
        np.testing.assert_array_equal(row["mask.png"][..., 0] > 0, sample.mask > 0)
        np.testing.assert_array_equal(row["normal.png"], sample.normal)
        assert row["json"]["sample_id"] == sample.spec.sample_id


def test_long_names_fit_into_tar_files(built, tmp_path):
    chosen = choose(built)
    long = replace(chosen, names={number: f"{number}-" + 150 * "x" for number in chosen.names})
    export(long, "webdataset", tmp_path / "out")
    with tarfile.open(tmp_path / "out/all-000000.tar") as file:
        assert {name.split(".")[0] for name in file.getnames()} == set(long.names.values())


def test_hugging_face_decodes_the_images(built, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    out = exported(built, "parquet", tmp_path / "out", "--split", "0.5/0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        loaded = datasets.load_dataset(str(out / "data"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    by_id = {sample.spec.sample_id: sample for sample in samples.values()}
    seen = set()
    for split in loaded.values():
        for row in split:
            sample = by_id[row["sample_id"]]
            seen.add(row["sample_id"])
            np.testing.assert_array_equal(np.asarray(row["image"]), sample.image)
            np.testing.assert_array_equal(np.asarray(row["mask"]) > 0, sample.mask > 0)
            assert row["area"] == sample.area
    assert seen == set(by_id)


def test_hugging_face_reads_dense_shards(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    root = build_normals(tmp_path / "normals", per_category=2)
    dense = ("--max-rejected", 1, "-j", 1, "--layout", "dense")
    done = synthgen(*build_arguments(root, tmp_path / "set", *dense))
    assert done.returncode == 0, done.stderr
    shard = next((tmp_path / "set").rglob("*.h5"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        loaded = datasets.load_dataset("hdf5", data_files=str(shard), cache_dir=str(tmp_path / "cache"))["train"]
    own = ShardDataset(shard)
    assert len(loaded) == len(own)
    np.testing.assert_array_equal(np.array(loaded[0]["image"], np.uint8), own[0].image)
    np.testing.assert_array_equal(np.array(loaded[0]["mask"], np.uint8), own[0].mask)


def test_arrays_can_be_mapped(built, samples, tmp_path):
    out = exported(built, "numpy", tmp_path / "out")
    images, masks, normals = (np.load(out / f"{name}.npy", mmap_mode="r") for name in ("images", "masks", "normals"))
    normal_of = np.load(out / "normal_of.npy")
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    by_id = {sample.spec.sample_id: sample for sample in samples.values()}
    assert len(lines) == len(images) == len(by_id)
    assert len(normals) == 12
    for k, line in enumerate(lines):
        sample = by_id[line["sample_id"]]
        np.testing.assert_array_equal(images[k], sample.image)
        np.testing.assert_array_equal(masks[k], sample.mask)
        np.testing.assert_array_equal(normals[normal_of[k]], sample.normal)


def test_splits_keep_the_samples_of_an_image_together_and_depend_on_nothing_else(built):
    chosen = choose(built, shares=(0.5, 0.25, 0.25))
    assert [part.name for part in chosen.parts] == ["train", "val", "test"]
    sources = [{chosen.sample(number).source_sha256 for number in part.samples} for part in chosen.parts]
    assert not (sources[0] & sources[1]) | (sources[0] & sources[2]) | (sources[1] & sources[2])
    assert sum(len(part.samples) for part in chosen.parts) == len(choose(built).parts[0].samples)
    assert choose(built, shares=(0.5, 0.25, 0.25)).parts == chosen.parts
    assert choose(built, shares=(0.5, 0.25, 0.25), seed=1).parts != chosen.parts
    one = choose(built, types=("crack",), shares=(0.5, 0.25, 0.25))
    assert set(one.parts[0].normals) <= {number for part in chosen.parts for number in part.samples}
    assert all(sample in chosen.parts[k].samples for k, part in enumerate(one.parts) for sample in part.samples)


@pytest.mark.parametrize("seed", range(6))
def test_parts_runs_and_polygons_give_any_mask_again(seed):
    mask = blobs(seed)
    whole, filled = np.zeros_like(mask), np.zeros_like(mask)
    for one in instances(mask):
        values = np.concatenate([np.full(run, k % 2, np.uint8) for k, run in enumerate(run_lengths(one.mask))])
        np.testing.assert_array_equal(values.reshape(mask.shape, order="F"), one.mask)
        whole += one.mask
    np.testing.assert_array_equal(whole, mask)
    for outline in polygons(mask):
        cv2.fillPoly(filled, [outline], 1)
        assert len(line_of(0, outline, mask.shape).split()) >= 7
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_export_again_gives_the_same_bytes(built, tmp_path, to):
    for name in ("one", "other"):
        exported(built, to, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_what_makes_no_sense_is_said_and_nothing_is_left_behind(built, tmp_path):
    def refused(*arguments, status=2):
        done = synthgen("export", built, *arguments)
        assert done.returncode == status
        return done.stderr

    out = tmp_path / "out"
    assert "Did you mean 'coco'" in refused("--to", "cocoa", "--out", out)
    assert "add up to 1" in refused("--to", "coco", "--out", out, "--split", "0.5/0.6")
    assert "expected shares" in refused("--to", "coco", "--out", out, "--split", "half")
    assert "--types spot" in refused("--to", "coco", "--out", out, "--types", "spot")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "something lies there" in refused("--to", "numpy", "--out", tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    with pytest.raises(UsageError, match="has none"):
        choose(built, categories=("c",))


def test_an_export_that_fails_leaves_nothing(built, tmp_path, monkeypatch):
    from synthgen.export import numpy

    def broken(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(numpy, "_write_part", broken)
    with pytest.raises(StorageError, match="no space"):
        export(choose(built), "numpy", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_names_become_safe_unique_and_short():
    names = ["a/b", "a_b", "A_B", "a_b-2", "ü.1", "x" * 400, "x" * 401, ""]
    found = unique_names(names)
    assert found == ["a_b", "a_b-2", "A_B-3", "a_b-2-2", "ü_1", "x" * 180, "x" * 180 + "-2", ""]
    assert len({name.casefold() for name in found}) == len(names)


def test_folders_keep_to_the_folder_whatever_a_category_is_called():
    assert [mvtec._folder(name) for name in ("metal nut", "..", "a/../b", "c:", "", " .x. ")] == [
        "metal nut", "_", "a_.._b", "c_", "_", "x",
    ]  # fmt: skip
    assert [mvtec._kind(name) for name in ("good", ".good", "OK", "dent")] == ["good_", "good_", "OK_", "dent"]


def test_names_that_lead_out_of_a_folder_are_made_safe(tmp_path, monkeypatch):
    """Should such a shard ever be read, what is exported stays in its folder."""
    monkeypatch.setattr(schema, "_check_name", lambda name: None)
    change = {"dataset": "set", "category": "../evil", "types": ("/abs", "Good")}
    normals, samples = make_set((40, 40), 2, ("local", "local", "local", "local"))
    normals = [replace(normal, category="../evil") for normal in normals]
    kinds = [replace(s.spec, category="../evil", type=change["types"][k % 2]) for k, s in enumerate(samples)]
    samples = [replace(sample, spec=spec) for sample, spec in zip(samples, kinds, strict=True)]
    (tmp_path / "set").mkdir()
    write_shard(tmp_path / "set/a.h5", normals, samples, header=replace(make_header((40, 40)), **change))
    before = snapshot(tmp_path)
    for to in FORMATS:
        export(choose(tmp_path / "set", shares=(0.5, 0.5) if to == "mvtec" else ()), to, tmp_path / "out" / to)
    outside = {name: entry for name, entry in snapshot(tmp_path).items() if not str(name).startswith("out")}
    assert outside == {name: entry for name, entry in before.items() if not str(name).startswith("out")}
    folders = {path.name for path in (tmp_path / "out/mvtec").glob("*/test/*")}
    assert folders == {"good", "_abs", "Good_"}


def test_categories_that_differ_in_case_alone_have_folders_of_their_own(tmp_path):
    for name in ("Cap", "cap"):
        build_normals(tmp_path / "normals" / name, per_category=2)
    root = tmp_path / "root"
    for name in ("Cap", "cap"):
        shutil.copytree(next((tmp_path / "normals" / name).iterdir()), root / name)
    assert synthgen(*build_arguments(root, tmp_path / "set", "--max-rejected", 1, "-j", 1)).returncode == 0
    exported(tmp_path / "set", "mvtec", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"Cap", "cap-2"}
