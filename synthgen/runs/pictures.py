"""What networks draw, as pictures."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_pictures(drawn: Tensor) -> NDArray[np.uint8]:
    """(B, 3, h, w) in [-1, 1] as (B, h, w, 3) uint8 RGB."""
    levels = ((drawn.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
