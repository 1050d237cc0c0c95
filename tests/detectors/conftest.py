"""What tests of detectors share: one thread, a small dataset, and a run on it."""

import pytest

from tests.support.builders import build_mvtec


@pytest.fixture(scope="session")
def one_thread():
    """Of PyTorch, so that sums round alike here and in other processes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mvtec(tmp_path_factory):
    """Two small categories."""
    return build_mvtec(tmp_path_factory.mktemp("data"), ("bottle", "screw"), normals=9, size=(80, 80))


@pytest.fixture(scope="session")
def trained(one_thread, mvtec, tmp_path_factory):
    """A finished training: its run folder, and what the command said."""
    from tests.detectors.commands import SMALL, detectors

    out = tmp_path_factory.mktemp("runs") / "one"
    done = detectors(
        "train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--epochs", 3, "--out", out
    )
    return out, done


@pytest.fixture(scope="session")
def evaluated(trained, mvtec):
    """The same run, evaluated."""
    from tests.detectors.commands import detectors

    detectors("eval", trained[0], "--device", "cpu")
    return trained[0]
