"""A shard is complete under its name or absent: after kill -9, on a full disk, on a device that fails."""

import errno
import os
import subprocess
import sys

import pytest

from synthgen.errors import StorageError
from synthgen.shards import ShardDataset, verify
from tests.support.shard_samples import make_set, write_shard

KINDS = ("local", "whole", "rejected", "local")
SETUP = f"""
import pathlib, sys
from tests.support.shard_samples import *
path, layout = pathlib.Path(sys.argv[1]), sys.argv[2]
normals, samples = make_set((90, 70), 2, {KINDS!r})
"""
FILL = """
import resource
from synthgen.errors import StorageError
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in range(0, int(sys.argv[3]), int(sys.argv[4])):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        write_shard(path, normals, samples, layout=layout)
    except StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert str(path) in str(error) and "free" in str(error), error
        assert list(path.parent.iterdir()) == [], limit
        continue
    raise SystemExit(f"no error at {limit}")
write_shard(path, normals, samples, layout=layout)
"""


def run(code, *arguments, **environment):
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", SETUP + code, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("layout", ["delta", "dense"])
@pytest.mark.parametrize(
    "point",
    ["shard-before-open", "shard-mid", "shard-mid:4", "shard-before-fsync", "shard-before-replace", "shard-after-replace"],
)
def test_kill_leaves_a_whole_shard_or_none(tmp_path, point, layout):
    path = tmp_path / "a.h5"
    killed = run("write_shard(path, normals, samples, layout=layout)", path, layout, SYNTHGEN_FAILPOINT=point)
    assert killed.returncode == -9, killed.stderr
    assert path.exists() == (point == "shard-after-replace")
    if path.exists():
        assert verify(path) == []
    write_shard(path, *make_set((90, 70), 2, KINDS), layout=layout)
    assert len(ShardDataset(tmp_path, verify=True)) == len(KINDS)


@pytest.mark.parametrize("layout", ["delta", "dense"])
def test_full_disk_leaves_nothing_and_says_so(tmp_path, layout):
    size = write_shard(tmp_path / "a.h5", *make_set((90, 70), 2, KINDS), layout=layout).bytes
    (tmp_path / "a.h5").unlink()
    done = run(FILL, tmp_path / "a.h5", layout, size, size // 60)
    assert done.returncode == 0, done.stderr
    assert len(ShardDataset(tmp_path / "a.h5", verify=True)) == len(KINDS)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_failing_device_leaves_nothing(tmp_path, monkeypatch, name):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(StorageError, match="Input/output error"):
        write_shard(tmp_path / "a.h5", *make_set((30, 30), 1, ["local"]))
    assert list(tmp_path.iterdir()) == []
