"""Which photographs show the same object: they must not lie on both sides of a split."""

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputDataError, suggest
from synthgen.samples import Image

SIMILAR, PHOTOGRAPHS = "similar", "photographs"
"""Objects are told apart by what they look like; or each photograph counts as an object."""
_SIDE, _SLACK = 64, 3  # pixels of a shrunk picture, and how far an object may be shifted in it
_WIDE = 6.0  # what varies over more is light
_MOST_NORMALS = 100


def objects_of(how: str, names: Sequence[str], images: Sequence[Image], normals: Sequence[Image]) -> list[int]:
    """A number for each photograph; those of the same object have the same one.

    Args:
        how: `SIMILAR`, `PHOTOGRAPHS`, or path of a CSV file with the columns `path` and `object`.
        names: of the photographs, relative to their folder.
        images: (H, W, 3) uint8 RGB, the photographs.
        normals: of other objects, if not of all kinds of objects that there are.

    Raises:
        InputDataError: the file cannot be read, or does not name a photograph.
    """
    if how == PHOTOGRAPHS:
        return list(range(len(names)))
    return similar(images, normals) if how == SIMILAR else _listed(Path(how), names)


def similar(images: Sequence[Image], normals: Sequence[Image]) -> list[int]:
    """As `objects_of`, by likeness: alike are those that differ half as much, or less, as normal images differ from them.

    What a photograph shows is compared without its light, and with a shift of a twentieth of a side. Products that lie still
    differ by little, so that there only the same one is alike; of a texture no two pieces are.
    """
    seen = [_structure(image) for image in images]
    others = [_structure(image) for image in normals[:_MOST_NORMALS]]
    numbers = list(range(len(images)))
    if not others:
        return numbers
    usual = float(np.median([max(_correlation(photograph, other) for other in others) for photograph in seen]))
    least = usual + 0.5 * (1 - usual)
    for i in range(len(seen)):
        for j in range(i):
            if numbers[i] != numbers[j] and _correlation(seen[i], seen[j]) > least:
                numbers = [numbers[j] if number == numbers[i] else number for number in numbers]
    return numbers


def _structure(image: Image) -> NDArray[np.float32]:
    """(64, 64) float32: brightness without what varies slowly, as strong everywhere."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(luma, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), _WIDE)
    return np.asarray(fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), _WIDE)) + 1.0), np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The largest over all shifts, -1..1."""
    return float(cv2.matchTemplate(first, second[_SLACK:-_SLACK, _SLACK:-_SLACK], cv2.TM_CCOEFF_NORMED).max())


def _listed(path: Path, names: Sequence[str]) -> list[int]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            objects = {row["path"].replace("\\", "/"): row["object"] for row in csv.DictReader(file)}
    except OSError as error:
        raise InputDataError(f"--objects {path}: cannot be read ({error.strerror or error}).") from error
    except (KeyError, UnicodeDecodeError, AttributeError, csv.Error) as error:
        raise InputDataError(f"--objects {path}: no table with the columns path and object.") from error
    if missing := [name for name in names if name not in objects]:
        known = suggest(missing[0], list(objects))
        raise InputDataError(f"--objects {path}: no line for {missing[0]} ({len(missing)} are missing).{known}")
    order = {name: number for number, name in enumerate(dict.fromkeys(objects[name] for name in names))}
    return [order[objects[name]] for name in names]
