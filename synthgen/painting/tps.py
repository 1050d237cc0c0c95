"""Thin-plate splines: displacement fields that pass through given displacements at given points.

Convention: points are (x, y) in pixels; the kernel is r^2 log r; a field f is f(p) = a0 + A p + sum_j w_j U(|p - p_j|) with
sum w_j = sum w_j p_j = 0, so that an affine field is reproduced exactly. Values are displacements, fitted where the warped
image has them: a backward map is then `p - f(p)`.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Field = NDArray[np.float32]

_ON_ONE_LINE = 1e-12  # width of the points' cloud by its length


def solve(points: Points, values: Points) -> NDArray[np.float64]:
    """Coefficients of the spline through `values` at `points`.

    Args:
        points: (n, 2) distinct points that do not lie on one line, n >= 3.
        values: (n, k) values at them.

    Returns:
        (n + 3, k) float64: the n kernel weights, then a0 and the two rows of A.

    Raises:
        numpy.linalg.LinAlgError: if two points coincide or all lie on one line.
    """
    # whether elimination ends in a zero depends on how it rounds, and so on the processor: ask the points themselves
    if len(np.unique(points, axis=0)) < len(points):
        raise np.linalg.LinAlgError("two points coincide")
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if spread[1] <= _ON_ONE_LINE * spread[0]:
        raise np.linalg.LinAlgError("all points lie on one line")
    n = len(points)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _kernel(points, points)
    system[:n, n] = system[n, :n] = 1
    system[:n, n + 1 :] = points
    system[n + 1 :, :n] = points.T
    return np.linalg.solve(system, np.concatenate([values, np.zeros((3, values.shape[1]))]))


def evaluate(coefficients: NDArray[np.float64], points: Points, at: Points) -> NDArray[np.float64]:
    """(m, k) values of the spline at the (m, 2) points `at`."""
    n = len(points)
    values: NDArray[np.float64] = _kernel(at, points) @ coefficients[:n] + coefficients[n] + at @ coefficients[n + 1 :]
    return values


def field(coefficients: NDArray[np.float64], points: Points, height: int, width: int, step: int | None = None) -> Field:
    """The spline at every pixel of a (height, width) window: exact every `step` pixels, Keys' cubic in between.

    The cubic of Keys (a = -1/2) keeps linear parts exact, OpenCV's (a = -3/4) does not. What it cannot follow are the
    cusps at the control points; with points a tenth of the window apart and the step that is chosen by default, larger for
    larger windows, the error is at most 0.3 pixels.

    Returns:
        (height, width, 2) float32.
    """
    if step is None:
        step = next(s for s, side in ((1, 64), (2, 160), (4, 320), (8, np.inf)) if max(height, width) <= side)
    grid_y, interpolate_y = _coarse_axis(height, step)
    grid_x, interpolate_x = _coarse_axis(width, step)
    at = np.stack(np.meshgrid(grid_x, grid_y), axis=-1).reshape(-1, 2)
    coarse = evaluate(coefficients, points, at).astype(np.float32).reshape(len(grid_y), len(grid_x), 2)
    rows = np.tensordot(interpolate_y, coarse, 1)  # (height, len(grid_x), 2)
    return np.stack([rows[..., k] @ interpolate_x.T for k in range(2)], axis=-1)


def smallest_jacobian(displacement: Field) -> float:
    """Smallest determinant of the Jacobian of p - f(p), by differences of neighbours: at most 0 where the warp folds over."""
    along_y, along_x = np.diff(displacement, axis=0)[:, :-1], np.diff(displacement, axis=1)[:-1]
    determinant = (1 - along_x[..., 0]) * (1 - along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
    return float(determinant.min()) if determinant.size else 1.0


def _kernel(a: Points, b: Points) -> NDArray[np.float64]:
    squared = (a[:, 0, None] - b[:, 0]) ** 2 + (a[:, 1, None] - b[:, 1]) ** 2
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-300)), np.float64)


def _coarse_axis(length: int, step: int) -> tuple[NDArray[np.float64], Field]:
    """Coarse positions that cover 0..length-1 with a margin, and the (length, positions) matrix of Keys' cubic weights."""
    knots = (length - 1) // step + 4
    positions = (np.arange(knots, dtype=np.float64) - 1) * step
    t = np.arange(length) / step
    first = np.floor(t).astype(np.int64)
    u = t - first
    weights = np.stack(
        [
            -0.5 * u + u**2 - 0.5 * u**3,
            1 - 2.5 * u**2 + 1.5 * u**3,
            0.5 * u + 2 * u**2 - 1.5 * u**3,
            -0.5 * u**2 + 0.5 * u**3,
        ]
    )
    matrix = np.zeros((length, knots), np.float32)
    at = np.arange(length)
    for k in range(4):
        matrix[at, first + k] = weights[k]
    return positions, matrix
