"""The output folder of a build: what in it is ours, and what is not."""

import pytest

from tests.support.commands import build_arguments, build_normals, synthgen


@pytest.mark.parametrize(
    "name",
    [
        ".tmp-mine",
        ".lock",
        ".lock-mine",
        ".progress-mine",
        ".tmp-config.json-of-mine",
        ".lock-0-mine",
        ".lock-0-1",
        ".lock-claim",
    ],
)
def test_hidden_files_of_others_are_not_swept_away(tmp_path, name):
    """Alone in the folder they make it somebody's; put into a build's folder later, they stay as they are."""
    root = build_normals(tmp_path / "root", per_category=1)
    alone, out = tmp_path / "alone", tmp_path / "out"
    alone.mkdir()
    (alone / name).write_text("hard work")
    done = synthgen(*build_arguments(root, alone))
    assert done.returncode == 2
    assert name in done.stderr
    assert [(path.name, path.read_text()) for path in alone.iterdir()] == [(name, "hard work")]
    assert synthgen(*build_arguments(root, out, "--types", "spot", "--max-rejected", 1, "-j", 1)).returncode == 0
    (out / name).write_text("hard work")
    next(out.glob("*.h5")).unlink()
    again = synthgen(*build_arguments(root, out, "--types", "spot", "--max-rejected", 1, "-j", 1))
    assert again.returncode == 0, again.stderr
    assert (out / name).read_text() == "hard work"


@pytest.mark.parametrize("name", [".lock-0-1", ".lock-claim"])
def test_folders_that_are_called_like_locks_stay(tmp_path, name):
    root, out = build_normals(tmp_path / "root", per_category=1), tmp_path / "out"
    (out / name).mkdir(parents=True)
    done = synthgen(*build_arguments(root, out))
    assert (done.returncode, name in done.stderr) == (2, True)
    (out / name).rmdir()
    build = build_arguments(root, out, "--types", "spot", "--max-rejected", 1, "-j", 1)
    assert synthgen(*build).returncode == 0
    (out / name).mkdir()
    next(out.glob("*.h5")).unlink()
    assert synthgen(*build).returncode == 0
    assert (out / name).is_dir()


def test_a_lock_that_leads_out_of_the_folder_is_refused(tmp_path):
    root, out = build_normals(tmp_path / "root", per_category=1), tmp_path / "out"
    out.mkdir()
    (out / ".lock").symlink_to(tmp_path / "elsewhere")
    done = synthgen(*build_arguments(root, out))
    assert (done.returncode, ".lock: is not a file of ours" in done.stderr) == (2, True)
    assert not (tmp_path / "elsewhere").exists()
