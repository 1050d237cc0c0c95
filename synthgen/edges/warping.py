"""The thin-plate-spline augmentation of edge-to-image training (DeepSIM, after Bookstein 1989), on tensors.

A grid of 3x3 control points, borders included, is shifted at random; the four corners of the picture stay where they are.
Coordinates are normalised by height and by width, so that pictures that are not square are bent as much in both directions.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

SMOOTHING = 1e-3
"""Weight of the bending energy: control points are met closely, not exactly, and the warp does not fold."""


def warp_grid(batch: int, size: tuple[int, int], amount: float, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Where each pixel of a warped picture comes from.

    Args:
        batch: number of pictures, each with a warp of its own.
        size: (height, width) in pixels.
        amount: largest shift of a control point, as a share of the side.
        generator: where the random numbers come from; on the CPU.
        share: probability that a picture is warped at all.

    Returns:
        (batch, height, width, 2) float32 grid for `grid_sample`, x before y, in [-1, 1].
    """
    points, corners = _control_points()
    shifts = (torch.rand(batch, 9, 2, generator=generator) * 2 - 1) * (2 * amount)
    chosen = torch.rand(batch, 1, 1, generator=generator) < share
    sources = torch.cat([points + shifts * chosen, corners.expand(batch, -1, -1)], 1)
    return (_warping(size) @ sources).reshape(batch, *size, 2)


def spline_matrix(points: Tensor, size: tuple[int, int], smoothing: float = SMOOTHING) -> Tensor:
    """The smoothed thin-plate spline through scattered values, on a picture's pixels, as a matrix to multiply them by.

    Args:
        points: (K, 2) float32 places (x, y) in [-1, 1].
        size: (height, width) of the picture.
        smoothing: weight of the bending energy; 0 interpolates (points must then be distinct).

    Returns:
        (height * width, K) float32.
    """
    places, count = points.double(), len(points)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count, :count] = _kernel(torch.cdist(places, places)) + smoothing * torch.eye(count, dtype=torch.float64)
    system[:count, count:] = _affine(places)
    system[count:, :count] = _affine(places).T
    height, width = size
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).double()
    basis = torch.cat([_kernel(torch.cdist(pixels, places)), _affine(pixels)], 1)
    # the pseudo-inverse: control points in the corners lie there twice
    matrix: Tensor = (basis @ torch.linalg.pinv(system)[:, :count]).float()
    return matrix


@lru_cache(maxsize=4)
def _warping(size: tuple[int, int]) -> Tensor:
    return spline_matrix(torch.cat(_control_points()), size)


def _control_points() -> tuple[Tensor, Tensor]:
    """(9, 2) points that are shifted, and (4, 2) corners that are not."""
    side, ends = torch.linspace(-1, 1, 3), torch.tensor([-1.0, 1.0])
    return torch.cartesian_prod(side, side), torch.cartesian_prod(ends, ends)


def warp(pictures: Tensor, grid: Tensor) -> Tensor:
    """(B, C, H, W) pictures taken from where the grid says; beyond the border they are mirrored."""
    return functional.grid_sample(pictures, grid.to(pictures), padding_mode="reflection", align_corners=True)


def _kernel(distance: Tensor) -> Tensor:
    """r^2 log r, 0 where r is 0."""
    return torch.where(distance > 0, distance.square() * distance.clamp_min(1e-12).log(), 0.0)


def _affine(places: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(places), 1, dtype=places.dtype), places], 1)
