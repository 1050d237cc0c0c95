"""Datasets for other tools: one module per format, each with `write(folder, chosen)`, which returns what it wrote by name."""

from importlib import import_module
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError, suggest
from synthgen.export.folder import whole_folder, write_card
from synthgen.export.selection import Chosen

FORMATS = {
    "mvtec": "folders as MVTec AD has them: anomalib and most research code read these",
    "coco": "COCO instances, an RLE mask and a box for each connected part: detection tools, FiftyOne",
    "yolo": "YOLO segmentation, polygons: Ultralytics",
    "webdataset": "tar files for streaming: webdataset",
    "parquet": "Parquet with Hugging Face Image features: datasets, polars, DuckDB",
    "numpy": "arrays that can be memory-mapped",
}
"""What `--to` takes, and who reads it."""


def export(chosen: Chosen, to: str, out: Path) -> dict[str, int]:
    """Write samples in another tool's format, as a whole folder or not at all.

    Args:
        chosen: which samples, in which splits.
        to: one of `FORMATS`.
        out: the folder; it must not hold anything yet.

    Returns:
        What was written: counts by name.

    Raises:
        UsageError: no such format, a package is missing, or something lies in the folder.
        IntegrityError: a shard is damaged.
        StorageError: the folder cannot be written.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to}: there is no such format.{suggest(to, list(FORMATS))}")
    writer: Any = import_module(f"synthgen.export.{to}")
    with whole_folder(out) as making:
        counts: dict[str, int] = writer.write(making, chosen)
        write_card(making, chosen, to, counts)
    return counts
