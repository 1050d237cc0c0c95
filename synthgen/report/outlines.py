"""A sheet of foregrounds: of each category some normal images with the outline that was found, what was decided, and why."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from synthgen.builder.folder import MANIFEST, read_record
from synthgen.datasets import read_normal
from synthgen.datasets.roots import recognise
from synthgen.decisions import decide
from synthgen.errors import InputDataError, suggest
from synthgen.foreground import Foreground, find_foreground
from synthgen.recipe import make_recipe
from synthgen.replay import recorded_method
from synthgen.report.sheet import printable, save_sheet, squared
from synthgen.samples import Image, NormalImage
from synthgen.shards import ShardDataset
from synthgen.shards.layout import SUFFIX

_CELL, _GAP, _CAPTION, _TITLE = 232, 6, 16, 22
_PAPER, _INK, _FAINT = (250, 250, 248), (24, 24, 27), (113, 113, 122)
_OUTLINE, _GROUND = (255, 40, 60), 0.55  # of its brightness, that is left

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outlined:
    """One category's images with their foregrounds, and what was decided, for people."""

    title: str
    images: tuple[tuple[NormalImage, Foreground], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sheet of foregrounds shows.

    Attributes:
        categories: names; empty for all.
        per_category: images of each.
        masks: folder of the user's masks; None for none.
        sam_checkpoint: SAM's weights. Of images of which nothing is built yet, it draws the outlines then; a set that was
            made with it needs the same, and None looks into `$SYNTHGEN_SAM`.
    """

    categories: tuple[str, ...] = ()
    per_category: int = 4
    masks: Path | None = None
    sam_checkpoint: Path | None = None


def write_outlines(folder: Path, path: Path, wanted: Wanted, per_row: int = 4) -> Path:
    """Write a sheet of the foregrounds that a dataset of shards was made with, or that a build would find in normal images.

    Args:
        folder: of shards; else a folder of normal images, in any layout that `synthgen build` reads.
        path: the PNG to write.
        wanted: what is shown.
        per_row: images in a row.

    Raises:
        InputDataError: there is nothing to show.
        UsageError: the shards were made with masks or weights that are not given.
    """
    built = folder.is_file() or any(folder.glob(f"[!.]*{SUFFIX}"))
    groups = list(_of_shards(folder, wanted) if built else _of_images(folder, wanted))
    save_sheet(path, outlines_sheet(groups, per_row))
    return path


def outlines_sheet(groups: Sequence[Outlined], per_row: int) -> Image:
    """(H, W, 3) uint8 RGB picture: a row or more for each category, the ground darkened and the object outlined."""
    rows = [-(-len(group.images) // per_row) for group in groups]
    height = sum(_TITLE + count * (_CELL + _CAPTION + _GAP) for count in rows) + _GAP
    sheet = PillowImage.new("RGB", (per_row * (_CELL + _GAP) + _GAP, height), _PAPER)
    pen, bold, small = ImageDraw.Draw(sheet), ImageFont.load_default(13), ImageFont.load_default(11)
    top = _GAP
    for group, count in zip(groups, rows, strict=True):
        pen.text((_GAP, top), printable(group.title, 34 * per_row), _INK, bold)
        top += _TITLE
        for number, (normal, foreground) in enumerate(group.images):
            x, y = _GAP + number % per_row * (_CELL + _GAP), top + number // per_row * (_CELL + _CAPTION + _GAP)
            sheet.paste(PillowImage.fromarray(squared(_drawn(normal.pixels, foreground))), (x, y))
            share = "whole image" if foreground.mask.all() else f"{100 * foreground.mask.mean():.2g} %"
            caption = f"{Path(normal.source).name}   {share}{'   !' if foreground.warning else ''}"
            pen.text((x, y + _CELL + 1), printable(caption, 44), _FAINT, small)
        top += count * (_CELL + _CAPTION + _GAP)
    return np.asarray(sheet)


def _drawn(pixels: Image, foreground: Foreground) -> Image:
    scale = _CELL / max(pixels.shape[:2])
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    image = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = (cv2.resize(foreground.mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    image[mask == 0] = (_GROUND * image[mask == 0]).astype(np.uint8)
    image[cv2.dilate(mask, np.ones((3, 3), np.uint8)) != mask] = _OUTLINE
    return image


def _of_shards(folder: Path, wanted: Wanted) -> Iterator[Outlined]:
    """What a dataset was made with."""
    dataset = ShardDataset(folder)
    manifest = read_record(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    decided = manifest.get("foregrounds", {})
    numbers: dict[tuple[str, str], dict[str, int]] = {}
    columns = (dataset.column(name).tolist() for name in ("dataset", "category", "source"))
    for number, (name, category, source) in enumerate(zip(*columns, strict=True)):
        numbers.setdefault((name, category), {}).setdefault(source, number)
    configs = {(header.dataset, header.category): header.config_json for header in dataset.headers}
    _check_known(folder, wanted, [category for _, category in numbers])
    for place, sources in sorted(numbers.items()):
        if wanted.categories and place[1] not in wanted.categories:
            continue
        identity = json.loads(configs[place])["foreground_methods"]["/".join(place)]
        method = recorded_method(identity, wanted.masks, wanted.sam_checkpoint)
        normals = [dataset.normal(number) for number in _spread(list(sources.values()), wanted.per_category)]
        title = f"{'/'.join(place)}: {decided.get('/'.join(place), {}).get('sentence', method.name)}"
        yield Outlined(title, tuple((normal, find_foreground(normal, method)) for normal in normals))


def _of_images(folder: Path, wanted: Wanted) -> Iterator[Outlined]:
    """What a build would decide."""
    name = recognise(folder) or "folder"
    categories = list(wanted.categories) or None
    mode = "auto" if wanted.sam_checkpoint is None else "sam"
    recipe = make_recipe({"datasets": {name: {"categories": categories}}, "types": {"crack": {}}, "foreground": mode})
    decisions = decide(recipe, {name: folder}, foreground_masks=wanted.masks, sam_checkpoint=wanted.sam_checkpoint)
    for scan in decisions.scans:
        for category in scan.categories:
            choice = decisions.foregrounds[scan.dataset, category.name]
            normals = [read_normal(source, recipe.size) for source in _spread(list(category.used), wanted.per_category)]
            found = tuple((normal, find_foreground(normal, choice.method)) for normal in normals)
            yield Outlined(f"{scan.dataset}/{category.name}: {choice.sentence()}", found)


def _check_known(folder: Path, wanted: Wanted, known: Sequence[str]) -> None:
    for name in wanted.categories:
        if name not in known:
            raise InputDataError(f"--category {name}: {folder} has no such category.{suggest(name, sorted(set(known)))}")


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Some of them, evenly spread."""
    return [items[int(k)] for k in np.linspace(0, len(items) - 1, min(count, len(items))).round()]
