"""Scores beside shards: joined by id; damaged and hostile files of them; shards without them stay as they are."""

import json
import pickle
import random
import shutil

import h5py
import numpy as np
import pytest

from synthgen.errors import InputDataError, IntegrityError, StorageError, UsageError
from synthgen.report.sheet import Selection, choose
from synthgen.shards import ShardDataset, collate, read_quality, shards_digest, write_quality
from synthgen.shards.storage import seal
from tests.support.quality_scores import scores_of, table_of
from tests.support.shard_samples import assert_same, make_set, write_shard

COLUMNS = ("quality", "loss_mean", "loss_deviation", "anomaly_loss", "seen")


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
