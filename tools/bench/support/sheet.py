"""Real defects, and below each the synthetic ones that match it, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from synthgen.datasets.images import resize
from synthgen.samples import Image
from tools.bench.support.distances import PER_OBJECT, Audit, by_object, matched
from tools.bench.support.patches import PATCH, Window

_COLUMNS = 14
_LABEL = 150


def sheet(audits: Sequence[Audit]) -> Image:
    """For each real type: real images with their windows, their patches, and below each the patches that match it."""
    strips = []
    for audit in audits:
        objects = by_object(audit.real.patches.groups, np.random.default_rng(0))
        chosen = [photos[turn] for turn in range(PER_OBJECT) for photos in objects if turn < len(photos)][:_COLUMNS]
        windows = [audit.real.patches.windows[i] for i in chosen]
        strips.append(_strip("where", [_outlined(audit.real.patches.wholes[i], audit.real.patches.windows[i]) for i in chosen]))
        strips.append(_strip(f"real {audit.type}", [audit.real.patches.pixels[i] for i in chosen]))
        for name, other in audit.others.items():
            partners = matched(windows, other.patches.windows, audit.size, np.random.default_rng(0))[0]
            strips.append(_strip(name, [other.patches.pixels[i] for i in partners]))
    return np.concatenate(strips)


def _outlined(image: Image, window: Window) -> Image:
    top, left, side = window
    drawn = image.copy()
    cv2.rectangle(drawn, (left, top), (left + side - 1, top + side - 1), (255, 0, 0), 2)
    return resize(drawn, (PATCH, PATCH))


def _strip(text: str, cells: Sequence[Image]) -> Image:
    """A label, and cells beside each other."""
    strip = np.full((PATCH + 4, _LABEL + _COLUMNS * (PATCH + 4), 3), 255, np.uint8)
    face = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, text[:20], (4, PATCH // 2), face, 0.45, color=(0, 0, 0), thickness=1, lineType=cv2.LINE_AA)
    for k, cell in enumerate(cells):
        left = _LABEL + k * (PATCH + 4)
        strip[:PATCH, left : left + PATCH] = cell
    return strip


def write_sheet(path: Path, audits: Sequence[Audit]) -> None:
    """The sheet as a PNG file."""
    encoded = cv2.imencode(".png", cv2.cvtColor(sheet(audits), cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())
