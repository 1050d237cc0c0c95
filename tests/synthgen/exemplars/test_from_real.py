"""`--from-real`: folders of defects as people have them, builds of copies, and what is refused."""

import json

import numpy as np
import pytest

from synthgen.shards import ShardDataset
from tests.support.builders import write
from tests.support.commands import synthgen, tree
from tests.synthgen.exemplars.photographs import SIDE, damaged, plain, spot, write_defects, write_normals

MASKS = [spot(40, 50), spot(90, 30, 5)]


def arguments(root, defects, out, *more):
    return [
        "build",
        "--dataset",
        "folder",
        "--root",
        root,
        "--from-real",
        defects,
        "--size",
        SIDE,
        "--out",
        out,
        "-j",
        1,
        *more,
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Normal images, and a folder of defects."""
    place = tmp_path_factory.mktemp("real")
    return write_normals(place / "good"), write_defects(place / "defects", MASKS)


@pytest.fixture(scope="module")
def built(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    done = synthgen(*arguments(*folders, out, "--per-image", 6))
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def test_one_command_mixes_copies_with_the_other_types(built, folders):
    out, said = built
    assert "2 real defects: hole 2" in said
    types = ShardDataset(out).column("type").tolist()
    assert types.count("real") == pytest.approx(len(types) / 2, abs=3)
    assert len(set(types)) > 3


def test_the_shard_knows_what_was_copied(built, folders):
    dataset = ShardDataset(built[0])
    files = json.loads(dataset.headers[0].config_json)["exemplars"]["folder/good"]["files"]
    assert [name for name, *_ in files] == ["hole/000.png", "hole/001.png"]
    number = dataset.column("type").tolist().index("real")
    name, digest, *_ = dataset[number].params["copies"][0]
    assert {entry[0]: entry[2] for entry in files}[name.partition("#")[0]].startswith(digest)
    said = synthgen("info", built[0]).stdout.replace("\n", " ")
    assert "copied for folder/good: 2 real defects: hole 2" in said
    assert "that of your photographs" in said


def test_workers_and_the_folders_place_change_nothing(built, folders, tmp_path):
    moved = write_defects(tmp_path / "elsewhere", MASKS)
    done = synthgen(*arguments(folders[0], moved, tmp_path / "set", "--per-image", 6, "--jobs", 2))
    assert done.returncode == 0, done.stderr
    shards = [
        {name: digest for name, digest in tree(out).items() if name.endswith(".h5")} for out in (built[0], tmp_path / "set")
    ]
    assert shards[0] == shards[1]


def test_a_copy_is_made_again_from_the_same_defects_alone(built, folders, tmp_path):
    dataset = ShardDataset(built[0])
    sample = dataset.ids[dataset.column("type").tolist().index("real")]
    done = synthgen("replay", sample, "--in", built[0], "--from-real", folders[1])
    assert done.returncode == 0, done.stderr
    without = synthgen("replay", sample, "--in", built[0])
    assert without.returncode == 2
    assert "--from-real is needed" in without.stderr
    others = write_defects(tmp_path / "others", MASKS[::-1])
    assert (
        "not the real defects that the dataset was made with"
        in synthgen("replay", sample, "--in", built[0], "--from-real", others).stderr
    )


def test_defects_may_lie_flat_with_their_masks_beside_them(folders, tmp_path):
    write(tmp_path / "flat/a.png", damaged(plain(1), MASKS[0]))
    write(tmp_path / "flat/a_mask.png", MASKS[0] * np.uint8(255))
    done = synthgen(*arguments(folders[0], tmp_path / "flat", tmp_path / "set", "--types", "real", "--dry-run"))
    assert done.returncode == 0, done.stderr
    assert "one defect alone" in synthgen(*arguments(folders[0], tmp_path / "flat", tmp_path / "set", "--types", "real")).stderr


def test_what_cannot_be_copied_is_left_out_by_name(folders, tmp_path):
    defects = write_defects(tmp_path / "defects", [MASKS[0]])
    picture = damaged(plain(0), MASKS[0])
    write(defects / "good/000.png", plain(5))
    write(defects / "hole/again.png", picture)
    for name, mask in {"again": MASKS[0], "empty": MASKS[0] * 0, "inverted": 1 - MASKS[0]}.items():
        write(defects / f"ground_truth/hole/{name}_mask.png", mask * np.uint8(255))
    for number, name in enumerate(("empty", "inverted", "unmarked")):
        write(defects / f"hole/{name}.png", damaged(plain(20 + number), MASKS[1]))
    done = synthgen(*arguments(folders[0], defects, tmp_path / "set", "--types", "real", "--per-image", 1))
    assert done.returncode == 0, done.stderr
    said = done.stderr.replace("\n", " ")
    for text in (
        "1 normal images in it are no defects",
        "again.png: the same picture as hole/000.png: left out",
        "empty.png: its mask is empty: left out",
        "inverted.png: its mask marks 99 % of the image (is it inverted?): left out",
        "unmarked.png: it has no mask (ground_truth/hole/unmarked_mask.png): left out",
    ):
        assert text in said


def test_photographs_of_another_scale_are_told(folders, tmp_path):
    defects = write_defects(tmp_path / "defects", [spot(30, 30, 6, 64)], pixels=lambda seed: plain(seed, side=64))
    done = synthgen(*arguments(folders[0], defects, tmp_path / "set", "--types", "real", "--per-image", 1))
    assert "has 64x64 pixels where normal images have such as 128x128" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("spoil", "status", "text"),
    [
        (lambda defects: write(defects / "ground_truth/hole/000_mask.png", np.zeros((128, 64), np.uint8)), 3, "000_mask.png"),
        (lambda defects: (defects / "hole/000.png").write_bytes(b"no picture"), 3, "000.png"),
        (lambda defects: [path.unlink() for path in (defects / "ground_truth/hole").iterdir()], 3, "none of its 2 defects"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_before_anything_is_made(folders, tmp_path, spoil, status, text):
    defects = write_defects(tmp_path / "defects", MASKS)
    spoil(defects)
    done = synthgen(*arguments(folders[0], defects, tmp_path / "set"))
    assert (done.returncode, text in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "set").exists()


def test_copies_need_defects_and_defects_a_type_that_copies(folders, tmp_path):
    alone = synthgen("build", "--dataset", "folder", "--root", folders[0], "--types", "real", "--out", tmp_path / "set")
    assert (alone.returncode, "--from-real DIR" in alone.stderr) == (2, True)
    unused = synthgen(*arguments(*folders, tmp_path / "set", "--types", "crack"))
    assert (unused.returncode, "add `real` to the types" in unused.stderr.replace("\n", " ")) == (2, True)
    gone = synthgen(*arguments(folders[0], tmp_path / "nowhere", tmp_path / "set"))
    assert (gone.returncode, "there is no such folder" in gone.stderr) == (3, True)


def test_of_several_categories_each_has_a_folder(folders, tmp_path):
    for name in ("left", "right"):
        write_normals(tmp_path / "parts" / name, 2)
    write_defects(tmp_path / "defects/left", MASKS)
    done = synthgen(*arguments(tmp_path / "parts", tmp_path / "defects", tmp_path / "set", "--per-image", 4))
    assert done.returncode == 0, done.stderr
    dataset = ShardDataset(tmp_path / "set")
    made = set(zip(dataset.column("category").tolist(), dataset.column("type").tolist(), strict=True))
    assert ("left", "real") in made
    assert ("right", "real") not in made
    none = synthgen(*arguments(tmp_path / "parts", folders[1], tmp_path / "other"))
    assert (none.returncode, "a folder of its own name" in none.stderr.replace("\n", " ")) == (3, True)
