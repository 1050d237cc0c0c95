"""Foregrounds by Segment Anything, as MaPhC2F takes them: everything SAM draws a mask around is the object.

Needs a checkpoint that the user brings, and PyTorch, which is imported when the first mask is not in the cache.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import IntegrityError, UsageError
from synthgen.files import file_sha256
from synthgen.samples import Mask, NormalImage

if TYPE_CHECKING:
    from synthgen.edges.sam import SamRegions

VERSION = 1
"""Raised whenever the masks change; part of the cache's key."""

_POINTS_PER_SIDE = 16  # on every device, so that the masks do not depend on it
_SMALLEST_AREA = 0.015  # share of the image, as of the border-colour model


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """SAM's weights.

    Attributes:
        path: the file, on every machine that makes samples.
        sha256: hexadecimal digest of the file; it decides the masks, the path does not.
    """

    path: Path
    sha256: str


def locate(path: Path | None) -> Path:
    """The checkpoint that is meant: `path`, else `$SYNTHGEN_SAM`.

    Raises:
        UsageError: none is named, there is no such file, or no package to run it with.
    """
    from synthgen.edges.sam import WHERE, require  # imported late: no build but SAM's needs what it imports

    named = path or (Path(given) if (given := os.environ.get("SYNTHGEN_SAM")) else None)
    if named is None:
        raise UsageError(f"--foreground sam needs --sam-checkpoint FILE (or the environment's SYNTHGEN_SAM). {WHERE}.")
    require(named)
    return named


def read_checkpoint(path: Path | None) -> Checkpoint:
    """The checkpoint that is meant, with its digest. Raises what `locate` raises."""
    file = locate(path)
    return Checkpoint(file, file_sha256(file))


def device() -> str:
    """Where SAM computes: `"cuda"` or `"cpu"`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def segment(normal: NormalImage, checkpoint: Checkpoint) -> tuple[Mask, str]:
    """(H, W) uint8 {0, 1} foreground of a normal image, and why the whole image is the better answer, else empty.

    Raises:
        UsageError, IntegrityError: the checkpoint is gone, damaged, or another one than before.
    """
    from synthgen.edges.sam import foreground_of

    mask = foreground_of(_model(checkpoint).masks(normal.pixels), *normal.pixels.shape[:2])
    share = float(mask.mean())
    return mask, "" if share >= _SMALLEST_AREA else f"SAM finds objects on {share:.1%} of the image only"


@lru_cache(maxsize=1)
def _model(checkpoint: Checkpoint) -> "SamRegions":
    from synthgen.edges.sam import SamRegions

    model = SamRegions(checkpoint.path, device(), _POINTS_PER_SIDE)
    if model.sha256 != checkpoint.sha256:
        raise IntegrityError(f"{checkpoint.path}: changed since its use began. Put the first one back, or start anew.")
    return model
