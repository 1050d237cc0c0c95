"""Datasets of anomaly images on disk: write them, read them, check them."""

from synthgen.shards.batch import Batch, collate
from synthgen.shards.inspection import Finding
from synthgen.shards.layout import ShardHeader, ShardInfo
from synthgen.shards.reader import ShardDataset
from synthgen.shards.verify import verify
from synthgen.shards.writer import ShardWriter

__all__ = ["Batch", "Finding", "ShardDataset", "ShardHeader", "ShardInfo", "ShardWriter", "collate", "verify"]
