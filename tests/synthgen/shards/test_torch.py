"""Shards feed a PyTorch DataLoader, whatever way its workers start."""

import numpy as np
import pytest

from synthgen.shards import ShardDataset, collate
from tests.support.shard_samples import make_set, write_shard

torch = pytest.importorskip("torch")


@pytest.fixture
def shards(tmp_path):
    written = []
    for k in range(2):
        normals, samples = make_set((70, 50), 2, ("local", "whole", "rejected", "local"), seed=k)
        write_shard(tmp_path / f"s{k}.h5", normals, samples)
        written += samples
    return tmp_path, written


def assert_epoch(loader, written):
    seen = 0
    for batch in loader:
        assert batch["image"].dtype == torch.uint8
        for k, _ in enumerate(batch["sample_id"]):
            sample = written[seen]
            np.testing.assert_array_equal(batch["image"][k].numpy(), sample.image)
            np.testing.assert_array_equal(batch["mask"][k].numpy(), sample.mask)
            assert (batch["type"][k], int(batch["label"][k])) == (sample.spec.type, sample.label)
            seen += 1
    assert seen == len(written)


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (1, "forkserver"), (1, "spawn")])
# Python 3.12 and later warn of forks in processes with threads; that this works is what is tested.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_read_the_same(shards, workers, start):
    folder, written = shards
    dataset = ShardDataset(folder)
    dataset[0]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=3, num_workers=workers, collate_fn=collate, multiprocessing_context=start
    )
    assert_epoch(loader, written)
    assert_epoch(loader, written)


def test_subset_keeps_the_fast_path(shards):
    folder, written = shards
    chosen = [7, 2, 4]
    subset = torch.utils.data.Subset(ShardDataset(folder, fields=("image", "mask")), chosen)
    loader = torch.utils.data.DataLoader(subset, batch_size=2, collate_fn=collate)
    assert "normal" not in next(iter(loader))
    assert_epoch(loader, [written[i] for i in chosen])


def test_a_batch_is_not_copied(shards):
    batch = ShardDataset(shards[0], fields=("image", "normal")).__getitems__([0, 1])
    tensors = collate(batch)
    for field in ("image", "normal"):
        assert tensors[field].data_ptr() == batch.arrays[field].ctypes.data
