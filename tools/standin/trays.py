"""Looks with several parts in one picture."""

import numpy as np

from tools.standin.canvas import Canvas, bow, box, ellipse, rounded


def candles(canvas: Canvas, rng: np.random.Generator) -> None:
    """Four tea lights."""
    for x, y in ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)):
        _put(canvas, rng, x, y, 180)
        canvas.fill(ellipse(0.33, 0.33), (206, 190, 158), 100)
        canvas.fill(ellipse(0.27, 0.27), (224, 208, 174), 140)
        canvas.fill(rounded(0.05, 0.022, 0.01, 0.01), (70, 60, 50), 190)


def capsules(canvas: Canvas, rng: np.random.Generator) -> None:
    """Twenty capsules in rows, each turned its own way."""
    for row in range(5):
        for column in range(4):
            _put(canvas, rng, 0.14 + 0.24 * column, 0.12 + 0.19 * row, 60)
            canvas.fill(rounded(0.20, 0.085, 0.04), (70, 128, 66), 120)
            canvas.fill(box(0.008, 0.085), (40, 84, 40), 120)
            canvas.fill(rounded(0.12, 0.012, 0.006, 0.0, -0.018), (150, 200, 140), 150)


def macaroni_in_rows(canvas: Canvas, rng: np.random.Generator) -> None:
    """Four pieces side by side."""
    for x, y in ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)):
        _macaroni(canvas, rng, x, y, 10)


def macaroni_at_random(canvas: Canvas, rng: np.random.Generator) -> None:
    """Four pieces, turned any way."""
    for x, y in ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)):
        _macaroni(canvas, rng, x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03), 180)


def _macaroni(canvas: Canvas, rng: np.random.Generator, x: float, y: float, degrees: float) -> None:
    _put(canvas, rng, x, y, degrees)
    canvas.fill(bow(0.30, 0.105, 110), (228, 172, 62), 120)
    canvas.fill(bow(0.27, 0.03, 110), (240, 194, 90), 150)


def _put(canvas: Canvas, rng: np.random.Generator, x: float, y: float, degrees: float) -> None:
    canvas.place(
        x + rng.uniform(-0.015, 0.015),
        y + rng.uniform(-0.015, 0.015),
        rng.uniform(-degrees, degrees),
        1 + rng.uniform(-0.04, 0.04),
    )
