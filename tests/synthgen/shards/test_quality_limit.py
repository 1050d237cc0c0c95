"""What is planned, built and looked at by scores; plans without them stay as they are."""

import json
import time

import cv2
import numpy as np
import pytest

from synthgen.decisions import decide
from synthgen.errors import UsageError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.shards import QualityLimit, ShardDataset, shards_digest, write_quality
from synthgen.synthesis import SynthesisDataset
from tests.support.builders import build_folder
from tests.support.commands import build_arguments, build_normals, synthgen, tree
from tests.support.quality_scores import scores_of, table_of
from tests.support.shard_samples import assert_same

COLUMNS = ("quality", "loss_mean", "loss_deviation", "anomaly_loss", "seen")


VALUES = {"datasets": {"folder": {}}, "types": ["crack", "corrosion"], "size": 32, "per_image": 2, "samples_per_shard": 8}


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("normals") / "bolts", 5)


def planned(normals, quality=None, **changes):
    return make_plan(decide(make_recipe(VALUES | changes), {"folder": normals}), quality)


@pytest.mark.parametrize("types", [{"types": ["crack", "corrosion"]}, {"types": "auto"}])
def test_a_plan_leaves_out_exactly_those_below(normals, tmp_path, types):
    full = planned(normals, **types)
    ids = [spec.sample_id for spec in full.specs()]
    known = scores_of(ids[:-3]) | {"folder/bolts/elsewhere/crack/0": 0.0}
    write_quality(tmp_path / "scores.h5", table_of(known))
    limit = QualityLimit.read(tmp_path / "scores.h5", 0.5)
    plan = planned(normals, limit, **types)
    kept = [name for name in ids if known.get(name, 1) >= 0.5]
    assert [spec.sample_id for spec in plan.specs()] == kept
    assert len(plan) == len(kept) == sum(map(len, plan.shards))
    assert plan.below_quality == len(ids) - len(kept) > 0
    assert [shard.name for shard in plan.shards] == [shard.name for shard in full.shards]
    made = {sample.spec.sample_id: sample for sample in SynthesisDataset(full)}
    for sample in SynthesisDataset(plan):
        assert_same(sample, made[sample.spec.sample_id])


def test_a_score_that_equals_the_limit_is_kept(tmp_path):
    write_quality(tmp_path / "scores.h5", table_of({"a": 0.4, "b": 0.39999, "c": 0.0, "d": 1.0}))
    assert QualityLimit.read(tmp_path / "scores.h5", 0.4).below == {"b", "c"}
    assert QualityLimit.read(tmp_path / "scores.h5", 0).below == set()
    assert QualityLimit.read(tmp_path / "scores.h5", 1).below == {"a", "b", "c"}


def test_scores_and_limit_are_part_of_the_configuration_and_only_where_given(normals, tmp_path):
    base = planned(normals).config_json
    assert "quality" not in json.loads(base)
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        ids = [spec.sample_id for spec in planned(normals).specs()]
        write_quality(tmp_path / f"{name}.h5", table_of(scores_of(ids, seed)))
    a, b, c, higher = (
        planned(normals, QualityLimit.read(tmp_path / f"{name}.h5", minimum)).config_json
        for name, minimum in (("a", 0.3), ("b", 0.3), ("c", 0.3), ("a", 0.4))
    )
    assert a == c  # the same scores, wherever they lie
    assert len({base, a, b, higher}) == 4
    values = json.loads(a)
    assert values.pop("quality")["minimum"] == 0.3
    assert values == json.loads(base)


def test_a_limit_that_leaves_nothing_is_refused(normals, tmp_path):
    ids = [spec.sample_id for spec in planned(normals).specs()]
    write_quality(tmp_path / "scores.h5", table_of(dict.fromkeys(ids, 0.25)))
    with pytest.raises(UsageError, match=r"--min-quality 0\.3: leaves out all 20 samples"):
        planned(normals, QualityLimit.read(tmp_path / "scores.h5", 0.3))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_normals(tmp_path_factory.mktemp("my images"), per_category=2)


@pytest.fixture(scope="module")
def full(root, tmp_path_factory):
    """A build of everything; not to be written."""
    out = tmp_path_factory.mktemp("built") / "full"
    done = synthgen(*build_arguments(root, out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def judged(full, tmp_path_factory):
    """Scores of the full build: one sample unknown, and every sample of one shard low."""
    path, dataset = tmp_path_factory.mktemp("judged") / "scores.h5", ShardDataset(full)
    known = scores_of(dataset.ids) | dict.fromkeys(ShardDataset(sorted(full.glob("*.h5"))[0]).ids, 0.125)
    del known["folder/ü/001/crack/0"]
    write_quality(path, table_of(known, shards_sha256=shards_digest(dataset.contents)))
    return path, known


def test_a_build_leaves_out_what_is_scored_low(root, full, judged, tmp_path):
    path, known = judged
    arguments = build_arguments(root, tmp_path / "out", "--quality", path, "--min-quality", 0.4)
    done = synthgen(*arguments)
    assert done.returncode == 0, done.stderr
    everything, kept = ShardDataset(full), ShardDataset(tmp_path / "out", verify=True)
    low = {name for name in everything.ids if known.get(name, 1) < 0.4}
    assert kept.ids == [name for name in everything.ids if name not in low]
    assert f"{len(low)} samples are left out" in done.stderr
    assert "folder/ü/001/crack/0" in kept.ids
    for sample in kept:
        assert_same(sample, everything[everything.index(sample.spec.sample_id)])
    first = sorted((tmp_path / "out").glob("*.h5"))[0]
    assert len(ShardDataset(first)) == 0
    assert synthgen("verify", tmp_path / "out").returncode == 0

    # a build that lost its shards goes on; with other scores, or another limit, it is refused
    whole = tree(tmp_path / "out")
    time.sleep(1.1)  # HDF5 would note times in whole seconds
    for shard in sorted((tmp_path / "out").glob("*.h5"))[:2]:
        shard.unlink()
    write_quality(tmp_path / "other.h5", table_of(known | {"folder/ü/001/crack/0": 0.75}))
    for more in (("--quality", tmp_path / "other.h5", "--min-quality", 0.4), ("--quality", path, "--min-quality", 0.5), ()):
        refused = synthgen(*build_arguments(root, tmp_path / "out", *more))
        assert refused.returncode == 2
        assert "another configuration" in refused.stderr
        assert "quality" in refused.stderr
    assert synthgen(*arguments).returncode == 0
    assert tree(tmp_path / "out") == whole

    replayed = synthgen("replay", kept.ids[-1], "--in", tmp_path / "out")
    assert replayed.returncode == 0, replayed.stderr


def test_a_plan_counts_what_is_left(root, judged):
    path, known = judged
    more = ("--quality", path, "--min-quality", 0.4)
    what = ["plan", *build_arguments(root, "x")[1:-2]]
    plain, limited = (json.loads(synthgen(*what, *extra, "--json").stdout) for extra in ((), more))
    low = sum(value < 0.4 for value in known.values())
    assert limited["samples"] == plain["samples"] - low
    assert limited["below_quality"] == low
    assert "below_quality" not in plain
    listed = synthgen(*what, *more, "--samples")
    assert len(listed.stdout.splitlines()) == limited["samples"]
    assert f"{low} samples are left out" in listed.stderr


def test_view_shows_best_and_worst(full, judged, tmp_path):
    path, known = judged
    done = synthgen("view", full, "--by", "quality", "--quality", path, "-n", 2, "-o", tmp_path / "a.png")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'a.png'}\n"), done.stderr
    assert "note" not in done.stderr
    plain = synthgen("view", full, "-n", 2, "-o", tmp_path / "b.png")
    assert plain.returncode == 0
    sheet, other = (cv2.imread(str(tmp_path / name)) for name in ("a.png", "b.png"))
    assert sheet.shape == other.shape  # two of each of four groups
    assert (sheet != other).any()
    write_quality(tmp_path / "other.h5", table_of(known))
    noted = synthgen("view", full, "--by", "quality", "--quality", tmp_path / "other.h5", "-n", 2, "-o", tmp_path / "c.png")
    assert "note: the scores are not those of exactly the shards" in noted.stderr
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "c.png")), sheet)


def test_errors_name_the_option_and_the_way_out(root, full, judged, tmp_path):
    path, _ = judged
    (tmp_path / "damaged.h5").write_bytes(path.read_bytes()[:-1])
    build = build_arguments(root, tmp_path / "out")
    sheet = ("view", full, "-o", tmp_path / "sheet.png")
    for arguments, status, told in (
        ((*build, "--min-quality", 0.4), 2, ("--quality FILE", "--min-quality")),
        ((*build, "--quality", path), 2, ("--quality FILE", "--min-quality")),
        ((*build, "--quality", path, "--min-quality", 1.5), 2, ("--min-quality 1.5", "0 to 1")),
        ((*build, "--quality", path, "--min-quality", -0.1), 2, ("--min-quality -0.1", "0 to 1")),
        ((*build, "--quality", path, "--min-quality", "nan"), 2, ("--min-quality nan",)),
        ((*build, "--quality", tmp_path / "no.h5", "--min-quality", 0.4), 3, ("no.h5", "detectors score-samples")),
        ((*build, "--quality", tmp_path / "damaged.h5", "--min-quality", 0.4), 4, ("damaged.h5", "detectors score-samples")),
        ((*sheet, "--by", "quality"), 2, ("--by quality", "--quality FILE", "detectors score-samples")),
        ((*sheet, "--quality", path), 2, ("--by quality",)),
        ((*sheet, "--by", "size", "--quality", path), 2, ("--by size",)),
        ((*sheet, "--by", "quality", "--quality", path, "--steps"), 2, ("--by quality", "--steps")),
        ((*sheet, "--by", "quality", "--quality", tmp_path / "no.h5"), 3, ("no.h5",)),
    ):
        done = synthgen(*arguments)
        said = " ".join(done.stderr.split())
        assert done.returncode == status, said
        assert all(part in said for part in told), said
    assert not (tmp_path / "out").exists()
