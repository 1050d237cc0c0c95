"""MVTec AD's folders: normal images to train on, and a test split of anomalies with masks and other normal images."""

import itertools
import re
from pathlib import Path

import numpy as np

from synthgen.datasets.roles import is_normal
from synthgen.errors import UsageError
from synthgen.export.folder import Writers
from synthgen.export.selection import Chosen

SHARES = (0.8, 0.2)
"""What is split if nobody says: without a split, training and test would show the same normal images."""
NAMES = ("train", "test")
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write `CATEGORY/train/good`, `CATEGORY/test/good`, `CATEGORY/test/TYPE` and `CATEGORY/ground_truth/TYPE`.

    The layout has no place for anomalies to train on: those of the training images are left out, and counted.

    Raises:
        UsageError: two datasets have a category of the same name.
    """
    folders = _folders(chosen)
    train, test = chosen.parts[0], chosen.parts[-1]
    counts = {"train normals": len(train.normals), "test normals": len(test.normals), "test anomalies": len(test.samples)}
    if left_out := sum(len(part.samples) for part in chosen.parts if part is not test):
        counts["anomalies of training images, left out"] = left_out
    with Writers() as writers:
        for part, name in ((train, "train"), (test, "test")):
            for number in part.normals:
                normal = chosen.dataset.normal(number)
                place = folder / folders[normal.dataset, normal.category]
                writers.png(place / name / "good" / f"{chosen.normal_names[number]}.png", normal.pixels)
        for number in test.samples:
            sample, name = chosen.sample(number), chosen.names[number]
            place, kind = folder / folders[sample.spec.dataset, sample.spec.category], _kind(sample.spec.type)
            writers.png(place / "test" / kind / f"{name}.png", sample.image)
            mask = sample.mask * np.uint8(255)
            writers.png(place / "ground_truth" / kind / f"{name}_mask.png", mask)
    return counts


def _kind(name: str) -> str:
    """The folder of a type of anomaly, which is never called like one of normal images."""
    return f"{_folder(name)}_" if is_normal(_folder(name)) else _folder(name)


def _folder(name: str) -> str:
    """A category's or a type's name as a folder's: itself, as far as every system can have it."""
    return _NOT_IN_NAMES.sub("_", name).strip(". ") or "_"


def _folders(chosen: Chosen) -> dict[tuple[str, str], str]:
    """The folder of each dataset's categories, no two alike even where case does not count."""
    names, categories = (chosen.dataset.column(name) for name in ("dataset", "category"))
    numbers = [number for part in chosen.parts for number in (*part.samples, *part.normals)]
    folders: dict[tuple[str, str], str] = {}
    for dataset, category in sorted({(str(names[k]), str(categories[k])) for k in numbers}):
        if other := next((known for known, same in folders if same == category), None):
            raise UsageError(
                f"{dataset} and {other} both have a category {category}, and MVTec's folders have no place for datasets. "
                "Export each dataset's shards by themselves."
            )
        folder = wanted = _folder(category)
        for number in itertools.count(2):
            if folder.casefold() not in {taken.casefold() for taken in folders.values()}:
                break
            folder = f"{wanted}-{number}"
        folders[dataset, category] = folder
    return folders
