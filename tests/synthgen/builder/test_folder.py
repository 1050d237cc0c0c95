"""The output folder of a build: what in it is ours, and what is not."""

import shutil

import pytest

from tests.support.commands import build_arguments, build_normals, synthgen

NAMES = (
    ".tmp-mine",
    ".lock",
    ".lock-mine",
    ".progress-mine",
    ".tmp-config.json-of-mine",
    ".lock-0-mine",
    ".lock-0-1",
    ".lock-claim",
)
BUILD = ("--types", "spot", "--max-rejected", 1, "-j", 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_normals(tmp_path_factory.mktemp("normals"), per_category=1)


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    assert synthgen(*build_arguments(root, out, *BUILD)).returncode == 0
    return out


@pytest.mark.parametrize("name", NAMES)
def test_a_hidden_file_makes_a_folder_somebodys(root, tmp_path, name):
    (tmp_path / name).write_text("hard work")
    done = synthgen(*build_arguments(root, tmp_path))
    assert done.returncode == 2
    assert name in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "hard work")]


@pytest.mark.parametrize("kind", ["files", "folders"])
def test_hidden_files_and_folders_of_others_stay_in_a_builds_folder(root, built, tmp_path, kind):
    out = shutil.copytree(built, tmp_path / "out")
    names = [name for name in NAMES if kind == "files" or name != ".lock"]
    for name in names:
        if kind == "files":
            (out / name).write_text("hard work")
        else:
            (out / name).mkdir()
    next(out.glob("*.h5")).unlink()
    again = synthgen(*build_arguments(root, out, *BUILD))
    assert again.returncode == 0, again.stderr
    assert all((out / name).is_dir() if kind == "folders" else (out / name).read_text() == "hard work" for name in names)


@pytest.mark.parametrize("name", [".lock-0-1", ".lock-claim", ".lock"])
def test_a_folder_called_like_a_lock_is_refused_alone(root, tmp_path, name):
    (tmp_path / name).mkdir()
    done = synthgen(*build_arguments(root, tmp_path))
    assert (done.returncode, name in done.stderr) == (2, True)


def test_a_lock_that_leads_out_of_the_folder_is_refused(root, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").symlink_to(tmp_path / "elsewhere")
    done = synthgen(*build_arguments(root, out))
    assert (done.returncode, ".lock: is not a file of ours" in done.stderr) == (2, True)
    assert not (tmp_path / "elsewhere").exists()
