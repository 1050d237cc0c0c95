"""From the network's probabilities to the object's mask: tidied up, its outline moved to the edge in the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.foreground.network import probability, seen
from synthgen.samples import Image, Mask

VERSION = 1
"""Raised whenever masks change for another reason than the network's weights; part of the cache's key."""

SMALLEST_SHARE = 0.01  # of the image: less than that is no product
_LARGEST_SHARE = 0.93
# expected intersection over union, below which nobody knows where the object ends: in a category, and where most images of its
# category show an object
_SURE_CATEGORY, _SURE_IMAGE = 0.7, 0.35
_SMALLEST_MAIN_PART = 0.05  # of the foreground: in more pieces it is a pattern
_SUREST_HOLE = 0.97
_SMALLEST_THROUGH_HOLE = 0.003  # of the image
_LEAST_SPREAD = 0.05  # of the ground's colours, 2.5 units of Lab
_UNLIKE = np.array([0.6, 0.3, 0.3])  # 30 units of lightness, which no shadow takes away, or 15 of colour
_SURE = (0.08, 0.92)  # probabilities of the ground and of the object that no edge overrules
_SMALLEST_PART = 0.02  # of the largest part: smaller ones are dirt on the ground
_SMALLEST_HOLE = 0.0005  # of the image
_REACH = 6  # of 512 pixels: how far the outline of a coarse mask may be from the object's
_FAINTEST_EDGE = 20.0  # distance in RGB of the two sides, below which the outline stays where it is


@dataclass(frozen=True, slots=True)
class Found:
    """One image's foreground.

    Attributes:
        mask: (H, W) uint8 {0, 1}.
        doubt: why the whole image is the better answer; empty if the mask can be trusted.
    """

    mask: Mask
    doubt: str


def doubt_of(pixels: Image) -> str:
    """Why a (H, W, 3) uint8 RGB image shows no object, as far as it can tell for its category; empty if it shows one."""
    return _doubt(probability(pixels), _SURE_CATEGORY)


def find_object(pixels: Image) -> Found:
    """The object in a (H, W, 3) uint8 RGB image of a category that shows objects."""
    likely = probability(pixels)
    if doubt := _doubt(likely, _SURE_IMAGE):
        return Found(np.ones(pixels.shape[:2], np.uint8), doubt)
    likely = _tidied(_see_through(likely, pixels))
    large = cv2.resize(likely, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_CUBIC)
    moved = follow_edge(np.asarray(large > 0.5, np.uint8), pixels)
    # colours within the object, and on the ground, may pull the outline astray
    mask = np.asarray((moved > 0) & (large > _SURE[0]) | (large > _SURE[1]), np.uint8)
    return Found(mask, "" if mask.any() else "the object is too thin for this size")


def _see_through(likely: NDArray[np.float32], pixels: Image) -> NDArray[np.float32]:
    """The same where holes are concerned: through one, one sees the ground.

    A place within the object that the network is not sure of, and that has the ground's colours, is a hole; one that it takes
    for the ground, and that has quite other colours, is none.
    """
    ground = _reaches_border(likely < _SURE[0])
    if not ground.any():
        return likely
    lab = seen(np.asarray(cv2.resize(pixels, likely.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8))
    away = np.abs(lab - np.median(lab[ground], 0))
    alike = (away < 2 * np.maximum(lab[ground].std(0), _LEAST_SPREAD)).all(-1) & (likely < _SUREST_HOLE)
    holes = cv2.morphologyEx(np.asarray(alike, np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    holes = _large(_within(holes | ground, ground), _SMALLEST_THROUGH_HOLE)
    other = _within(likely < 0.5, _reaches_border(likely < 0.5))
    count, labels = cv2.connectedComponents(np.asarray(other & ~holes, np.uint8), connectivity=4)
    filled = [label for label in range(1, count) if (np.median(away[labels == label], 0) > _UNLIKE).any()]
    return np.where(holes, np.float32(0), np.where(np.isin(labels, filled), np.float32(1), likely))


def _reaches_border(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts that touch the image's border."""
    _, labels = cv2.connectedComponents(np.asarray(where, np.uint8), connectivity=4)
    touched = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return where & np.isin(labels, touched)


def _within(where: NDArray[np.bool_], outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts that have nothing of `outside`."""
    _, labels = cv2.connectedComponents(np.asarray(where, np.uint8), connectivity=8)
    return np.asarray(where & ~np.isin(labels, np.unique(labels[outside])))


def _large(where: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """The connected parts that are larger than a share of the image."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(where, np.uint8), connectivity=8)
    return np.asarray(where & (stats[:, cv2.CC_STAT_AREA] > share * where.size)[labels])


def _doubt(likely: NDArray[np.float32], surest: float) -> str:
    share = float((likely > 0.5).mean())
    if share < SMALLEST_SHARE:
        return "nothing stands out from the ground"
    if share > _LARGEST_SHARE:
        return "it is filled by one surface"
    if expected_overlap(likely) < surest:
        return "it is not clear where the object ends"
    areas = cv2.connectedComponentsWithStats(np.asarray(likely > 0.5, np.uint8))[2][1:, cv2.CC_STAT_AREA]
    if areas.max() < _SMALLEST_MAIN_PART * areas.sum():
        return "what stands out lies in many small pieces"
    return ""


def expected_overlap(likely: NDArray[np.float32]) -> float:
    """Intersection over union with the true object that the mask of what is likelier than not may expect, 0 to 1."""
    inside = likely > 0.5
    return float(likely[inside].sum() / max(float(np.maximum(likely, inside).sum()), 1e-6))


def _tidied(likely: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without specks beside the object, and without pinholes in it."""
    mask = np.asarray(likely > 0.5, np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    specks = (areas < _SMALLEST_PART * areas[1:].max(initial=0))[labels] & (mask > 0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    pinholes = (stats[:, cv2.CC_STAT_AREA] < _SMALLEST_HOLE * mask.size)[labels] & (mask == 0)
    return np.where(specks, np.float32(0), np.where(pinholes, np.float32(1), likely))


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
