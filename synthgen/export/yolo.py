"""YOLO segmentation: `images/SPLIT`, `labels/SPLIT` with a polygon per line, and `data.yaml`."""

from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from synthgen.export.folder import Writers
from synthgen.export.instances import polygons
from synthgen.export.selection import Chosen

SHARES = (0.8, 0.2)
"""What is split if nobody says: its trainer wants images to validate on."""
NAMES = ("train", "val")
_FEWEST = 3  # points of a polygon


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write images and labels; classes are the types of anomalies. Normal images have an empty label file.

    Parts with holes are cut, since a polygon has none: filling all polygons gives the mask again.
    """
    types = sorted({str(name) for name in chosen.dataset.column("type")})
    counts = {"images": 0, "polygons": 0}
    with Writers() as writers:
        for part in chosen.parts:
            labels = folder / "labels" / part.name
            labels.mkdir(parents=True)
            for number in part.normals:
                name = f"{chosen.normal_names[number]}_good"
                writers.png(folder / "images" / part.name / f"{name}.png", chosen.dataset.normal(number).pixels)
                (labels / f"{name}.txt").touch()
            for number in part.samples:
                sample, name = chosen.sample(number), chosen.names[number]
                writers.png(folder / "images" / part.name / f"{name}.png", sample.image)
                kind, size = types.index(sample.spec.type), sample.mask.shape
                lines = [line_of(kind, outline, size) for outline in polygons(sample.mask)]
                (labels / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
                counts["polygons"] += len(lines)
            counts["images"] += len(part.normals) + len(part.samples)
    splits = {part.name: f"images/{part.name}" for part in chosen.parts}
    if len(chosen.parts) == 1:
        splits = {"train": f"images/{chosen.parts[0].name}", "val": f"images/{chosen.parts[0].name}"}
    values = {"path": ".", **splits, "names": dict(enumerate(types))}
    (folder / "data.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return counts


def line_of(kind: int, outline: NDArray[np.int32], size: tuple[int, ...]) -> str:
    """A label: the class, and x, y of each corner as shares of width and height.

    Corners lie in the middle of pixels, so that whoever rounds down gets the pixel.
    """
    repeated = np.concatenate([outline, np.repeat(outline[-1:], max(0, _FEWEST - len(outline)), 0)])
    shares = (repeated + 0.5) / (size[1], size[0])
    return " ".join([str(kind), *(f"{value:.6f}" for value in shares.ravel())])
