"""Shards hold what was written into them, for our reader and for plain h5py, whatever the layout."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthgen.errors import InputDataError, IntegrityError, StorageError, UsageError
from synthgen.samples import NormalImage, Sample, SampleSpec
from synthgen.shards import ShardDataset, ShardInfo, ShardWriter, collate, verify
from synthgen.shards.layout import columns
from tests.support.shard_samples import assert_same, make_header, make_normal, make_sample, make_set, write_shard

KINDS = ("local", "whole", "rejected", "local", "local", "rejected", "whole", "local")
LAYOUTS = ({}, {"base_compression": "gzip"}, {"layout": "dense"})
sides = st.integers(16, 130)


@given(
    size=st.tuples(sides, sides),
    n_normals=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(["local", "whole", "rejected"]), max_size=9),
    options=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, size, n_normals, kinds, options, seed):
    normals, samples = make_set(size, n_normals, kinds, seed)
    info = write_shard(tmp_path / "a.h5", normals, samples, **options)
    dataset = ShardDataset(tmp_path / "a.h5", verify=True)
    assert len(dataset) == info.n == len(samples)
    for written, read in zip(samples, dataset, strict=True):
        assert_same(written, read)
    dataset.close()


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("size", [(150, 131), (64, 200), (16, 16)])
def test_plain_h5py_reads_the_same(tmp_path, size, options):
    normals, samples = make_set(size, 3, KINDS)
    write_shard(tmp_path / "a.h5", normals, samples, **options)
    with h5py.File(tmp_path / "a.h5") as f:
        for i, sample in enumerate(samples):
            image = f["image"][i] if "image" in f else f["base"][f["base_index"][i]] + f["delta"][i]
            normal = image - f["delta"][i] if "image" in f else f["base"][f["normal_index"][i]]
            np.testing.assert_array_equal(image, sample.image)
            np.testing.assert_array_equal(normal, sample.normal)
            np.testing.assert_array_equal(f["mask"][i], sample.mask)
            assert json.loads(f["meta/params"][i]) == sample.params
            assert f["meta/sample_id"].asstr()[i] == sample.spec.sample_id
        assert {len(f[path]) for path in columns(f.attrs["layout"].decode())} == {len(samples)}


def test_unchanged_tiles_take_no_space(tmp_path):
    size = (512, 512)
    normal = make_normal(size, 0)
    samples = [make_sample(normal, k, kind="rejected") for k in range(20)]
    image, mask = normal.pixels.copy(), np.zeros(size, np.uint8)
    mask[[0, -1], [0, -1]] = 1
    image[mask > 0] ^= 128
    samples.append(replace(samples[0], image=image, mask=mask, box=(0, 0, *size), area=2, rejected=""))
    with ShardWriter(tmp_path / "a.h5", make_header(size), 21, 1) as writer:
        row = writer.add_normal(normal)
        for sample in samples:
            writer.add_sample(sample, row)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["delta"].id.get_num_chunks() == file["mask"].id.get_num_chunks() == 2
    assert_same(ShardDataset(tmp_path / "a.h5")[20], samples[20])


def test_same_samples_make_the_same_bytes_in_every_process(tmp_path):
    normals, samples = make_set((70, 50), 3, KINDS)
    here = [write_shard(tmp_path / name, normals, samples) for name in ("a.h5", "b.h5")]
    assert replace(here[1], name="a.h5") == here[0]
    assert hashlib.sha256((tmp_path / "a.h5").read_bytes()).hexdigest() == here[0].sha256
    code = (
        "import sys, pathlib; from tests.support.shard_samples import *\n"
        f"n, s = make_set((70, 50), 3, {KINDS!r}); write_shard(pathlib.Path(sys.argv[1]), n, s)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code, tmp_path / "c.h5"], check=True, env={**os.environ, "PYTHONPATH": path})
    assert (tmp_path / "c.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_content_hash_does_not_depend_on_the_layout(tmp_path):
    normals, samples = make_set((70, 50), 3, KINDS)
    infos = [write_shard(tmp_path / f"{k}.h5", normals, samples, **options) for k, options in enumerate(LAYOUTS)]
    assert len({info.content_sha256 for info in infos}) == 1
    assert len({info.sha256 for info in infos}) == 3
    newer = write_shard(tmp_path / "v.h5", normals, samples, header=make_header((70, 50), generator="synthgen 10"))
    assert newer.content_sha256 == infos[0].content_sha256


def test_content_hash_sees_every_part(tmp_path):
    normals, samples = make_set((40, 40), 1, ["local", "local"])
    y0, x0, _, _ = samples[1].box
    image = samples[1].image.copy()
    image[y0, x0] ^= 64
    variants = [
        samples,
        samples[::-1],
        samples[:1],
        [samples[0], replace(samples[1], image=image)],
        [samples[0], replace(samples[1], params={})],
        [samples[0], replace(samples[1], attempt=3)],
        [samples[0], replace(samples[1], contrast=1.0)],
    ]
    hashes = {write_shard(tmp_path / "a.h5", normals, variant).content_sha256 for variant in variants}
    hashes.add(write_shard(tmp_path / "a.h5", normals, samples, header=make_header((40, 40), seed=6)).content_sha256)
    assert len(hashes) == len(variants) + 1


def test_content_hash_is_a_promise(tmp_path):
    """The same samples have this hash in every version that writes layout version 1, with any numpy, HDF5 and zlib."""
    ramp = np.arange(20 * 24 * 3, dtype=np.uint32).reshape(20, 24, 3)
    normal = NormalImage("set", "nut", "good/0.png", "0" * 64, (ramp * 7 % 251).astype(np.uint8))
    image, mask = normal.pixels.copy(), np.zeros((20, 24), np.uint8)
    image[3:9, 5:11] += 40
    mask[4:8, 5:11] = 1
    spec = SampleSpec(
        sample_id="set/nut/0/crack/0",
        dataset="set",
        category="nut",
        source="good/0.png",
        type="crack",
        replica=0,
        size=(20, 24),
        generator="crack 1",
    )
    params = {"b": [1, 0.1], "a": "ä"}
    sample = Sample(
        spec=spec,
        image=image,
        mask=mask,
        normal=normal.pixels,
        box=(3, 5, 9, 11),
        params=params,
        attempt=1,
        area=24,
        contrast=40.0,
        visible=0.9,
        source_sha256="0" * 64,
    )
    info = write_shard(tmp_path / "a.h5", [normal], [sample])
    assert info.content_sha256 == "94e0c815846a8f76daada5b3153df133e46b979ec754ed7f0ea232988cf54a97"


def test_a_shard_without_samples(tmp_path):
    with ShardWriter(tmp_path / "a.h5", make_header((40, 40)), 0, 0) as writer:
        writer.add_unreadable("set/nut/0009", "good/9.png", "truncated")
    assert list(ShardDataset(tmp_path / "a.h5", verify=True)) == []
    assert verify(tmp_path / "a.h5") == []


def test_unreadable_samples_are_listed_and_have_no_row(tmp_path):
    normals, samples = make_set((40, 40), 1, ["local"])
    with ShardWriter(tmp_path / "a.h5", make_header((40, 40)), 2, 2) as writer:
        writer.add_sample(samples[0], writer.add_normal(normals[0]))
        writer.add_unreadable("set/nut/0009", "good/9.png", "truncated")
    dataset = ShardDataset(tmp_path / "a.h5")
    assert dataset.ids == ["set/nut/0000"]
    with h5py.File(tmp_path / "a.h5") as f:
        assert json.loads(f.attrs["unreadable_json"]) == [
            {"sample_id": "set/nut/0009", "source": "good/9.png", "reason": "truncated"}
        ]
    assert verify(tmp_path / "a.h5") == []


def many_shards(folder, sizes=((40, 40),) * 3):
    written, infos = [], []
    for k, size in enumerate(sizes):
        normals, samples = make_set(size, 2, ("local", "whole", "rejected"), seed=k)
        samples = [replace(s, spec=replace(s.spec, sample_id=f"{k}/{i}")) for i, s in enumerate(samples)]
        infos.append(write_shard(folder / f"s{k}.h5", normals, samples, layout="dense" if k == 1 else "delta"))
        written += samples
    return written, infos


def write_manifest(folder, infos):
    (folder / "manifest.json").write_text(json.dumps({"shards": [info.to_json() for info in infos]}))


def test_folder_is_one_sequence(tmp_path):
    written, infos = many_shards(tmp_path)
    for manifest in (False, True):
        if manifest:
            write_manifest(tmp_path, infos)
        dataset = ShardDataset(tmp_path, verify=True)
        assert len(dataset) == 9
        assert_same(dataset[-1], written[8])
        assert_same(dataset[np.int64(4)], written[4])
        assert [sample.spec.sample_id for sample in dataset[2:5]] == ["0/2", "1/0", "1/1"]
        assert dataset.ids == [sample.spec.sample_id for sample in written]
        assert dataset.index("2/1") == 7
        assert dataset.column("area").tolist() == [sample.area for sample in written]
        assert dataset.column("type").tolist() == [sample.spec.type for sample in written]
        assert dataset.column("rejected").tolist() == [sample.rejected for sample in written]
        assert dataset.column("bbox").tolist() == [list(sample.box) for sample in written]
        assert [header.config_json for header in dataset.headers] == ['{"a":1}'] * 3
        normals = list(dataset.normals())
        assert len(normals) == 6
        np.testing.assert_array_equal(normals[0].pixels, written[0].normal)
        for wrong in (9, -10):
            with pytest.raises(IndexError):
                dataset[wrong]
        with pytest.raises(ValueError, match="nowhere"):
            dataset.index("nowhere")
        with pytest.raises(UsageError, match="'area'"):
            dataset.column("aera")
    listed = ShardDataset([tmp_path / "s2.h5", tmp_path / "s0.h5"])
    assert listed.ids[0] == "2/0"


def test_manifest_is_the_truth(tmp_path):
    _, infos = many_shards(tmp_path)
    write_manifest(tmp_path, infos[:2])
    assert len(ShardDataset(tmp_path)) == 6
    assert [(f.shard, f.problem) for f in verify(tmp_path, deep=False)] == [("s2.h5", "manifest.json does not list it")]
    (tmp_path / "s1.h5").unlink()
    with pytest.raises(IntegrityError, match=r"s1\.h5.*missing"):
        ShardDataset(tmp_path)
    write_manifest(tmp_path, [replace(infos[0], name="../s0.h5")])
    with pytest.raises(IntegrityError, match="not the name of a file"):
        ShardDataset(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        ShardDataset(tmp_path)


def test_nothing_there_is_an_input_error(tmp_path):
    for path in (tmp_path, tmp_path / "no.h5"):
        with pytest.raises(InputDataError, match=str(path)):
            ShardDataset(path)


def test_batches_hold_the_samples(tmp_path):
    written, _ = many_shards(tmp_path)
    batch = ShardDataset(tmp_path, fields=("image", "normal", "mask")).__getitems__([8, 0, 3, 3])
    for k, i in enumerate([8, 0, 3, 3]):
        for field in ("image", "mask", "normal"):
            np.testing.assert_array_equal(batch.arrays[field][k], getattr(written[i], field))
        assert (batch.label[k], batch.type[k], batch.sample_id[k]) == (
            written[i].label,
            written[i].spec.type,
            written[i].spec.sample_id,
        )
    assert set(ShardDataset(tmp_path).__getitems__([0]).arrays) == {"image", "mask"}
    with pytest.raises(UsageError, match="depth"):
        ShardDataset(tmp_path, fields=("depth",))


def test_batches_of_two_sizes_are_refused(tmp_path):
    many_shards(tmp_path, ((40, 40), (40, 48)))
    with pytest.raises(UsageError, match="one size"):
        ShardDataset(tmp_path).__getitems__([0, 3])


def test_pickled_copy_reads(tmp_path):
    written, _ = many_shards(tmp_path)
    dataset = ShardDataset(tmp_path)
    dataset[0]
    assert_same(pickle.loads(pickle.dumps(dataset))[5], written[5])


def test_a_forked_process_opens_files_of_its_own(tmp_path, monkeypatch):
    written, _ = many_shards(tmp_path)
    dataset = ShardDataset(tmp_path)
    dataset[0]
    parents = list(dataset._open.values())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert_same(dataset[0], written[0])
    assert not set(parents) & set(dataset._open.values())


def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("synthgen.shards.reader._MOST_OPEN", 2)
    written, _ = many_shards(tmp_path)
    dataset = ShardDataset(tmp_path)
    for i in (0, 3, 6, 1, 4, 8, 0):
        assert_same(dataset[i], written[i])
        assert len(dataset._open) <= 2


def test_samples_that_contradict_themselves_are_refused(tmp_path):
    normals, (sample,) = make_set((40, 40), 2, ["local"])
    wrong = {
        "area": replace(sample, area=sample.area + 1),
        "box": replace(sample, box=(0, 0, 41, 40)),
        "rejected": replace(sample, rejected="no"),
        "pixels": replace(sample, image=sample.image[:39]),
        "category": replace(sample, spec=replace(sample.spec, category="bolt")),
    }
    for match, bad in wrong.items():
        with pytest.raises(ValueError, match=match):
            write_shard(tmp_path / "a.h5", normals, [bad])
    with pytest.raises(ValueError, match="JSON"):
        write_shard(tmp_path / "a.h5", normals, [replace(sample, params={"a": float("nan")})])
    with ShardWriter(tmp_path / "b.h5", make_header((40, 40)), 1, 2) as writer:
        other = writer.add_normal(normals[1])
        with pytest.raises(ValueError, match="normal image"):
            writer.add_sample(sample, other)
    (tmp_path / "b.h5").unlink()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_shard_survives_a_failed_writer(tmp_path):
    normals, samples = make_set((40, 40), 1, ["local"])
    info = write_shard(tmp_path / "a.h5", normals, samples)
    with pytest.raises(KeyError), ShardWriter(tmp_path / "a.h5", make_header((40, 40)), 1, 1) as writer:
        writer.add_sample(samples[0], 0)
    assert verify(tmp_path / "a.h5") == []
    assert [file.name for file in tmp_path.iterdir()] == [info.name]


def test_no_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"no/a\.h5"):
        ShardWriter(tmp_path / "no" / "a.h5", make_header((40, 40)), 1, 1)


def test_info_survives_json():
    info = ShardInfo("a.h5", 3, 100, "ab", "cd")
    assert ShardInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_reading_needs_no_torch():
    code = "import sys, synthgen.shards; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_collate_stacks_samples(tmp_path):
    pytest.importorskip("torch")
    _, samples = make_set((20, 30), 1, ["local", "rejected"])
    batch = collate(samples)
    assert batch["image"].shape == batch["normal"].shape == (2, 20, 30, 3)
    assert batch["label"].tolist() == [1, 0]
    assert batch["sample_id"] == ["set/nut/0000", "set/nut/0001"]


@pytest.mark.parametrize("options", LAYOUTS)
def test_who_else_holds_a_data_set_changes_no_byte(options, tmp_path, monkeypatch):
    """A profiler in another thread keeps references now and then; HDF5 closes a data set with the last one."""
    made = make_set((70, 50), 2, KINDS)
    write_shard(tmp_path / "a.h5", *made, **options)
    held, plain = [], h5py.Group.create_dataset

    def holding(*arguments, **named):
        held.append(plain(*arguments, **named))
        return held[-1]

    monkeypatch.setattr(h5py.Group, "create_dataset", holding)
    write_shard(tmp_path / "b.h5", *made, **options)
    assert held
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
