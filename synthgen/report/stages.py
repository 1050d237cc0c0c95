"""A sheet of the same anomalies at several stages, side by side."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from synthgen.report.sheet import close_up_box
from synthgen.samples import Image, Sample

_CELL, _GAP, _CAPTION = 220, 6, 20  # pixels
_TIMES = 4  # changes are shown so much stronger, around gray
_PAPER, _INK = (250, 250, 248), (24, 24, 27)


def stages_sheet(titles: Sequence[str], rows: Sequence[Sequence[Image]], captions: Sequence[str] = ()) -> Image:
    """(H, W, 3) uint8 RGB picture.

    Args:
        titles: of the columns.
        rows: (h, w, 3) uint8 RGB pictures, one for each column.
        captions: below each row; none if empty.
    """
    height = _CELL + _GAP + (_CAPTION if captions else 0)
    sheet = PillowImage.new("RGB", (len(titles) * (_CELL + _GAP) + _GAP, len(rows) * height + _CAPTION), _PAPER)
    pen, small = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, title in enumerate(titles):
        pen.text((_GAP + column * (_CELL + _GAP), 3), _printable(title), _INK, small)
    for row, pictures in enumerate(rows):
        top = _CAPTION + row * height
        for column, picture in enumerate(pictures):
            sheet.paste(PillowImage.fromarray(_fitted(picture)), (_GAP + column * (_CELL + _GAP), top))
        if captions:
            pen.text((_GAP, top + _CELL + 2), _printable(captions[row]), _INK, small)
    return np.asarray(sheet)


def compared(titles: Sequence[str], rows: Sequence[Sequence[Sample]]) -> Image:
    """(H, W, 3) uint8 RGB picture, a row for each sample, close up: normal image, versions, and what they change of the first.

    Args:
        titles: of the versions.
        rows: the versions of each sample, of the same size.
    """
    pictures, captions = [], []
    for row in rows:
        whole = replace(row[0], mask=np.maximum.reduce([sample.mask for sample in row]))
        top, left, side = close_up_box(whole)
        inner = (slice(top, top + side), slice(left, left + side))
        first = row[0].image[inner].astype(np.int16)
        changes = [np.clip(128 + _TIMES * (sample.image[inner] - first), 0, 255).astype(np.uint8) for sample in row[1:]]
        pictures.append([row[0].normal[inner], *(sample.image[inner] for sample in row), *changes])
        areas = ", ".join(f"{sample.area}" if not sample.rejected else sample.rejected for sample in row)
        again = "   (another draw)" if any(sample.params != row[0].params for sample in row) else ""
        captions.append(f"{row[0].spec.sample_id}   mask pixels: {areas}{again}")
    changes_titles = [f"{title}: change x {_TIMES}" for title in titles[1:]]
    return stages_sheet(["normal", *titles, *changes_titles], pictures, captions)


def _fitted(picture: Image) -> Image:
    """The picture in a square cell."""
    scale = _CELL / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    cell = np.full((_CELL, _CELL, 3), _PAPER, np.uint8)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell[: size[1], : size[0]] = resized
    return cell


def _printable(text: str) -> str:
    """`text` without what the built-in font lacks."""
    return text.encode("latin-1", "replace").decode("latin-1")
