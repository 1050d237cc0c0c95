"""What tests of several folders share: scenes of parts, and a small generator that was trained on them."""

import pytest

from tests.support.edge_scenes import train, write_scenes
from tests.support.once import made_once


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder of ten scenes."""
    return made_once(tmp_path_factory, "scenes", write_scenes)


@pytest.fixture(scope="session")
def generator(scenes, tmp_path_factory):
    """A generator that was trained on the scenes."""

    def make(folder):
        done = train(scenes, folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(folder)
        assert "no weights" in done.stderr

    return made_once(tmp_path_factory, "scenes-generator", make)
