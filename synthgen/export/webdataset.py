"""WebDataset: tar files `SPLIT-000000.tar` of samples `KEY.image.png`, `KEY.mask.png`, `KEY.normal.png`, `KEY.json`."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from synthgen.export.folder import facts, png_bytes
from synthgen.export.selection import Chosen

SHARES = ()
NAMES = ("train", "val")
_PER_FILE = 1000


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write tar files of a thousand samples each; the same samples give the same bytes."""
    counts = {"files": 0, "samples": 0}
    for part in chosen.parts:
        for start in range(0, len(part.samples), _PER_FILE):
            with tarfile.open(folder / f"{part.name}-{start // _PER_FILE:06}.tar", "w", format=tarfile.PAX_FORMAT) as file:
                for number in part.samples[start : start + _PER_FILE]:
                    sample, key = chosen.sample(number), chosen.names[number]
                    _add(file, f"{key}.image.png", png_bytes(sample.image))
                    _add(file, f"{key}.mask.png", png_bytes(sample.mask * np.uint8(255)))
                    _add(file, f"{key}.normal.png", png_bytes(sample.normal))
                    _add(file, f"{key}.json", json.dumps(facts(sample), ensure_ascii=False).encode())
            counts["files"] += 1
        counts["samples"] += len(part.samples)
    return counts


def _add(file: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    file.addfile(entry, io.BytesIO(data))
