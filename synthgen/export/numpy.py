"""NumPy: `images.npy`, `masks.npy`, `normals.npy` (memory-mappable), `normal_of.npy`, and `samples.jsonl`."""

import json
from pathlib import Path

import numpy as np

from synthgen.errors import UsageError
from synthgen.export.folder import facts
from synthgen.export.selection import ALL, Chosen, SplitPart

SHARES = ()
NAMES = ("train", "test")


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write arrays: of each split in a folder of its own, of an unsplit dataset in the folder itself.

    Raises:
        UsageError: the samples have several sizes.
    """
    sizes = {header.image_size for header in chosen.dataset.headers}
    if len(sizes) != 1:
        raise UsageError(f"--to numpy: samples of several sizes ({sorted(sizes)}). Export the shards of each by themselves.")
    for part in chosen.parts:
        _write_part(folder if part.name == ALL else folder / part.name, chosen, part, sizes.copy().pop())
    return {"samples": sum(len(part.samples) for part in chosen.parts)}


def _write_part(folder: Path, chosen: Chosen, part: SplitPart, size: tuple[int, int]) -> None:
    folder.mkdir(exist_ok=True)
    images, masks, normals = (
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, *size, *channels))
        for name, count, channels in (
            ("images", len(part.samples), (3,)),
            ("masks", len(part.samples), ()),
            ("normals", len(part.normals), (3,)),
        )
    )
    rows = {}
    for k, number in enumerate(part.normals):
        normal = chosen.dataset.normal(number)
        normals[k] = normal.pixels
        rows[normal.dataset, normal.category, normal.source] = k
    normal_of = np.zeros(len(part.samples), np.int64)
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as stream:
        for k, number in enumerate(part.samples):
            sample = chosen.sample(number)
            images[k], masks[k] = sample.image, sample.mask
            normal_of[k] = rows[sample.spec.dataset, sample.spec.category, sample.spec.source]
            stream.write(json.dumps(facts(sample), ensure_ascii=False) + "\n")
    np.save(folder / "normal_of.npy", normal_of)
    for array in (images, masks, normals):
        array.flush()
