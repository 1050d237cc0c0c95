"""Whatever happens to a shard's bytes is reported; whatever a file asks for, it cannot harm who reads it."""

import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from synthgen.errors import IntegrityError
from synthgen.shards import ShardDataset, schema, verify
from synthgen.shards.inspection import inspect_shard
from synthgen.shards.layout import columns
from synthgen.shards.storage import seal
from tests.support.builders import snapshot
from tests.support.commands import synthgen
from tests.support.shard_samples import make_header, make_set, write_shard

KINDS = ("local", "whole", "rejected", "local")


@pytest.fixture(scope="module", params=["delta", "dense"])
def shard(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "a.h5"
    normals, samples = make_set((90, 70), 2, KINDS)
    write_shard(path, normals, samples, layout=request.param)
    return path


def flip(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def scribble(data, rng):
    for _ in range(3):
        data[rng.randrange(min(4096, len(data)))] ^= rng.randrange(1, 256)


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def zero_page(data, rng):
    start = rng.randrange(0, len(data), 4096)
    length = len(data[start : start + 4096])
    before = bytes(data[start : start + 4096])
    data[start : start + 4096] = bytes(length) if any(before) else b"\1" * length


@pytest.mark.parametrize("damage", [flip, scribble, truncate, zero_page])
def test_every_damage_is_reported(shard, tmp_path, damage):
    whole = shard.read_bytes()
    path = tmp_path / "a.h5"
    for seed in range(100):
        data = bytearray(whole)
        damage(data, random.Random(seed))
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match=r"a\.h5"):
            ShardDataset(path, verify=True)


def test_every_single_byte_counts(tmp_path):
    normals, samples = make_set((16, 16), 1, ["local"])
    path = tmp_path / "a.h5"
    write_shard(path, normals, samples)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        with pytest.raises(IntegrityError):
            ShardDataset(path, verify=True)


def test_verify_names_shard_and_sample(shard, tmp_path):
    path = tmp_path / "b.h5"
    with h5py.File(shard) as file:
        offset = file["delta"].id.get_chunk_info(0).byte_offset
    data = bytearray(shard.read_bytes())
    data[offset + 20] ^= 1
    path.write_bytes(data)
    assert verify(shard) == []
    findings = verify(path)
    assert {finding.shard for finding in findings} == {"b.h5"}
    assert {finding.sample_id for finding in findings} == {None, "set/nut/0000"}
    assert [finding.sample_id for finding in verify(path, deep=False)] == [None]


def test_verify_names_the_samples_of_a_base_row(tmp_path):
    normals, samples = make_set((90, 70), 2, KINDS)
    write_shard(tmp_path / "a.h5", normals, samples)
    with h5py.File(tmp_path / "a.h5") as file:
        offset = file["base"].id.get_chunk_info(1).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[offset + 100] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    findings = verify(tmp_path / "a.h5")
    assert {finding.sample_id for finding in findings} == {None, "set/nut/0002", "set/nut/0003"}
    assert any("row 1 of /base" in finding.problem for finding in findings)


def test_exchanged_and_stale_shards_are_reported(tmp_path):
    infos = []
    for k in range(3):
        normals, samples = make_set((40, 40), 1, ["local"] * (2 if k < 2 else 3), seed=k)
        infos.append(write_shard(tmp_path / f"s{k}.h5", normals, samples))
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"shards": [info.to_json() for info in infos]}))
    assert verify(tmp_path) == []
    (tmp_path / "s0.h5").rename(tmp_path / "x")
    (tmp_path / "s1.h5").rename(tmp_path / "s0.h5")
    (tmp_path / "x").rename(tmp_path / "s1.h5")
    assert {finding.shard for finding in verify(tmp_path)} == {"s0.h5", "s1.h5"}
    with pytest.raises(IntegrityError, match="not the shard"):
        ShardDataset(tmp_path)[0]
    shutil.copy(tmp_path / "s0.h5", tmp_path / "s2.h5")
    (tmp_path / "s1.h5").unlink()
    findings = verify(tmp_path)
    assert {finding.shard for finding in findings} == {"s0.h5", "s1.h5", "s2.h5"}
    assert any("missing" in finding.problem for finding in findings)


def replaced(file, path, **new):
    del file[path]
    file.create_dataset(path, **new)


def linked(file, path, link):
    del file[path]
    file[path] = link


def changed(file, path, value):
    file[path][0] = value


def set_attribute(file, name, value):
    del file.attrs[name]
    file.attrs[name] = value


def virtual(file):
    layout = h5py.VirtualLayout(file["mask"].shape, "u1")
    layout[:] = h5py.VirtualSource("other.h5", "mask", file["mask"].shape)
    del file["mask"]
    file.create_virtual_dataset("mask", layout)


def deep_groups(file):
    group = file
    for _ in range(300):
        group = group.create_group("g")


def half_a_tebibyte(file):
    n = 1 << 39
    set_attribute(file, "n", np.int64(n))
    replaced(file, "label", shape=(n,), dtype="u1")


N = len(KINDS)
HOSTILE = {
    "external storage": lambda f: replaced(f, "label", shape=(N,), dtype="u1", external=[("/etc/passwd", 0, N)]),
    "external link": lambda f: linked(f, "meta/params", h5py.ExternalLink("/etc/passwd", "/x")),
    "external link to a shard": lambda f: linked(f, "mask", h5py.ExternalLink("other.h5", "/mask")),
    "soft link": lambda f: linked(f, "mask", h5py.SoftLink("/delta")),
    "loop": lambda f: linked(f, "meta/params", f["meta"]),
    "virtual": virtual,
    "512 GiB": half_a_tebibyte,
    "long column": lambda f: replaced(f, "label", shape=(1 << 40,), dtype="u1", chunks=(1 << 16,)),
    "unfilled column": lambda f: replaced(f, "label", shape=(N,), dtype="u1", fillvalue=7),
    "object type": lambda f: replaced(f, "meta/params", data=["{}"] * N, dtype=h5py.string_dtype()),
    "compound type": lambda f: replaced(f, "label", data=np.zeros(N, [("a", "u1")])),
    "wide text": lambda f: replaced(f, "meta/source", shape=(N,), dtype="S2000000", chunks=(N,), compression="gzip"),
    "other filter": lambda f: replaced(f, "mask", shape=(N, 90, 70), dtype="u1", chunks=(1, 90, 70), compression="lzf"),
    "two filters": lambda f: replaced(
        f, "mask", shape=(N, 90, 70), dtype="u1", chunks=(1, 90, 70), compression="gzip", shuffle=True
    ),
    "other chunks": lambda f: replaced(f, "mask", shape=(N, 90, 70), dtype="u1", chunks=(N, 90, 70), compression="gzip"),
    "no filter": lambda f: replaced(f, "mask", shape=(N, 90, 70), dtype="u1", chunks=(1, 90, 70)),
    "deep groups": deep_groups,
    "extra data": lambda f: f.create_dataset("extra", data=[1]),
    "missing data": lambda f: f.pop("mask"),
    "group as data": lambda f: (f.pop("mask"), f.create_group("mask")),
    "huge image": lambda f: set_attribute(f, "image_size", np.array([1 << 20, 1 << 20])),
    "incomplete": lambda f: set_attribute(f, "complete", np.bool_(False)),
    "newer": lambda f: set_attribute(f, "format_version", np.int64(2)),
    "text of any length": lambda f: set_attribute(f, "licence", "any"),
    "extra attribute": lambda f: f.attrs.create("extra", 1),
    "names of any length": lambda f: f["type"].attrs.create("names", ["a"], dtype=h5py.string_dtype()),
    "other configuration": lambda f: set_attribute(f, "config_json", np.bytes_(b"{}")),
    "box outside": lambda f: changed(f, "bbox", [0, 0, 91, 70]),
    "box turned": lambda f: changed(f, "bbox", [50, 0, 20, 70]),
    "type outside": lambda f: changed(f, "type", 9),
    "deep params": lambda f: replaced(f, "meta/params", data=np.array([b"[" * 100_000] * N), chunks=(N,), compression="gzip"),
    "no params": lambda f: changed(f, "meta/params", b"{"),
    "no text": lambda f: changed(f, "meta/sample_id", b"\xff"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(shard, tmp_path, what):
    path = Path(shutil.copy(shard, tmp_path / "a.h5"))
    shutil.copy(shard, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        HOSTILE[what](file)
    seal(path)
    with pytest.raises(IntegrityError, match=r"a\.h5"):
        read_everything(path)
    assert next(inspect_shard(path)).shard == "a.h5"


def read_everything(path):
    dataset = ShardDataset(path, verify=True)
    for column in columns("dense"):
        dataset.column(column.rpartition("/")[2])
    for _ in dataset:
        pass


def test_index_outside_is_refused(tmp_path):
    normals, samples = make_set((40, 40), 1, ["local"])
    write_shard(tmp_path / "a.h5", normals, samples)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["base_index"][0] = 5
    seal(tmp_path / "a.h5")
    with pytest.raises(IntegrityError, match="base_index"):
        ShardDataset(tmp_path / "a.h5", verify=True)[0]


def test_verify_checks_what_samples_say_of_themselves(shard, tmp_path):
    lies = {
        "its label contradicts": lambda f: changed(f, "label", 0),
        "another area": lambda f: changed(f, "meta/area", 1),
        "outside its box": lambda f: changed(f, "bbox", f["bbox"][0] + [0, 1, 0, 0]),
        "not the sample that was written": lambda f: changed(f, "meta/attempt", 6),
        "not the smallest": lambda f: changed(f, "bbox", [0, 0, 90, 70]),
        "did not change": lambda f: f["mask"].write_direct(np.ones((90, 70), np.uint8), dest_sel=np.s_[0]),
        "is there 2 times": lambda f: changed(f, "meta/sample_id", f["meta/sample_id"][1]),
    }
    for k, (problem, lie) in enumerate(lies.items()):
        path = Path(shutil.copy(shard, tmp_path / f"{k}.h5"))
        with h5py.File(path, "r+") as file:
            lie(file)
        seal(path)
        found = [finding.problem for finding in inspect_shard(path)]
        assert any(problem in text for text in found), (problem, found)


@pytest.mark.parametrize(
    ("code", "problem"),
    [("while True: pass", "more than 1 s"), ("import os; os.abort()", "crashed"), ("x = bytearray(1 << 40)", "MemoryError")],
)
def test_verify_survives_its_child(shard, monkeypatch, code, problem):
    monkeypatch.setattr(sys.modules[verify.__module__], "_CHILD", code)
    (finding,) = verify(shard, seconds=1)
    assert problem in finding.problem


def test_verify_limits_memory(shard):
    (finding,) = verify(shard, memory=1 << 26)
    assert finding.shard == "a.h5"
    assert "crashed" in finding.problem


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", "a/b"])
@pytest.mark.parametrize("place", ["dataset", "category", "types"])
def test_names_that_lead_out_of_a_folder_are_refused_by_every_verb(place, name, tmp_path, monkeypatch):
    normals, samples = make_set((40, 40), 1, ("local",))
    change = {place: ("crack", name) if place == "types" else name}
    if place != "types":
        normals = [replace(normal, **change) for normal in normals]
        samples = [replace(sample, spec=replace(sample.spec, **change)) for sample in samples]
    (tmp_path / "set").mkdir()
    with monkeypatch.context() as patched:  # no writer of ours makes such a file
        patched.setattr(schema, "_check_name", lambda name: None)
        write_shard(tmp_path / "set/a.h5", normals, samples, header=replace(make_header((40, 40)), **change))
    before = snapshot(tmp_path)
    for verb in (("export", "--to", "mvtec", "--out", tmp_path / "out/deep"), ("info",), ("view", "-o", tmp_path / "a.png")):
        done = synthgen(verb[0], tmp_path / "set", *verb[1:])
        assert done.returncode == 4, verb
        assert "is no name" in done.stderr
    assert snapshot(tmp_path) == before
