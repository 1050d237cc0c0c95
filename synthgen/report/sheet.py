"""A contact sheet: samples side by side, each whole with its mask outlined, and close up without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from synthgen.errors import InputDataError
from synthgen.files import whole_file
from synthgen.samples import Image, Sample

_CELL = 232  # pixels, side of one picture
_GAP = 6
_CAPTION = 34
_PAPER, _INK, _FAINT = (250, 250, 248), (24, 24, 27), (113, 113, 122)
_OUTLINE = (255, 40, 60)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which samples a sheet shows.

    Attributes:
        categories, types: names; empty for all.
        per_group: samples of each category and type.
    """

    categories: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    per_group: int = 4


def choose(
    categories: Sequence[str],
    types: Sequence[str],
    labels: Sequence[int],
    selection: Selection,
    qualities: Sequence[float] | None = None,
) -> list[int]:
    """Numbers of the samples to show: of each (category, type) the same number, rejected ones left out.

    They are evenly spread; or with `qualities` (NaN: unknown, left out) the best half and the worst half, best first.

    Raises:
        InputDataError: nothing is left to show.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (category, kind, label) in enumerate(zip(categories, types, labels, strict=True)):
        is_selected = (not selection.categories or category in selection.categories) and (
            not selection.types or kind in selection.types
        )
        if is_selected and label:
            groups.setdefault((category, kind), []).append(number)
    if not groups:
        raise InputDataError("there is no such sample to show. `synthgen info` lists the categories and types.")
    chosen = []
    for _, members in sorted(groups.items()):
        if qualities is not None:
            chosen += _best_and_worst(members, qualities, selection.per_group)
            continue
        at = np.linspace(0, len(members) - 1, min(selection.per_group, len(members))).round().astype(int)
        chosen += [members[k] for k in at]
    if not chosen:
        raise InputDataError("none of the samples to show has a known quality: are these the scores of another dataset?")
    return chosen


def _best_and_worst(members: Sequence[int], qualities: Sequence[float], count: int) -> list[int]:
    """`count` of the members with a known quality, best first; an odd one is among the best."""
    known = [k for k in members if not np.isnan(qualities[k])]
    ranked = sorted(known, key=lambda k: -qualities[k])
    best = -(-count // 2)
    return ranked if len(ranked) <= count else ranked[:best] + ranked[len(ranked) - count // 2 :]


def contact_sheet(samples: Sequence[Sample], per_row: int = 4) -> Image:
    """(H, W, 3) uint8 RGB picture of the samples, `per_row` in a row."""
    width, height = 2 * _CELL + _GAP, _CELL + _CAPTION
    rows = -(-len(samples) // per_row)
    columns = min(per_row, len(samples))
    sheet = PillowImage.new("RGB", (columns * (width + 2 * _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    bold, small = ImageFont.load_default(13), ImageFont.load_default(11)
    for number, sample in enumerate(samples):
        x, y = _GAP + number % per_row * (width + 2 * _GAP), _GAP + number // per_row * (height + _GAP)
        sheet.paste(PillowImage.fromarray(_whole(sample)), (x, y))
        sheet.paste(PillowImage.fromarray(_close_up(sample)), (x + _CELL + _GAP, y))
        pen.text((x, y + _CELL + 2), printable(f"{sample.spec.type}   {sample.spec.sample_id}", 72), _INK, bold)
        facts = f"area {sample.area} px   contrast {sample.contrast:.0f} gray levels"
        if sample.quality is not None:
            facts = f"quality {sample.quality:.3f}   {facts}"
        pen.text((x, y + _CELL + 18), facts, _FAINT, small)
    return np.asarray(sheet)


def save_sheet(path: Path, sheet: Image) -> None:
    """Write a picture as PNG.

    Raises:
        StorageError: it cannot be written.
    """
    with whole_file(path, synced=False) as temporary:
        PillowImage.fromarray(sheet).save(temporary, format="PNG")


def _whole(sample: Sample) -> Image:
    """The sample with the outline of its mask, drawn just outside of it."""
    scale = _CELL / max(sample.mask.shape)
    size = (max(round(sample.mask.shape[1] * scale), 1), max(round(sample.mask.shape[0] * scale), 1))
    image = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = (cv2.resize(sample.mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 40).astype(np.uint8)
    outer = cv2.dilate(mask, np.ones((5, 5), np.uint8)) - cv2.dilate(mask, np.ones((3, 3), np.uint8))
    image[outer > 0] = _OUTLINE
    return squared(image)


def close_up_box(sample: Sample) -> tuple[int, int, int]:
    """(top, left, side) of the square around the change that is shown close up."""
    height, width = sample.mask.shape
    y0, x0, y1, x1 = _around_largest_part(sample)
    side = min(int(np.clip(1.5 * max(y1 - y0, x1 - x0), min(height, width) / 6, min(height, width))), height, width)
    top = int(np.clip((y0 + y1 - side) // 2, 0, height - side))
    left = int(np.clip((x0 + x1 - side) // 2, 0, width - side))
    return top, left, side


def _close_up(sample: Sample) -> Image:
    """The surroundings of the change, enlarged, without an outline."""
    top, left, side = close_up_box(sample)
    window = sample.image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(window, (_CELL, _CELL), interpolation=cv2.INTER_CUBIC), np.uint8)


def _around_largest_part(sample: Sample) -> tuple[int, int, int, int]:
    """Box of the mask's largest connected component."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(sample.mask)
    if count < 2:
        return (0, 0, *sample.mask.shape)
    x, y, w, h, _ = (int(v) for v in stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))])
    return y, x, y + h, x + w


def squared(image: Image) -> Image:
    """The picture in the middle of a square cell."""
    cell = np.full((_CELL, _CELL, 3), _PAPER, np.uint8)
    top, left = (_CELL - image.shape[0]) // 2, (_CELL - image.shape[1]) // 2
    cell[top : top + image.shape[0], left : left + image.shape[1]] = image
    return cell


def printable(text: str, length: int) -> str:
    """`text` without what the built-in font lacks, cut in the middle."""
    plain = text.encode("latin-1", "replace").decode("latin-1")
    return plain if len(plain) <= length else f"{plain[: length // 2 - 2]}...{plain[-length // 2 + 2 :]}"
