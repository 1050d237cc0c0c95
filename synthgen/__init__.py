"""Anomaly images with exact masks, made from normal images, in sharded HDF5 datasets.

Reading order, as the data flows: `datasets` (normal images) -> `plan` (which samples) -> `foreground` (where the object is)
-> `anomalies` (one sample from one set of parameters) -> `synthesis` (samples in memory) -> `build` -> `shards` (on disk).
"""

__version__ = "0.1.0"
