"""MVTec AD's folders: normal images to train on, and a test split of anomalies with masks and other normal images."""

from pathlib import Path

import numpy as np

from synthgen.errors import UsageError
from synthgen.export.folder import Writers
from synthgen.export.selection import Chosen, SplitPart

SHARES = (0.8, 0.2)
"""What is split if nobody says: without a split, training and test would show the same normal images."""
NAMES = ("train", "test")


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write `CATEGORY/train/good`, `CATEGORY/test/good`, `CATEGORY/test/TYPE` and `CATEGORY/ground_truth/TYPE`.

    The layout has no place for anomalies to train on: those of the training images are left out, and counted.

    Raises:
        UsageError: two datasets have a category of the same name.
    """
    _check_names(chosen)
    train, test = chosen.parts[0], chosen.parts[-1]
    counts = {"train normals": len(train.normals), "test normals": len(test.normals), "test anomalies": len(test.samples)}
    if left_out := sum(len(part.samples) for part in chosen.parts if part is not test):
        counts["anomalies of training images, left out"] = left_out
    with Writers() as writers:
        for part, name in ((train, "train"), (test, "test")):
            _write_normals(folder, chosen, part, name, writers)
        for number in test.samples:
            sample, name = chosen.sample(number), chosen.names[number]
            base = folder / sample.spec.category
            writers.png(base / "test" / sample.spec.type / f"{name}.png", sample.image)
            mask = sample.mask * np.uint8(255)
            writers.png(base / "ground_truth" / sample.spec.type / f"{name}_mask.png", mask)
    return counts


def _write_normals(folder: Path, chosen: Chosen, part: SplitPart, name: str, writers: Writers) -> None:
    for number in part.normals:
        normal = chosen.dataset.normal(number)
        writers.png(folder / normal.category / name / "good" / f"{chosen.normal_names[number]}.png", normal.pixels)


def _check_names(chosen: Chosen) -> None:
    owners: dict[str, str] = {}
    for header in chosen.dataset.headers:
        if owners.setdefault(header.category, header.dataset) != header.dataset:
            raise UsageError(
                f"{header.dataset} and {owners[header.category]} both have a category {header.category}, and MVTec's folders "
                "have no place for datasets. Export each dataset's shards by themselves."
            )
