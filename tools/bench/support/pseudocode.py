"""The paper's pseudocode taken literally, with the middle of each range, beside which our types are measured."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tests.reference import literal

SIZE = 512
DIAMETER = 400  # of the part in the pictures, px at SIZE

Picture = tuple[np.ndarray, np.ndarray]
"""(H, W, 3) image and (H, W) mask: of the part, or of the anomaly."""


def literal_crack(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithms 1 to 3 with the middle of each range for a width of 4 px; `size` is the steps' number over its middle."""
    rng = np.random.default_rng(seed)
    starts = literal.random_start_points(foreground, 2, rng)
    skeleton = literal.generate_skeleton(
        foreground, starts, max_steps=round(size * DIAMETER / 4), step_size=2.0, branching_prob=0.03, stop_prob=0.01, rng=rng
    )
    mask = literal.crack_mask(
        skeleton, w0=2.0, alpha=0.1, epsilon=0.5, noise_scale=1.5, noise_octaves=1, morph_kernel_size=3, noise_frequency=16
    )
    shift = (-6.0, -6.0, -6.0)
    return literal.apply_crack(image, mask, base_alpha=0.85, max_darken=0.35, max_color_shift=shift, edge_fade=2.5), mask


def literal_corrosion(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithm 4 with the middle of each range, and the plain blend that stands in for what the paper leaves out.

    `size` multiplies the polygons' radius and the rounds of growth.
    """
    rng = np.random.default_rng(seed)
    rounds = max(round(9 * size), 1)
    mask = literal.corrosion_mask(
        foreground, polygons=3, radius=0.055 * DIAMETER * size, vertices=12, overlap_prob=0.65, growth_steps=rounds,
        grow_prob=0.4, noise_threshold=0.12, noise_frequency=26.0, rng=rng,
    )  # fmt: skip
    return literal.apply_corrosion(image, mask, color=(120.0, 70.0, 40.0), strength=0.75, noise_frequency=16.0), mask


def literal_deformation(image: np.ndarray, foreground: np.ndarray, size: float, seed: int) -> Picture:
    """Algorithm 5 with the middle of each range on the whole part; with a `size` below 1 on a disc somewhere on it."""
    rng = np.random.default_rng(seed)
    diameter = size * float(np.sqrt(4 / np.pi * foreground.sum()))
    place = foreground
    if size < 1:  # the partial variant that the paper names
        ys, xs = np.nonzero(foreground)
        centre = int(rng.integers(len(ys)))
        disc = cv2.circle(np.zeros_like(foreground), (int(xs[centre]), int(ys[centre])), max(round(diameter / 2), 3), 1, -1)
        place = disc & foreground
    return literal.tps_deform_local_inpaint(
        image, place, num_ctrl_points=10, max_offset=0.05 * diameter, dist_field_radius=40.0, inpaint_radius=4.0,
        margin=round(0.08 * diameter), rng=rng,
    )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One of our types in one style, and the pseudocode that it stands for.

    Attributes:
        type, style: ours.
        pseudocode: (image, foreground, size, seed) -> changed image, mask.
        small: on parts that cover little of the picture, so that the paper's style warps them as a whole.
    """

    type: str
    style: str
    pseudocode: Callable[[np.ndarray, np.ndarray, float, int], Picture]
    small: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.type} {self.style}" + ", whole part" * self.small


COMPARISONS = (
    Comparison("crack", "realistic", literal_crack),
    Comparison("crack", "paper", literal_crack),
    Comparison("corrosion", "realistic", literal_corrosion),
    Comparison("corrosion", "paper", literal_corrosion),
    Comparison("deformation", "realistic", literal_deformation),
    Comparison("deformation", "paper", literal_deformation),
    Comparison("deformation", "paper", literal_deformation, small=True),
)


def fitted_size(mask_px: Callable[[float], float], area: float) -> float:
    """The size, between 0.03 and 2, at which `mask_px(size)` comes nearest to `area`."""
    low, high = 0.03, 2.0
    for _ in range(6):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if mask_px(middle) < area else (low, middle)
    return float(np.sqrt(low * high))
