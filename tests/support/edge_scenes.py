"""A small dataset of scenes with parts, and a generator that was trained on it for a few steps."""

from pathlib import Path

import cv2
import numpy as np

from tests.support.builders import write
from tests.support.commands import synthgen

SIDE = 48
SMALL = ("--config", "cpu64", "--size", str(SIDE), "--set", "width=8", "--set", "blocks=1", "--set", "judge_width=8")


def picture(seed, side=SIDE):
    """(side, side, 3) uint8 RGB: four parts on a floor, each in its place, a little moved."""
    rng = np.random.default_rng(seed)
    pixels = np.full((side, side, 3), 70, np.uint8)
    for row, column, colour in ((0, 0, (200, 60, 50)), (0, 1, (230, 220, 120)), (1, 0, (90, 200, 90)), (1, 1, (220, 220, 230))):
        y, x = ((k + 0.5) * side / 2 + rng.uniform(-2, 2) for k in (row, column))
        if row == column:
            cv2.circle(pixels, (int(x), int(y)), side // 8, colour, cv2.FILLED)
        else:
            half = side // 9
            cv2.rectangle(pixels, (int(x) - half, int(y) - half), (int(x) + half, int(y) + half), colour, cv2.FILLED)
    return np.clip(pixels.astype(np.int16) + rng.integers(-4, 5, pixels.shape), 0, 255).astype(np.uint8)


def write_scenes(root: Path, count=10, category="scene", first=0):
    """A folder of pictures, as `--dataset folder` reads it."""
    for number in range(first, first + count):
        write(root / category / f"{number:03}.png", picture(number))
    return root


def train(root, out, steps=60, *more):
    """A training by command."""
    common = ("train", "edge-generator", "--dataset", "folder", "--root", root, "--out", out, "--device", "cpu")
    return synthgen(*common, *SMALL, "--set", f"steps={steps}", *more)


def build(root, out, generator, *more, types="logical,structural", **options):
    """A build by command; the threshold is low, for the generator has seen little."""
    low = [part for kind in types.split(",") for part in ("--set", f"{kind}.threshold=0.15")]
    common = ("build", "--dataset", "folder", "--root", root, "--out", out, "--size", SIDE, "--device", "cpu", "--jobs", 1)
    return synthgen(*common, "--types", types, *low, "--edge-generator", generator, "--max-rejected", 1, *more, **options)
