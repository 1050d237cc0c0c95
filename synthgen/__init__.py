"""Anomaly images with exact masks, made from normal images, in sharded HDF5 datasets.

Reading order, as the data flows: `datasets` (normal images) -> `recipe` (what to make) -> `decisions` (what must be looked at
first) -> `plan` (which samples) -> `anomalies` (one sample from one set of parameters, painted with `painting`) -> `synthesis`
(samples in memory) -> `builder` -> `shards` (on disk).
"""

__version__ = "0.1.0"
