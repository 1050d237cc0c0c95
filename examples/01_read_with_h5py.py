"""Shards without synthgen: h5py alone. `python examples/01_read_with_h5py.py SET`."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np


def samples(folder):
    """(id, image, mask, parameters) of every anomaly in a folder of shards."""
    for path in sorted(Path(folder).glob("*.h5")):
        with h5py.File(path) as file:
            for i in np.flatnonzero(file["label"][:]):
                image = file["base"][file["base_index"][i]] + file["delta"][i]  # uint8 wraps around on purpose
                yield file["meta/sample_id"][i].decode(), image, file["mask"][i], json.loads(file["meta/params"][i])


def main():
    """Print what the samples are."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/01_read_with_h5py.py SET    (a folder that `synthgen build` or `synthgen demo` wrote)")
    count = 0
    for name, image, mask, params in samples(sys.argv[1]):
        count += 1
        if count <= 5:
            print(f"{name}: {image.shape[1]} x {image.shape[0]}, {int(mask.sum())} anomalous pixels, {len(params)} parameters")
    print(f"{count} samples")


if __name__ == "__main__":
    main()
