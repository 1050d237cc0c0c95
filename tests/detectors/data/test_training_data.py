"""What detectors train with: the same from shards and from images, and which images are held out."""

import numpy as np
import pytest

from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import Split, from_dataset, from_shards, open_shards
from tests.detectors.commands import SMALL, detectors
from tests.support.commands import synthgen

READING = Preprocessing((64, 64), (64, 64), (64, 64))

pytestmark = pytest.mark.usefixtures("one_thread")


def test_shards_and_images_make_no_difference(mvtec, tmp_path):
    shards = tmp_path / "shards"
    done = synthgen(
        "build", "--dataset", "mvtec", "--root", mvtec, "--categories", "bottle", "--size", 64, "--out", shards, "--jobs", 1
    )
    assert done.returncode == 0, done.stderr
    one, other = from_dataset("mvtec", mvtec, "bottle", READING), from_shards(open_shards(shards, None, None), READING)
    assert other.category == "bottle"
    for name in ("train_sha256", "held_out_sha256", "train_normals", "held_out_normals"):
        assert one.card[name] == other.card[name]
    for first, second in ((one.normals, other.normals), (one.held_out, other.held_out)):
        assert [image.source for image in first] == [image.source for image in second]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    held_out = {image.source for image in other.held_out}
    assert {sample.spec.source for sample in other.anomalies} <= held_out
    assert {sample.spec.source for sample in one.anomalies} <= held_out
    run = tmp_path / "run"
    detectors("train", "pbas", "--shards", shards, *SMALL, "--epochs", 1, "--out", run)
    detectors("eval", run, "--root", mvtec)


def test_a_split_is_stable_and_keeps_copies_together():
    digests = [f"{number:064x}" for number in range(100)]
    split = Split.of(digests, 0)
    assert len(split.held_out) == 10
    assert sorted(split.normals + split.held_out) == list(range(100))
    assert Split.of(digests, 1).held_out != split.held_out
    fewer = Split.of(digests[:-1], 0).held_out
    assert len(set(fewer) ^ (set(split.held_out) - {99})) <= 1
    trained, held_out = Split.of([*digests, *digests], 0).contents
    assert not trained & held_out
    assert [len(Split.of(digests[:count], 0).held_out) for count in (4, 12, 30)] == [1, 4, 6]
