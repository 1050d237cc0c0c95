"""Which pixels are the object, without a network: what differs from the colours along the image's border.

A product on a plain background touches the border little, so the border shows what the background looks like: at most two
colours. A texture fills the frame, border included, and the same model says so: then the whole image is the object. That
decision is safest for a category as a whole, by the vote of some of its images (`is_object`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image, Mask

VERSION = 3
"""Raised whenever the masks change; part of the cache's key."""

_SIDE = 128  # pixels; the outline is smooth enough, at 3 ms for an image
_SMALLEST_AREA = 0.015  # share of the image
_LARGEST_AREA = 0.97
_SMALLEST_MAIN_PART = 0.2  # of the foreground: in more pieces it is texture
_RING_ENERGY = 0.75  # gradient energy of the border relative to the image: above it the border is textured too
_SMALLEST_THROUGH_HOLE = 0.004  # of the image; smaller ones are rather reflections or dark spots
_BACKGROUND_DISTANCE = 1.5  # standard deviations from the border's colours
_SEPARATION = 2.5  # standard deviations between object and border colours
_REACH = 6  # of 512 pixels: how far the outline of a coarse mask may be from the object's
_FAINTEST_EDGE = 20.0  # distance in RGB of the two sides, below which the outline stays where it is


@dataclass(frozen=True, slots=True)
class Segmentation:
    """One image's foreground as the border model sees it.

    Attributes:
        mask: (128, 128) uint8 {0, 1}.
        doubt: why the whole image is the better answer; empty if the mask can be trusted.
    """

    mask: Mask
    doubt: str


def segment(pixels: Image) -> Segmentation:
    """The foreground of a (H, W, 3) uint8 RGB image by the border-colour model."""
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    ring = _ring_mask()
    distance = _distance_to_border_colours(lab, lab[ring])
    # on a logarithmic scale, so that a dark side of the object does not count with the background
    scaled = np.minimum(60 * np.log1p(distance), 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 1, cv2.THRESH_OTSU)
    mask = _clean((scaled > level).astype(np.uint8), distance)
    return Segmentation(mask, _doubt(mask, distance, lab[..., 0], ring))


def full_size(mask: Mask, height: int, width: int) -> Mask:
    """A coarse mask at (height, width), its outline smoothed."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 1.0)
    return (cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)


def follow_edge(mask: Mask, pixels: Image) -> Mask:
    """A mask whose outline is a few pixels off, moved to where the colours change from the object's to the background's.

    Each pixel of a band along the outline goes to the side whose colour nearby, outside the band, is closer to its own: on a
    soft edge that is its middle. Where the sides hardly differ, the mask stays.

    Args:
        mask: (H, W) uint8 {0, 1}.
        pixels: (H, W, 3) uint8 RGB.
    """
    reach = max(round(_REACH * min(mask.shape) / 512), 2)
    square = np.ones((2 * reach + 1,) * 2, np.uint8)
    inside, outside = np.asarray(cv2.erode(mask, square), np.uint8), 1 - np.asarray(cv2.dilate(mask, square), np.uint8)
    x, y, width, height = cv2.boundingRect(np.asarray(1 - inside - outside, np.uint8))
    if not width:
        return mask
    window = (
        slice(max(y - 2 * reach, 0), y + height + 2 * reach),
        slice(max(x - 2 * reach, 0), x + width + 2 * reach),
    )
    band = np.flatnonzero((inside[window] + outside[window] == 0).ravel())
    (has_object, object_), (has_background, background) = (
        _nearby(pixels[window], part[window], 4 * reach + 1, band) for part in (inside, outside)
    )
    toward, halfway = object_ - background, 0.5 * (object_ + background)
    distinct = np.zeros(mask[window].shape, bool)
    distinct.ravel()[band] = has_object & has_background & ((toward * toward).sum(-1) > _FAINTEST_EDGE**2)
    drawn = mask[window].copy()
    colours = pixels[window].reshape(-1, 3)[band].astype(np.float32)
    drawn.ravel()[band] = ((colours - halfway) * toward).sum(-1) > 0
    drawn = np.where(distinct, drawn, mask[window])
    certain = (mask[window] > 0) & ~distinct
    side = 2 * max(reach // 2, 1) + 1
    most = cv2.boxFilter(drawn, cv2.CV_16U, (side, side), normalize=False, borderType=cv2.BORDER_REPLICATE) > side * side // 2
    drawn = (most | certain).astype(np.uint8)
    _, labels = cv2.connectedComponents(drawn, connectivity=8)
    of_object = np.zeros(labels.max() + 1, np.uint8)
    of_object[labels[certain]] = 1  # what the band holds of the background's dirt is not the object
    of_object[0] = 0
    moved = mask.copy()
    moved[window] = of_object[labels]
    return moved if moved.any() else mask


def _nearby(pixels: Image, where: Mask, side: int, at: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(n,): whether there is any of a part around the flat indices `at`; (n, 3): its mean colour there."""
    count, total = (
        cv2.boxFilter(image, cv2.CV_32S, (side, side), normalize=False, borderType=cv2.BORDER_REPLICATE)
        for image in (where, cv2.copyTo(pixels, where))
    )
    counted = count.ravel()[at].astype(np.float32)
    mean = total.reshape(-1, 3)[at].astype(np.float32) / np.maximum(counted, 1)[:, None]
    return counted > 0, np.asarray(mean, np.float32)


def is_object(images: Iterable[Image]) -> bool:
    """Whether most of a category's images show an object on a background, rather than a texture."""
    trusted = [not segment(image).doubt for image in images]
    return sum(trusted) * 2 > len(trusted)


def _ring_mask() -> NDArray[np.bool_]:
    ring = np.ones((_SIDE, _SIDE), bool)
    width = _SIDE // 24
    ring[width:-width, width:-width] = False
    return ring


def _distance_to_border_colours(lab: NDArray[np.float32], ring: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) float32: standard deviations to the nearer of the border's two colours."""
    bright = ring[:, 0] > np.median(ring[:, 0])
    if not bright.any():
        bright = ring[:, 0] >= ring[:, 0].mean()
    modes = [ring[bright], ring[~bright]]
    for _ in range(4):  # two-means, started at the brighter and the darker half
        centres = [mode.mean(0) for mode in modes if len(mode)]
        nearest = np.argmin([((ring - centre) ** 2).sum(1) for centre in centres], axis=0)
        modes = [ring[nearest == k] for k in range(len(centres))]
    # a mode that few pixels carry is an object that touches the border, not background
    modes = [mode for mode in modes if len(mode) >= 0.12 * len(ring)]
    distances = [np.sqrt((((lab - mode.mean(0)) / np.maximum(mode.std(0), 2.5)) ** 2).mean(-1)) for mode in modes]
    return np.asarray(np.min(distances, axis=0), np.float32)


def _clean(mask: Mask, distance: NDArray[np.float32]) -> Mask:
    """Specks away, gaps closed, small parts dropped; holes filled unless one looks through them at the background."""
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))), np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, [c for c in outlines if cv2.contourArea(c) > 0.002 * mask.size], -1, 1, cv2.FILLED)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled & (1 - mask), connectivity=4)
    for hole in range(1, count):
        large = stats[hole, cv2.CC_STAT_AREA] > _SMALLEST_THROUGH_HOLE * mask.size
        if large and np.median(distance[labels == hole]) < _BACKGROUND_DISTANCE:
            filled[labels == hole] = 0
    return filled


def _doubt(mask: Mask, distance: NDArray[np.float32], luma: NDArray[np.float32], ring: NDArray[np.bool_]) -> str:
    share = float(mask.mean())
    if not _SMALLEST_AREA <= share <= _LARGEST_AREA:
        return f"{share:.1%} of the image differs from its border"
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    if stats[1:, cv2.CC_STAT_AREA].max() < _SMALLEST_MAIN_PART * mask.sum():
        return "what differs from the border lies in many small pieces"
    gradient = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    background = ring & (mask == 0)
    if background.sum() < 0.25 * ring.sum():
        return "the object touches most of the border"
    if gradient[background].mean() > _RING_ENERGY * gradient.mean():
        return "the border is as structured as the rest"
    if np.median(distance[mask > 0]) - np.median(distance[background]) < _SEPARATION:
        return "the object's colours are those of the border"
    return ""
