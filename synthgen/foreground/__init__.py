"""Which pixels of a normal image are the object: found by a model, given by the user, or the whole image.

One method is chosen per category (`choose_method`), then applied to each image (`find_foreground`), which falls back to
the whole image rather than fail. A new method is one module with a function from an image to a mask, and an entry here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from synthgen.errors import UsageError, suggest
from synthgen.foreground import cache, classical, masks, sam
from synthgen.samples import Image, Mask, NormalImage

MODES = ("auto", "classical", "sam", "none")
"""What a user may ask for; `auto` lets the category decide. Masks of one's own come by `--foreground-masks`."""


@dataclass(frozen=True, slots=True)
class Method:
    """How the foreground of a category's images is found.

    Attributes:
        name: `classical` (border-colour model), `sam` (Segment Anything), `masks` (files of the user) or `none` (the whole
            image).
        folder: where the user's masks are; None for the other methods.
        checkpoint: SAM's weights; None for the other methods.
    """

    name: str
    folder: Path | None = None
    checkpoint: sam.Checkpoint | None = None

    @property
    def identity(self) -> str:
        """The name and, of SAM, the digest of its weights: what decides the masks besides the images."""
        return self.name if self.checkpoint is None else f"{self.name} {self.checkpoint.sha256}"


@dataclass(frozen=True, slots=True)
class Foreground:
    """A foreground, and why it is the whole image where it should not be (`warning`, else empty)."""

    mask: Mask
    warning: str = ""


def check_mode(mode: str) -> None:
    """Raise a UsageError unless `mode` is one of `MODES`."""
    if mode not in MODES:
        raise UsageError(f"{mode!r} is not a way to find the object.{suggest(mode, list(MODES))}")


def choose_method(
    mode: str, hint: str, folder: Path | None, images: Sequence[Image], checkpoint: sam.Checkpoint | None = None
) -> Method:
    """The method for one category.

    Args:
        mode: one of `MODES`.
        hint: what is known about the category: `"whole"` if it is a texture or fills the frame, else `"auto"`.
        folder: folder of the user's masks; it wins over everything else.
        images: some of the category's normal images, whose majority decides in mode `auto`.
        checkpoint: SAM's weights, for mode `sam`.
    """
    if folder is not None:
        return Method("masks", folder)
    if mode == "auto":
        mode = "classical" if hint != "whole" and classical.is_object(images) else "none"
    return Method(mode, checkpoint=checkpoint if mode == "sam" else None)


def find_foreground(normal: NormalImage, method: Method) -> Foreground:
    """The foreground of one normal image; the whole image, with a warning, where the method finds nothing to trust.

    Raises:
        InputDataError: a mask file of the user exists but cannot be read.
        UsageError, IntegrityError: SAM's checkpoint is gone or damaged.
    """
    size = (normal.pixels.shape[0], normal.pixels.shape[1])
    if method.name == "none":
        return Foreground(np.ones(size, np.uint8))
    if method.folder is not None:
        mask = masks.read(method.folder, normal, size)
        doubt = "no mask file" if mask is None else "" if mask.any() else "empty mask file"
    elif method.checkpoint is not None:
        key = f"sam-{sam.VERSION}-{method.checkpoint.sha256}"
        mask, doubt = cache.remember(normal, key, partial(sam.segment, checkpoint=method.checkpoint))
    else:
        mask, doubt = cache.remember(normal, f"classical-{classical.VERSION}", _classical)
    if mask is None or doubt:
        return Foreground(np.ones(size, np.uint8), f"{normal.source}: {doubt}; the whole image is used")
    return Foreground(mask)


def _classical(normal: NormalImage) -> tuple[Mask, str]:
    segmentation = classical.segment(normal.pixels)
    mask = classical.full_size(segmentation.mask, *normal.pixels.shape[:2])
    if not segmentation.doubt:
        mask = classical.follow_edge(mask, normal.pixels)
    return mask, segmentation.doubt or ("" if mask.any() else "the object is too thin for this size")
