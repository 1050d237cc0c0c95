"""A writer and a reader against a list of samples, under any order of operations."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from synthgen.shards import ShardDataset, ShardWriter
from synthgen.shards.inspection import inspect_shard
from tests.support.shard_samples import assert_same, make_header, make_normal, make_sample

SIZE = (40, 72)


class WriterAndReader(RuleBasedStateMachine):
    @initialize(layout=st.sampled_from(["delta", "dense"]), gzip=st.booleans())
    def start(self, layout, gzip):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "a.h5"
        self.writer = ShardWriter(self.path, make_header(SIZE), 200, 200, layout, "gzip" if gzip else None)
        self.normals, self.samples, self.unreadable = [], [], 0
        self.dataset = None

    @precondition(lambda self: self.dataset is None and len(self.normals) < 90)
    @rule()
    def add_normal(self):
        normal = make_normal(SIZE, len(self.normals))
        self.normals.append((normal, self.writer.add_normal(normal)))

    @precondition(lambda self: self.dataset is None and self.normals and len(self.samples) < 90)
    @rule(data=st.data(), kind=st.sampled_from(["local", "whole", "rejected"]), repainted=st.booleans())
    def add_sample(self, data, kind, repainted):
        normal, row = data.draw(st.sampled_from(self.normals))
        sample = make_sample(normal, len(self.samples), kind=kind)
        self.writer.add_sample(sample, row, repainted=repainted)
        self.samples.append(sample)

    @precondition(lambda self: self.dataset is None)
    @rule()
    def add_unreadable(self):
        self.writer.add_unreadable("x", "y", "z")
        self.unreadable += 1

    @precondition(lambda self: self.dataset is None)
    @rule()
    def finish(self):
        info = self.writer.finish()
        assert (info.n, info.bytes) == (len(self.samples), self.path.stat().st_size)
        assert [*inspect_shard(self.path)] == []
        self.dataset = ShardDataset(self.path, verify=True, fields=("image", "mask", "normal"))

    @precondition(lambda self: self.dataset is not None and self.samples)
    @rule(data=st.data())
    def read_one(self, data):
        i = data.draw(st.integers(-len(self.samples), len(self.samples) - 1))
        assert_same(self.dataset[i], self.samples[i])

    @precondition(lambda self: self.dataset is not None and self.samples)
    @rule(data=st.data())
    def read_batch(self, data):
        indices = data.draw(st.lists(st.integers(0, len(self.samples) - 1), min_size=1, max_size=5))
        batch = self.dataset.__getitems__(indices)
        for field, array in batch.arrays.items():
            np.testing.assert_array_equal(array, np.stack([getattr(self.samples[i], field) for i in indices]))

    @precondition(lambda self: self.dataset is not None)
    @rule()
    def close(self):
        self.dataset.close()

    @invariant()
    def there_or_not(self):
        if hasattr(self, "path"):
            assert self.path.exists() == (self.dataset is not None)
            assert self.dataset is None or self.dataset.ids == [s.spec.sample_id for s in self.samples]

    def teardown(self):
        if hasattr(self, "folder"):
            if self.dataset is not None:
                self.dataset.close()
            else:
                self.writer.abandon()
                assert list(Path(self.folder.name).iterdir()) == []
            self.folder.cleanup()


TestWriterAndReader = WriterAndReader.TestCase
TestWriterAndReader.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
