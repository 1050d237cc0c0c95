"""The training sheet: what a training really sees, normal images and held-out anomalies with their masks outlined."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detectors.data.held_out import HeldOutImage
from synthgen.files import write_bytes
from synthgen.samples import Image, Mask

_PER_ROW = 8
_CELL = 160
_OUTLINE = (255, 40, 60)


def write_training_sheet(path: Path, normals: Sequence[Image], held_out: Sequence[HeldOutImage]) -> None:
    """Write a PNG: a row of training images, then rows of held-out anomalies, evenly chosen.

    Raises:
        StorageError: it cannot be written.
    """
    anomalies = [image for image in held_out if image.label]
    chosen = [anomalies[k] for k in np.linspace(0, len(anomalies) - 1, min(len(anomalies), 3 * _PER_ROW)).astype(int)]
    cells = [_cell(image, None) for image in normals[:_PER_ROW]]
    cells += [np.full((_CELL, _CELL, 3), 250, np.uint8)] * (-len(cells) % _PER_ROW)
    cells += [_cell(anomaly.image, anomaly.mask) for anomaly in chosen]
    cells += [np.full((_CELL, _CELL, 3), 250, np.uint8)] * (-len(cells) % _PER_ROW)
    rows = [np.hstack(cells[k : k + _PER_ROW]) for k in range(0, len(cells), _PER_ROW)]
    write_bytes(path, cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))[1].tobytes(), synced=False)


def _cell(image: Image, mask: Mask | None) -> Image:
    cell = np.ascontiguousarray(cv2.resize(image, (_CELL, _CELL), interpolation=cv2.INTER_AREA))
    if mask is not None:
        small = cv2.resize(mask, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(cell, contours, -1, _OUTLINE, 1)
    return np.asarray(cell, np.uint8)
