"""How far synthetic defects are from real ones of the same material, for several settings of the generator.

    python -m tools.bench realism --real CATEGORY --types crack,blowhole=spot+corrosion --set NAME=SHARDS --set NAME=SHARDS
        --weights resnet18.pth [--normals FOLDER] [--repeats 20] [--sheet FILE.png]

CATEGORY has MVTec AD's layout; `REAL=SYNTHETIC+SYNTHETIC` says which synthetic types stand for a real one that is called
otherwise. SHARDS are folders of `synthgen build`, all of one image size, to which real images are resized as normal ones are.
Normal images are those of CATEGORY/train/good unless `--normals` says otherwise.

Each defect is seen in a square window (around the largest part of its mask, 1.6 times as long), as the mean and the deviation
of the channels of a frozen ResNet-18's levels 1 to 3: standardised by those of normal patches, then compressed to
sign(z) log(1 + |z|), or a few patches with channels that are nearly silent on normal ones would decide everything. Each
repetition draws n real patches; a set gives the n that match them best by the side of the window and, less so, by its place.
Two figures, as mean and deviation over the repetitions:

- KID: squared MMD with the kernel (x y / F + 1)^3. Without bias, as no pair of patches of one object counts; 0 is alike.
- AUROC of a ridge classifier that tells synthetic from real, over folds that share no object and no source image: 0.5 is
  alike, 1 means that every one is told. Of few patches that are alike, folds make it fall somewhat below 0.5.

Real images whose masks overlap count as photographs of one object: of each, a repetition takes three at most. Rows to
compare with: `real`, one half of the real defects against the other, so at a smaller n; `normal`, the same windows of normal
images; `surroundings`, windows beside the real defects against the same windows of the sets' normal images. The last tells
how much of a difference has nothing to do with defects: the light, the compression, the objects that were chosen. Rows for
which there are too few objects are left out. `side` and `place` are what the matching left: the mean ratio of the sides less
1, and the distance of the middles in image sides.

If most images of a real type have no mask, windows lie at the most unusual place by the features instead, all of one side; in
synthetic images at the most unusual place of the mask. How often it lies on the mask of a synthetic one when the whole image
is searched is printed: a guess at how often the real windows are right. Look at the sheet.

What the figures cannot tell: whether masks are right; whether sizes, places and numbers of defects are (those are matched
away, and what exceeds the largest window is not seen); look from strength, so that a bold defect of the wrong kind can be
nearer to bold real ones than a faint one of the right kind; which part of a difference a detector would mind (`synthgen
worth` tells); that a real defect was photographed, compressed and shrunk with its image, while a synthetic one is drawn at
the final size. An AUROC grows with n: compare rows of one table only, and by the KID where all are told. With few real
objects, all rows share their accidents: the deviation says nothing about other real defects.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.support.records import Outcome
from tools.bench.support.tables import Column, Table

if TYPE_CHECKING:
    from synthgen.shards import ShardDataset
    from tools.bench.support.distances import Row

_NAMES = ("real", "normal", "beside", "clean", "surroundings")
"""Rows and patches that a set must not be called after."""


def parse_types(text: str) -> dict[str, list[str]]:
    """`crack,blowhole=spot+corrosion`: real type -> the synthetic types that stand for it."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {real: (synthetic or real).split("+") for real, _, synthetic in pairs}


def open_sets(texts: Sequence[str]) -> "dict[str, ShardDataset]":
    """NAME=SHARDS each. Raises `UsageError` if they are not of one image size."""
    from synthgen.errors import UsageError
    from synthgen.shards import ShardDataset

    sets = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path or name in _NAMES or name in sets:
            raise UsageError(f"--set {text}: expected NAME=SHARDS, each NAME another and none of the table's own.")
        sets[name] = ShardDataset(path)
    sizes = {header.image_size for shards in sets.values() for header in shards.headers}
    if len(sizes) != 1:
        raise UsageError(f"--set: the sets' images are of different sizes, {sorted(sizes)}. Build them with one --size.")
    return sets


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--real", type=Path, required=True, metavar="CATEGORY")
    parser.add_argument("--types", type=parse_types, required=True, metavar="REAL[=SYNTHETIC],...")
    parser.add_argument("--set", action="append", required=True, metavar="NAME=SHARDS")
    parser.add_argument("--weights", required=True, help="torchvision's ResNet-18, up to level 3 at least; or random")
    parser.add_argument("--normals", type=Path, help="folder of normal images (default: CATEGORY/train/good)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sheet", type=Path, help="a picture to look at")


def run(options: argparse.Namespace) -> Outcome:
    """One table, a block of rows for each real type."""
    import torch

    from detectors.data.backbones import load_backbone
    from synthgen.datasets import read_normal, scan
    from synthgen.errors import InputDataError, UsageError
    from tools.bench.support.defects import prepare, spread
    from tools.bench.support.distances import measure
    from tools.bench.support.patches import LEVELS
    from tools.bench.support.sheet import write_sheet

    torch.set_num_threads(1)
    if options.repeats < 1:
        raise UsageError(f"--repeats {options.repeats}: at least one is needed.")
    sets = open_sets(options.set)
    size = next(iter(sets.values())).headers[0].image_size
    folder = options.normals or options.real / "train" / "good"
    if not folder.is_dir():
        raise InputDataError(f"{folder}: there is no such folder. Say where normal images are: --normals FOLDER.")
    (category,) = scan("folder", folder).categories
    normals = [read_normal(category.used[i], size).pixels for i in spread(len(category.used))]
    backbone = load_backbone("resnet18", LEVELS, options.weights)
    audits = [prepare(options.real, kind, types, sets, normals, backbone) for kind, types in options.types.items()]
    rows = [row for audit in audits for row in measure(audit, options.repeats)]
    for audit in audits:
        print(f"{audit.type}: {'; '.join(audit.notes)}")
    if options.sheet:
        write_sheet(options.sheet, audits)
    return Outcome({"realism": table(rows)})


def table(rows: Sequence["Row"]) -> Table:
    """Means and deviations; the record holds every repetition after them."""
    import numpy as np

    def cell(values: list[float]) -> list[float]:
        return [float(np.mean(values)), float(np.std(values)), *values]

    columns = [Column("real type"), Column("compared with"), Column("n"), Column("KID", ("{:.3f} ± {:.3f}",))]
    columns += [Column("AUROC", ("{:.3f} ± {:.3f}",)), Column("side", ("{:.2f}",)), Column("place", ("{:.2f}",))]
    figures = [[cell(values) for values in (row.kid, row.auroc, row.side, row.place)] for row in rows]
    return Table(columns, [[row.type, row.name, row.n, *cells] for row, cells in zip(rows, figures, strict=True)])
