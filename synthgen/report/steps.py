"""How edge edits came about: a row for each sample, from the normal image to the picture with its mask."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from synthgen.anomalies.edge_edit import steps
from synthgen.anomalies.registry import TYPES
from synthgen.painting.surface import Surface
from synthgen.samples import Image, Mask, Sample

_CELL, _GAP, _CAPTION = 192, 4, 18  # pixels
_PAPER, _INK = (250, 250, 248), (24, 24, 27)
_OUTLINE, _AREA = (255, 40, 60), (40, 110, 255)
_TITLES = ("normal", "edges", "regions", "edited edges", "generated normal", "generated", "difference", "sample")


def steps_sheet(samples: Sequence[tuple[Sample, Surface]]) -> Image:
    """(H, W, 3) uint8 RGB: a row for each accepted edge edit, with its prepared surface."""
    height = _CELL + _CAPTION + _GAP
    sheet = PillowImage.new("RGB", (len(_TITLES) * (_CELL + _GAP) + _GAP, len(samples) * height + _CAPTION), _PAPER)
    pen, small = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, title in enumerate(_TITLES):
        pen.text((_GAP + column * (_CELL + _GAP), 3), title, _INK, small)
    for row, (sample, surface) in enumerate(samples):
        top = _CAPTION + row * height
        for column, cell in enumerate(_cells(sample, surface)):
            sheet.paste(PillowImage.fromarray(_fitted(cell)), (_GAP + column * (_CELL + _GAP), top))
        caption = f"{sample.spec.sample_id}   {sample.params['operation']} ({sample.params['where']})   area {sample.area} px"
        pen.text((_GAP, top + _CELL + 2), caption.encode("latin-1", "replace").decode("latin-1"), _INK, small)
    return np.asarray(sheet)


def _cells(sample: Sample, surface: Surface) -> list[Image]:
    seen = steps(surface, TYPES[sample.spec.type].from_json(sample.params))
    return [
        sample.normal,
        _gray(seen.scene.edges),
        _coloured(seen.scene.regions.labels),
        _outlined(_gray(seen.edges), seen.area, _AREA),
        seen.normal,
        seen.picture,
        _gray(seen.truth.difference),
        _outlined(sample.image, sample.mask, _OUTLINE),
    ]


def _gray(values: NDArray[np.float32]) -> Image:
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, 2)


def _coloured(labels: NDArray[np.uint8]) -> Image:
    """Neighbouring numbers get colours far apart; background is black."""
    hues = np.zeros((1, 256, 3), np.uint8)
    hues[0, 1:] = [(number * 67 % 180, 150, 230) for number in range(1, 256)]
    return np.asarray(cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0][labels], np.uint8)


def _outlined(image: Image, mask: Mask, colour: tuple[int, int, int]) -> Image:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), outlines, -1, colour, max(round(min(mask.shape) / 192), 1)), np.uint8)


def _fitted(image: Image) -> Image:
    """The picture in a square cell."""
    scale = _CELL / max(image.shape[:2])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    cell = np.full((_CELL, _CELL, 3), _PAPER, np.uint8)
    top, left = (_CELL - small.shape[0]) // 2, (_CELL - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell
