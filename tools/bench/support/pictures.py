"""Pictures to measure with, drawn from a seed: a grainy part on a plain ground, and where the part is."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(side: int, seed: int, diameter: float | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(side, side, 3) uint8 RGB of an elliptic part, and its (side, side) uint8 {0, 1} mask.

    The part is about `diameter` px across, 0.78 of the side if that is None.
    """
    rng = np.random.default_rng(seed)
    part = np.zeros((side, side), np.uint8)
    share = 1 if diameter is None else diameter / (0.78 * side)
    axes = tuple(int(side * share * a / 2) for a in rng.uniform(0.72, 0.84, 2))
    angle = float(rng.uniform(0, 180))
    cv2.ellipse(part, (side // 2, side // 2), axes, angle=angle, startAngle=0, endAngle=360, color=1, thickness=-1)
    light = np.linspace(0.85, 1.1, side, dtype=np.float32)[None, :]
    grain = rng.standard_normal((side, side), np.float32)
    coarse = cv2.GaussianBlur(grain, (0, 0), side / 60) * side / 20
    surface = light * (1 + 0.10 * coarse) + 0.015 * grain
    ground = 0.2 + 0.008 * grain
    color = rng.uniform(110, 190, 3).astype(np.float32)
    shade = np.where(cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.2) > 0.5, surface, ground)
    return np.clip(shade[:, :, None] * color, 0, 255).astype(np.uint8), part


def write_normals(root: Path, category: str, count: int, side: int) -> list[Path]:
    """`count` pictures as PNG files in MVTec's layout: root / category / train / good / 000.png, ..."""
    folder = root / category / "train" / "good"
    folder.mkdir(parents=True)
    paths = [folder / f"{i:03d}.png" for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), cv2.cvtColor(picture(side, i)[0], cv2.COLOR_RGB2BGR))
    return paths
