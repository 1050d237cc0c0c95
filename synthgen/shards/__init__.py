"""Datasets of anomaly images on disk: write them, read them, check them."""

from synthgen.shards.batch import Batch, collate
from synthgen.shards.inspection import Finding
from synthgen.shards.layout import ShardHeader, ShardInfo
from synthgen.shards.quality import QualityLimit, QualityTable, read_quality, shards_digest, write_quality
from synthgen.shards.reader import ShardDataset
from synthgen.shards.verification import verify
from synthgen.shards.writer import ShardWriter

__all__ = [
    "Batch",
    "Finding",
    "QualityLimit",
    "QualityTable",
    "ShardDataset",
    "ShardHeader",
    "ShardInfo",
    "ShardWriter",
    "collate",
    "read_quality",
    "shards_digest",
    "verify",
    "write_quality",
]
