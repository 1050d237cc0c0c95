"""Edge maps without a network: how much a pixel's gradient stands out from the gradients around it.

A gradient that is usual in its surroundings is texture, and counts less (surround suppression after Grigorescu, Petkov and
Westenberg, 2003). The numbers were chosen on pictures of industrial parts beside PiDiNet's side output 1 and fused map, so
that lines come out about as wide and as dark at 256 pixels. On smaller pictures lines get thinner with them, or small parts
would drown in their own outlines.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftScale:
    """How one map is made of a picture whose shorter side has 256 pixels or more.

    Attributes:
        smoothing: standard deviation of the Gaussian before the gradient, px.
        floor: gradient that counts half as an edge in flat surroundings, gray levels per px (all channels together).
        surround: standard deviation of the Gaussian that averages the surrounding gradients, px.
        inhibition: how many times their average a gradient must be to count half.
        steepness: exponent of the step from no edge to edge.
        spread: standard deviation of the Gaussian that rounds the lines off, px.
        gain: what makes up for the darkness that the rounding takes from the middle of a line.
    """

    smoothing: float
    floor: float
    surround: float
    inhibition: float
    steepness: float
    spread: float
    gain: float


FINE = SoftScale(smoothing=1.6, floor=3.3, surround=11.0, inhibition=1.35, steepness=3.25, spread=1.7, gain=1.15)
COARSE = SoftScale(smoothing=1.4, floor=4.3, surround=14.0, inhibition=1.6, steepness=3.8, spread=1.33, gain=1.15)

_SIDE, _LEAST = 256, 0.3


def edge_strength(image: Image, scale: SoftScale) -> NDArray[np.float32]:
    """(H, W) float32, 0 (flat) to 1 (edge), of a (H, W, 3) uint8 RGB image."""
    scale = _fitted(scale, min(image.shape[:2]) / _SIDE)
    smooth = _blur(image.astype(np.float32), scale.smoothing)
    across, down = (
        np.asarray(cv2.Scharr(smooth, cv2.CV_32F, *order, scale=1 / 32, borderType=cv2.BORDER_REFLECT_101))
        for order in ((1, 0), (0, 1))
    )
    gradient = np.linalg.norm(np.concatenate((across, down), -1), axis=-1).astype(np.float32)
    usual = np.hypot(scale.floor, scale.inhibition * _blur(gradient, scale.surround))
    odds = (gradient / usual) ** np.float32(scale.steepness)
    lines = _blur((odds / (1 + odds)).astype(np.float32), scale.spread)
    return np.asarray(np.minimum(scale.gain * lines, 1), np.float32)


def _fitted(scale: SoftScale, size: float) -> SoftScale:
    """The scale for a smaller picture, in which gradients are steeper."""
    size = min(max(size, _LEAST), 1.0)
    lengths = {name: size * getattr(scale, name) for name in ("smoothing", "surround", "spread")}
    return replace(scale, floor=scale.floor / size, **lengths)


def _blur(values: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(values, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)
