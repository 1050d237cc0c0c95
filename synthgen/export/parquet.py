"""Parquet files whose images Hugging Face's `datasets` decodes: `data/SPLIT-00000-of-00001.parquet`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import UsageError, to_install
from synthgen.export.folder import facts, png_bytes
from synthgen.export.selection import ALL, Chosen, SplitPart

SHARES = ()
NAMES = ("train", "test")
_PER_FILE, _PER_GROUP = 2000, 100
_PICTURES = ("image", "mask", "normal")
_KINDS = {"replica": "int64", "area": "int64", "contrast": "float64", "visible": "float64"}


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write files of 2,000 samples each, with image, mask and normal image as PNG.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"--to parquet needs pyarrow: {to_install('interop')}.") from error
    (folder / "data").mkdir()
    counts = {"files": 0, "samples": 0}
    schema = _schema(pyarrow)
    for part in chosen.parts:
        name, files = "train" if part.name == ALL else part.name, -(-len(part.samples) // _PER_FILE)
        for k in range(files):
            path = folder / "data" / f"{name}-{k:05}-of-{files:05}.parquet"
            with parquet.ParquetWriter(path, schema, compression="none") as writer:  # PNG is compressed already
                for rows in _groups(chosen, part, k):
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema))
            counts["files"] += 1
        counts["samples"] += len(part.samples)
    return counts


def _groups(chosen: Chosen, part: SplitPart, k: int) -> Iterator[list[dict[str, Any]]]:
    numbers = part.samples[k * _PER_FILE : (k + 1) * _PER_FILE]
    for start in range(0, len(numbers), _PER_GROUP):
        yield [_row(chosen, number) for number in numbers[start : start + _PER_GROUP]]


def _row(chosen: Chosen, number: int) -> dict[str, Any]:
    sample = chosen.sample(number)
    known = {name: value for name, value in facts(sample).items() if name != "box"}
    pictures = {"image": sample.image, "mask": sample.mask * np.uint8(255), "normal": sample.normal}
    name = f"{chosen.names[number]}.png"
    return {key: {"bytes": png_bytes(pixels), "path": name} for key, pixels in pictures.items()} | known


def _schema(pyarrow: Any) -> Any:
    """Arrow's types, and in the metadata what `datasets` makes of them."""
    picture = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    texts = ("sample_id", "dataset", "category", "source", "source_sha256", "type")
    kinds = {name: pyarrow.string() for name in texts} | {name: getattr(pyarrow, kind)() for name, kind in _KINDS.items()}
    features = {name: {"_type": "Image"} for name in _PICTURES}
    features |= {name: {"dtype": _KINDS.get(name, "string"), "_type": "Value"} for name in kinds}
    fields = dict.fromkeys(_PICTURES, picture) | kinds
    return pyarrow.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
