"""Patches around defects, cut the same way from real and synthetic images, and what a frozen network sees in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

from detectors.data.backbones import IMAGENET_DEVIATION, IMAGENET_MEAN, Backbone
from synthgen.datasets.images import resize
from synthgen.samples import Image, Mask, Size

Window = tuple[int, int, int]
"""(top, left, side) of a square in an image, in pixels."""

PATCH = 112
LEVELS = (1, 2, 3)
_CONTEXT = 1.6  # side of a window / longer side of the defect's box
_SIDES = 48 / 256, 160 / 256  # least and largest side of a window / shorter side of the image
_GAP = 8 / 256  # between a defect and what counts as its clean surroundings / shorter side of the image
_SAME_OBJECT = 0.4  # intersection over union of masks, at the best shift
_COARSE = 64  # pixels of a side of the masks that are compared for it
_REACH = 3  # of those pixels; photographs of one object are cropped differently
_BANK = 2000  # feature vectors of normal images
_MARGIN = 1 / 16  # of a side of the image; no defect is looked for nearer to its border
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Patches of one origin.

    Attributes:
        pixels: (N, PATCH, PATCH, 3) uint8 RGB.
        windows: where each was cut out.
        groups: what each shows: patches of one object, or of one source image, have one name.
        wholes: the whole images, for the sheet; empty if they were not kept.
    """

    pixels: NDArray[np.uint8]
    windows: list[Window]
    groups: list[str]
    wholes: Sequence[Image] = ()

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.windows)


def cut(cases: Iterable[tuple[Image, Window, str]], keep: bool = False) -> Patches:
    """Cut a window out of each image: (image, window, group) each; all are resized by the project's one way to resize."""
    pixels, windows, groups, wholes = [], [], [], []
    for image, (top, left, side), group in cases:
        pixels.append(resize(image[top : top + side, left : left + side], (PATCH, PATCH)))
        windows.append((top, left, side))
        groups.append(group)
        if keep:
            wholes.append(image)
    return Patches(np.stack(pixels) if pixels else np.empty((0, PATCH, PATCH, 3), np.uint8), windows, groups, wholes)


def window_at(y: float, x: float, side: int, size: Size) -> Window:
    """The window around a point, shifted into the image."""
    top, left = (int(np.clip(round(c - side / 2), 0, length - side)) for c, length in zip((y, x), size, strict=True))
    return top, left, side


def window_of(mask: Mask) -> Window:
    """The window around the largest connected part of a mask that is not empty.

    Where that part is longer than the largest window, the window lies around its pixel nearest to the middle of its box:
    a bent crack need not pass through the middle.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height = (int(v) for v in stats[label, :4])
    y, x = top + height / 2, left + width / 2
    shorter = min(mask.shape)
    side = round(float(np.clip(_CONTEXT * max(height, width), *(share * shorter for share in _SIDES))))
    if side < max(height, width):
        ys, xs = np.nonzero(labels == label)
        nearest = int(np.hypot(ys - y, xs - x).argmin())
        y, x = float(ys[nearest]), float(xs[nearest])
    return window_at(y, x, side, mask.shape)


def window_beside(defect: Mask, window: Window) -> Window | None:
    """The window nearest to another one that shows nothing of the defect; smaller if need be, None if there is none."""
    shorter = min(defect.shape)
    gap = 2 * round(_GAP * shorter) + 1
    sums = cv2.integral(cv2.dilate((defect > 0).astype(np.uint8), np.ones((gap, gap), np.uint8)))
    top, left, whole = window
    side = whole
    while side >= round(_SIDES[0] * shorter):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        ys, xs = np.nonzero(inside == 0)
        if len(ys):
            shift = (whole - side) / 2
            nearest = int(np.hypot(ys - top - shift, xs - left - shift).argmin())
            return int(ys[nearest]), int(xs[nearest]), side
        side = int(0.8 * side)
    return None


def same_objects(masks: Sequence[Mask]) -> list[int]:
    """A number for each mask, the same where masks overlap, shifted a little if need be: they show one object.

    Datasets hold the same defect under several exposures; such images are no independent examples of a kind of defect.
    """
    coarse = np.stack([cv2.resize(mask.astype(np.float32), (_COARSE, _COARSE), interpolation=cv2.INTER_AREA) for mask in masks])
    whole = (coarse > 0).astype(np.float32)
    padded = np.pad(whole, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)))
    flat, areas = whole.reshape(len(whole), -1), whole.sum((1, 2))
    overlap = np.zeros((len(whole), len(whole)), np.float32)
    for dy in range(2 * _REACH + 1):
        for dx in range(2 * _REACH + 1):
            both = flat @ padded[:, dy : dy + _COARSE, dx : dx + _COARSE].reshape(len(whole), -1).T
            overlap = np.maximum(overlap, both / np.maximum(areas[:, None] + areas - both, 1))
    return [int(label) for label in connected_components(overlap > _SAME_OBJECT, directed=False)[1]]


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / deviation


@torch.inference_mode()
def describe(backbone: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, F): mean and standard deviation over the patch of each channel of each level."""
    rows = []
    for start in range(0, len(pixels), _BATCH):
        maps = backbone(_tensor(pixels[start : start + _BATCH]))
        rows.append(torch.cat([part for level in maps for part in (level.mean((2, 3)), level.std((2, 3)))], 1))
    return torch.cat(rows).double().numpy()


class Locator:
    """Finds the most unusual place of an image: where the features of levels 2 and 3 are farthest from any normal one."""

    def __init__(self, backbone: Backbone, normals: Sequence[Image], seed: int) -> None:
        """Keep feature vectors of places that are drawn from normal images."""
        self._backbone = backbone
        rng = np.random.default_rng(seed)
        each = -(-_BANK // len(normals))
        drawn = []
        for image in normals:
            vectors = self._features(image).flatten(0, 1)
            drawn.append(vectors[torch.from_numpy(rng.permutation(len(vectors))[:each])])
        self._bank = torch.cat(drawn)

    def distances(self, image: Image) -> NDArray[np.float32]:
        """(h, w) on the grid of level 2: the distance to the nearest normal vector; 0 in the margin."""
        features = self._features(image)
        height, width = features.shape[:2]
        nearest = torch.cdist(features.flatten(0, 1), self._bank).amin(1).view(height, width).numpy()
        rows, columns = max(round(_MARGIN * height), 1), max(round(_MARGIN * width), 1)
        out = np.zeros_like(nearest)
        out[rows:-rows, columns:-columns] = nearest[rows:-rows, columns:-columns]
        return out

    @torch.inference_mode()
    def _features(self, image: Image) -> Tensor:
        """(h, w, C), averaged over 3 x 3 places so that a place knows its neighbours."""
        fine, coarse = (F.avg_pool2d(level, 3, 1, 1) for level in self._backbone(_tensor(image[None]))[-2:])
        both = torch.cat([fine, F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")], 1)
        return both[0].permute(1, 2, 0).contiguous()


def farthest(distances: NDArray[np.float32], size: Size, mask: Mask | None = None) -> tuple[float, float]:
    """(y, x) in pixels of the most unusual place by `Locator.distances`: of the image, or of a mask in it that is not empty."""
    height, width = distances.shape
    if mask is not None:
        covered = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        distances = np.where(covered > 0, distances, -1)
    y, x = np.unravel_index(int(distances.argmax()), distances.shape)
    return (float(y) + 0.5) * size[0] / height, (float(x) + 0.5) * size[1] / width
