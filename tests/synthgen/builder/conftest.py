"""What the tests of builds share: normal images, and the folder of a build that nothing disturbed."""

import pytest

from tests.support.commands import build_arguments, build_normals, synthgen, tree
from tests.support.once import made_once


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "builder-normals", build_normals)


@pytest.fixture(scope="session")
def built(root, tmp_path_factory):
    """The folder of an uninterrupted build; not to be written."""

    def make(folder):
        assert synthgen(*build_arguments(root, folder, "--jobs", 2)).returncode == 0

    return made_once(tmp_path_factory, "builder-built", make)


@pytest.fixture(scope="session")
def whole(built):
    """What an uninterrupted build gives."""
    return tree(built)
