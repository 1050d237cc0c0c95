"""Scores beside shards: joined by id, looked at, and built by; shards and plans without them stay as they are."""

import json
import pickle
import random
import shutil
import time

import cv2
import h5py
import numpy as np
import pytest

from synthgen.decide import decide
from synthgen.errors import InputDataError, IntegrityError, StorageError, UsageError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.report.sheet import Selection, choose
from synthgen.shards import QualityLimit, QualityTable, ShardDataset, collate, read_quality, shards_digest, write_quality
from synthgen.shards.storage import seal
from synthgen.synthesis import SynthesisDataset
from tests.support.builders import build_folder
from tests.support.commands import build_arguments, build_normals, synthgen, tree
from tests.support.shard_samples import assert_same, make_set, write_shard

COLUMNS = ("quality", "loss_mean", "loss_deviation", "anomaly_loss", "seen")


def table_of(qualities, **changes):
    """A table with these qualities by id."""
    n = len(qualities)
    values = {
        "sample_id": tuple(qualities),
        "quality": np.array(list(qualities.values()), np.float32),
        "loss_mean": np.linspace(0, 3, n, dtype=np.float32),
        "loss_deviation": np.full(n, 0.5, np.float32),
        "anomaly_loss": np.full(n, np.nan, np.float32),
        "seen": np.arange(n, dtype=np.uint32),
        "made_by": "bisqad 1",
        "config_json": '{"seed":3}',
        "shards_sha256": "0" * 64,
    }
    return QualityTable(**values | changes)


def scores_of(ids, seed=0):
    return dict(zip(ids, np.random.default_rng(seed).random(len(ids), np.float32).tolist(), strict=True))


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.h5"
    write_quality(path, table_of(scores_of([f"set/nut/ü{k}" for k in range(7)])))
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards of four samples each; not to be written."""
    folder, written = tmp_path_factory.mktemp("shards"), []
    normals, samples = make_set((40, 30), 2, ("local", "whole", "rejected", "local") * 2)
    for k in range(2):
        write_shard(folder / f"s{k}.h5", normals, samples[4 * k : 4 * k + 4])
        written += samples[4 * k : 4 * k + 4]
    return folder, written


@pytest.mark.parametrize("n", [0, 1, 300])
def test_what_is_written_is_read(tmp_path, n):
    ids = [f"set/nüt/{k:04}" for k in range(n)]
    table = table_of(scores_of(ids), config_json=json.dumps({"long": "x" * 100_000}))
    write_quality(tmp_path / "a.h5", table)
    read = read_quality(tmp_path / "a.h5")
    assert read.sample_id == table.sample_id
    for name in COLUMNS:
        assert getattr(read, name).dtype == getattr(table, name).dtype
        np.testing.assert_array_equal(getattr(read, name), getattr(table, name))
    assert [getattr(read, name) for name in ("made_by", "config_json", "shards_sha256")] == [
        table.made_by, table.config_json, table.shards_sha256,
    ]  # fmt: skip
    assert read.by_id() == dict(zip(ids, table.quality.tolist(), strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_plain_h5py_reads_it(scores):
    with h5py.File(scores) as file:
        assert file.attrs["format"] == b"synthgen-quality"
        np.testing.assert_array_equal(file["quality"][()], read_quality(scores).quality)
        assert file["sample_id"].asstr()[3] == "set/nut/ü3"


def test_the_same_scores_give_the_same_bytes_in_whatever_order(tmp_path):
    table = table_of(scores_of([f"id{k}" for k in range(20)]))
    order = np.random.default_rng(1).permutation(20)
    columns = {name: getattr(table, name)[order] for name in COLUMNS}
    other = table_of(table.by_id(), sample_id=tuple(table.sample_id[k] for k in order), **columns)
    write_quality(tmp_path / "a.h5", table)
    write_quality(tmp_path / "b.h5", table_of({"old": 0.5}))
    write_quality(tmp_path / "b.h5", other)  # replaces it
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert read_quality(tmp_path / "b.h5").by_id() == table.by_id()


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": np.array([0.1, np.nan], np.float32)},
        {"quality": np.array([0.1, 1.01], np.float32)},
        {"quality": np.array([-0.1, 1.0], np.float32)},
        {"quality": np.array([0.1, 0.2])},
        {"quality": np.array([0.1], np.float32)},
        {"seen": np.zeros(2, np.int64)},
        {"sample_id": ("a", "a")},
    ],
)
def test_a_table_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValueError, match=r"quality|seen|twice"):
        table_of({"a": 0.1, "b": 0.2}, **changes)


def test_every_changed_byte_and_every_cut_is_noticed(scores, tmp_path):
    whole, path = scores.read_bytes(), tmp_path / "a.h5"
    rng = random.Random(0)
    for position in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << rng.randrange(8)]) + whole[position + 1 :])
        with pytest.raises(IntegrityError, match=r"a\.h5.*detectors score-samples"):
            read_quality(path)
    for end in [0, 1, 50, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(IntegrityError, match=r"a\.h5"):
            read_quality(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(IntegrityError, match=r"a\.h5"):
        read_quality(path)


def replaced(file, name, **new):
    del file[name]
    file.create_dataset(name, **new)


def linked(file, name, link):
    del file[name]
    file[name] = link


def with_attribute(file, name, value):
    file.attrs[name] = value


HOSTILE = {
    "other format": lambda f: with_attribute(f, "format", np.bytes_(b"synthgen-shard")),
    "newer": lambda f: with_attribute(f, "format_version", np.int64(2)),
    "other length": lambda f: with_attribute(f, "n", np.int64(6)),
    "extra attribute": lambda f: with_attribute(f, "extra", 1),
    "text of any length": lambda f: with_attribute(f, "made_by", "any"),
    "missing column": lambda f: f.pop("seen"),
    "extra column": lambda f: f.create_dataset("extra", data=[1]),
    "external storage": lambda f: replaced(f, "seen", shape=(7,), dtype="<u4", external=[("/etc/passwd", 0, 28)]),
    "external link": lambda f: linked(f, "seen", h5py.ExternalLink("/etc/passwd", "/x")),
    "soft link": lambda f: linked(f, "loss_mean", h5py.SoftLink("/quality")),
    "other type": lambda f: replaced(f, "quality", data=np.zeros(7)),
    "wide text": lambda f: replaced(f, "sample_id", shape=(7,), dtype="S2000000", chunks=(7,), compression="gzip"),
    "1 TiB": lambda f: replaced(f, "quality", shape=(1 << 38,), dtype="<f4", chunks=(1 << 16,)),
    "other filter": lambda f: replaced(f, "quality", data=np.zeros(7, "<f4"), chunks=(7,), compression="lzf"),
    "no number": lambda f: f["quality"].write_direct(np.full(7, np.nan, np.float32)),
    "too good": lambda f: f["quality"].write_direct(np.full(7, 2, np.float32)),
    "no text": lambda f: f["sample_id"].write_direct(np.full(7, b"\xff", f["sample_id"].dtype)),
    "twice": lambda f: f["sample_id"].write_direct(np.full(7, b"a", f["sample_id"].dtype)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(scores, tmp_path, what):
    path = tmp_path / "a.h5"
    shutil.copy(scores, path)
    with h5py.File(path, "r+") as file:
        HOSTILE[what](file)
    seal(path)
    with pytest.raises(IntegrityError, match=r"a\.h5.*detectors score-samples"):
        read_quality(path)


def test_other_files_and_missing_ones_name_the_way_out(shards, tmp_path):
    (tmp_path / "notes.txt").write_text("fine")
    for path in (shards[0] / "s0.h5", tmp_path / "notes.txt"):
        with pytest.raises(IntegrityError, match="quality scores"):
            read_quality(path)
    with pytest.raises(InputDataError, match=r"nowhere\.h5.*`detectors score-samples RUN --shards DIR`"):
        read_quality(tmp_path / "nowhere.h5")
    with pytest.raises(InputDataError, match="cannot be read"):
        read_quality(tmp_path)
    with pytest.raises(StorageError, match=r"no/scores\.h5"):
        write_quality(tmp_path / "no/scores.h5", table_of({}))
    with pytest.raises(StorageError, match="cannot be written"):
        write_quality(tmp_path / "notes.txt/scores.h5", table_of({}))


def test_scores_are_joined_by_id(shards, tmp_path):
    folder, written = shards
    ids = [sample.spec.sample_id for sample in written]
    known = scores_of([*ids[:3], *ids[5:], "set/nut/elsewhere"])  # two are missing, one is of no shard here
    write_quality(tmp_path / "scores.h5", table_of(known))
    expected = [known.get(name) for name in ids]
    for quality in (tmp_path / "scores.h5", str(tmp_path / "scores.h5"), read_quality(tmp_path / "scores.h5")):
        dataset = ShardDataset(folder, quality=quality, fields=("image",))
        copy = pickle.loads(pickle.dumps(dataset))
        for one in (dataset, copy):
            column = one.column("quality")
            assert column.dtype == np.float32
            np.testing.assert_array_equal(column, np.array([np.nan if q is None else q for q in expected], np.float32))
            assert [sample.quality for sample in one] == expected
            batch = one.__getitems__([6, 3, 0])
            np.testing.assert_array_equal(batch.quality, column[[6, 3, 0]])
            for read, sample in zip(one, written, strict=True):
                assert_same(read, sample)
    sample = pickle.loads(pickle.dumps(dataset[0]))
    assert sample.quality == expected[0]


def test_without_scores_nothing_is_there(shards):
    dataset = ShardDataset(shards[0])
    assert {sample.quality for sample in dataset} == {None}
    assert dataset.__getitems__([0, 1]).quality is None
    with pytest.raises(UsageError, match="quality"):
        dataset.column("quality")


def test_a_scored_sample_is_written_as_the_same_shard(shards, tmp_path):
    scored = ShardDataset(shards[0] / "s0.h5", quality=table_of(scores_of([s.spec.sample_id for s in shards[1]])))
    normals, _ = make_set((40, 30), 2, ("local",))
    write_shard(tmp_path / "again.h5", normals, list(scored))
    assert (tmp_path / "again.h5").read_bytes() == (shards[0] / "s0.h5").read_bytes()


def test_the_digest_of_shards_is_that_of_their_samples(shards, tmp_path):
    contents = ShardDataset(shards[0]).contents
    shutil.copy(shards[0] / "s0.h5", tmp_path / "z.h5")
    shutil.copy(shards[0] / "s1.h5", tmp_path / "a.h5")
    assert ShardDataset(tmp_path).contents == contents[::-1]
    assert shards_digest(ShardDataset(tmp_path).contents) == shards_digest(contents)
    assert shards_digest(contents[:1]) != shards_digest(contents)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_hands_out_the_quality(shards, workers):
    torch = pytest.importorskip("torch")
    folder, written = shards
    known = scores_of([sample.spec.sample_id for sample in written[:5]])

    def loader(dataset, start="spawn" if workers else None):
        return torch.utils.data.DataLoader(
            dataset, batch_size=3, collate_fn=collate, num_workers=workers, multiprocessing_context=start
        )

    batches = list(loader(ShardDataset(folder, quality=table_of(known))))
    assert {batch["quality"].dtype for batch in batches} == {torch.float32}
    found = torch.cat([batch["quality"] for batch in batches]).numpy()
    expected = [known.get(sample.spec.sample_id, np.nan) for sample in written]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert all("quality" not in batch for batch in loader(ShardDataset(folder)))


def test_samples_are_stacked_with_their_quality(shards):
    torch = pytest.importorskip("torch")
    dataset = ShardDataset(shards[0], quality=table_of({shards[1][1].spec.sample_id: 0.25}))
    assert torch.equal(collate(dataset[1:2])["quality"], torch.tensor([0.25]))
    assert torch.isnan(collate(dataset[0:2])["quality"]).tolist() == [True, False]
    assert "quality" not in collate(dataset[2:4])


def test_best_and_worst_are_chosen_of_each_group():
    nan = float("nan")
    qualities = [0.1, 0.9, nan, 0.5, 0.3, 0.7, 1.0, 0.2, 0.4]
    types = ["crack"] * 7 + ["dent"] * 2
    labels = [1, 1, 1, 1, 1, 1, 0, 1, 1]  # the best one was rejected

    def chosen(n):
        return choose(["nut"] * 9, types, labels, Selection(per_group=n), qualities)

    assert chosen(1) == [1, 8]
    assert chosen(2) == [1, 0, 8, 7]
    assert chosen(3) == [1, 5, 0, 8, 7]
    assert chosen(4) == [1, 5, 4, 0, 8, 7]
    assert chosen(50) == [1, 5, 3, 4, 0, 8, 7]
    with pytest.raises(InputDataError, match="known quality"):
        choose(["nut"] * 9, types, labels, Selection(), [nan] * 9)


# what is built by scores


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
