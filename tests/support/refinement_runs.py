"""Normal images, samples made of them, and small refinement networks trained on these: shared by who trains and who refines."""

import pytest

from tests.support.builders import write
from tests.support.commands import synthgen
from tests.support.once import made_once
from tests.support.surfaces import texture

SIDE = 64
SMALL = ("--config", "cpu", "--set", "crop=32", "--set", "batch_size=4", "--device", "cpu")
NARROW = ("--set", "width=8", "--set", "window=8")
"""A small npcF++."""


def train(model, out, *more, steps=30, **options):
    """A training by command."""
    return synthgen("train", model, "--out", out, *SMALL, "--set", f"steps={steps}", *more, **options)


def write_normals(folder):
    for number in range(10):
        write(folder / "parts" / f"{number:02}.png", texture("photo", SIDE, SIDE, number))


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Ten normal images."""
    return made_once(tmp_path_factory, "refinement-normals", write_normals) / "parts"


@pytest.fixture(scope="session")
def shards(root, tmp_path_factory):
    """Samples before any refinement."""

    def make(folder):
        done = synthgen("build", "--dataset", "folder", "--root", root, "--size", SIDE, "--types", "crack,corrosion",
                        "--per-image", 2, "--refine", "none", "--out", folder, "-j", 1)  # fmt: skip
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "refinement-shards", make)


@pytest.fixture(scope="session")
def npcf(shards, tmp_path_factory):
    """A trained npcF."""

    def make(folder):
        done = train("npcf", folder, "--shards", shards)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "npcf", make)


@pytest.fixture(scope="session")
def npcfpp(shards, npcf, tmp_path_factory):
    """A trained npcF++."""

    def make(folder):
        done = train("npcf++", folder, "--shards", shards, "--npcf", npcf, *NARROW, steps=12)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "npcfpp", make)
