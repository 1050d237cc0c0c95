"""Which pixels of a normal image are the object: found by a model, given by the user, or the whole image.

One method is chosen per category (`choose_method`), then applied to each image (`find_foreground`), which falls back to
the whole image rather than fail. A new method is one module with a function from an image to a mask, and an entry here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from synthgen.errors import UsageError, suggest
from synthgen.foreground import cache, masks, network, outline, sam
from synthgen.samples import Mask, NormalImage

MODES = ("auto", "object", "sam", "none")
"""What a user may ask for; `auto` lets the category decide. Masks of one's own come by `--foreground-masks`."""

_MOST_UNLIKE = 4.0  # times larger or smaller than the category's usual foreground
_OBJECT = f"{network.VERSION}.{outline.VERSION}"


@dataclass(frozen=True, slots=True)
class Method:
    """How the foreground of a category's images is found.

    Attributes:
        name: `object` (our network), `sam` (Segment Anything), `masks` (files of the user) or `none` (the whole image).
        folder: where the user's masks are; None for the other methods.
        checkpoint: SAM's weights; None for the other methods.
        share: of the image that the foreground usually covers in the category; None where nobody has looked. It decides
            no mask, but what is warned of.
    """

    name: str
    folder: Path | None = None
    checkpoint: sam.Checkpoint | None = None
    share: float | None = None

    @property
    def identity(self) -> str:
        """The name and the version of our network, or the digest of SAM's: what decides the masks besides the images."""
        if self.checkpoint is not None:
            return f"{self.name} {self.checkpoint.sha256}"
        return f"{self.name} {_OBJECT}" if self.name == "object" else self.name


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided for a category.

    Attributes:
        method: how its foregrounds are found.
        why: the reason for the whole image; empty where there is an object.
    """

    method: Method
    why: str = ""

    def sentence(self) -> str:
        """For people, such as `the object, 23 % of the image`."""
        if self.method.name == "none":
            return f"the whole image: {self.why}" if self.why else "the whole image"
        by = {"sam": " by Segment Anything", "masks": " by masks of your own"}.get(self.method.name, "")
        share = "" if self.method.share is None else f", {100 * self.method.share:.2g} % of the image"
        return f"the object{by}{share}"

    def to_json(self) -> dict[str, str | float | None]:
        """For a dataset's manifest."""
        share = self.method.share
        return {
            "method": self.method.name,
            "share": None if share is None else round(share, 4),
            "why": self.why,
            "sentence": self.sentence(),
        }


@dataclass(frozen=True, slots=True)
class Foreground:
    """A foreground, and what a person should know about it (`warning`, else empty)."""

    mask: Mask
    warning: str = ""


def check_mode(mode: str) -> None:
    """Raise a UsageError unless `mode` is one of `MODES`."""
    if mode not in MODES:
        raise UsageError(f"{mode!r} is not a way to find the object.{suggest(mode, list(MODES))}")


def choose_method(
    mode: str, hint: str, folder: Path | None, normals: Sequence[NormalImage], checkpoint: sam.Checkpoint | None = None
) -> Choice:
    """The method for one category.

    Args:
        mode: one of `MODES`.
        hint: what is known about the category: `"whole"` if it is a texture or fills the frame, else `"auto"`.
        folder: folder of the user's masks; it wins over everything else.
        normals: some of the category's normal images, whose majority decides in mode `auto`.
        checkpoint: SAM's weights, for mode `sam`.
    """
    if folder is not None:
        return Choice(Method("masks", folder))
    if mode == "sam":
        return Choice(Method("sam", checkpoint=checkpoint))
    if mode == "none":
        return Choice(Method("none"))
    if mode == "auto" and hint == "whole":
        return Choice(Method("none"), "that is known of this category")
    doubts = Counter(doubt for normal in normals if (doubt := outline.doubt_of(normal.pixels)))
    if mode == "auto" and 2 * doubts.total() >= len(normals):
        return Choice(Method("none"), doubts.most_common(1)[0][0] if doubts else "there is no image to look at")
    shares = [float(mask.mean()) for mask, doubt in map(_object, normals) if not doubt]
    return Choice(Method("object", share=float(np.median(shares)) if shares else None))


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
        mask, doubt = _object(normal)
    if mask is None or doubt:
        return Foreground(np.ones(size, np.uint8), f"{normal.source}: {doubt}; the whole image is used")
    return Foreground(mask, _unusual(normal, float(mask.mean()), method.share))


def _unusual(normal: NormalImage, share: float, usual: float | None) -> str:
    """What is odd about a foreground of this share of the image; empty if nothing is."""
    if share < outline.SMALLEST_SHARE:
        return f"{normal.source}: its foreground is {100 * share:.2g} % of the image; `synthgen view --foreground` shows it"
    if usual and not 1 / _MOST_UNLIKE <= share / usual <= _MOST_UNLIKE:
        return (
            f"{normal.source}: its foreground is {100 * share:.2g} % of the image, where the category's usual one is "
            f"{100 * usual:.2g} %; `synthgen view --foreground` shows it"
        )
    return ""


def _object(normal: NormalImage) -> tuple[Mask, str]:
    return cache.remember(normal, f"object-{_OBJECT}", _find_object)


def _find_object(normal: NormalImage) -> tuple[Mask, str]:
    found = outline.find_object(normal.pixels)
    return found.mask, found.doubt
