"""Looks that fill the picture: fabric, mesh, hide, stone, wood."""

import cv2
import numpy as np

from tools.standin.canvas import Canvas, Colour, Floats, box, clouds, rounded


def carpet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Loops of yarn in rows."""
    x, y = _turned(canvas.size, rng.uniform(-3, 3), rng)
    loops = np.sin(190 * x + 1.5 * np.sin(95 * y)) * np.sin(150 * y)
    canvas.cover(0.5 + 0.25 * loops + 0.16 * clouds(canvas.size, 110, rng), (52, 50, 50), (176, 170, 164))


def grid(canvas: Canvas, rng: np.random.Generator) -> None:
    """Two layers of wire, crossing."""
    x, y = _turned(canvas.size, 45 + rng.uniform(-3, 3), rng)
    wires = np.maximum(np.cos(75 * x), np.cos(75 * y + 0.4))
    canvas.cover((wires - 0.2) * 1.6 + 0.06 * clouds(canvas.size, 40, rng), (196, 196, 196), (70, 70, 70))


def leather(canvas: Canvas, rng: np.random.Generator) -> None:
    """Creases between pebbles."""
    size = canvas.size
    creases = np.abs(clouds(size, 38, rng)) + 0.7 * np.abs(clouds(size, 75, rng))
    canvas.cover(0.25 + 0.6 * np.sqrt(creases) + 0.08 * clouds(size, 5, rng), (58, 30, 20), (164, 104, 72))


def tile(canvas: Canvas, rng: np.random.Generator) -> None:
    """Dark and light chips in a gray mass."""
    size = canvas.size
    chips = np.clip(6 * (clouds(size, 26, rng) - 0.35), 0, 1) - np.clip(7 * (clouds(size, 34, rng) - 0.4), 0, 1)
    canvas.cover(0.55 + 0.4 * chips + 0.06 * clouds(size, 128, rng), (48, 48, 52), (218, 214, 208))


def wood(canvas: Canvas, rng: np.random.Generator, dark: Colour = (84, 48, 24), light: Colour = (206, 148, 92)) -> None:
    """Fibres from top to bottom, with wavy rings."""
    size = canvas.size
    _, y = _turned(size, 0, rng)
    x = np.linspace(0, 1, size, dtype=np.float32) + np.float32(0.03) * clouds(size, 3, rng)
    phase = rng.uniform(30, 55) * x + rng.uniform(0, 6) + 0.6 * y
    rings = np.float32(0.13) * np.asarray(np.sin(phase), np.float32)
    fibres = 0.16 * clouds(size, 5, rng, 0.045) + 0.1 * clouds(size, 14, rng, 0.11)
    canvas.cover(0.5 + rings + fibres, dark, light)


def zipper(canvas: Canvas, rng: np.random.Generator) -> None:
    """Two bands of cloth with a row of teeth between them."""
    x, y = _turned(canvas.size, 0, rng)
    canvas.cover(0.4 + 0.12 * np.sin(260 * x) * np.sin(220 * y) + 0.06 * clouds(canvas.size, 90, rng), (16,) * 3, (110,) * 3)
    canvas.place(0.5 + rng.uniform(-0.03, 0.03), 0.5, rng.uniform(-2, 2))
    canvas.fill(box(0.30, 1.2), (34, 34, 34), 20)
    for number, offset in enumerate(np.arange(-0.56, 0.56, 0.04) + rng.uniform(0, 0.04)):
        side = 0.035 if number % 2 else -0.035
        canvas.fill(rounded(0.13, 0.03, 0.01, side, offset), (150, 150, 150), 90)


def _turned(size: int, degrees: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Both coordinates of each pixel in a turned and shifted frame; the picture's side is 1 long."""
    matrix = cv2.getRotationMatrix2D((0, 0), degrees, 1 / size)[:, :2].astype(np.float32)
    shift = rng.uniform(0, 1, 2).astype(np.float32)
    steps = np.arange(size, dtype=np.float32)
    x = matrix[0, 0] * steps[None, :] + matrix[0, 1] * steps[:, None] + shift[0]
    y = matrix[1, 0] * steps[None, :] + matrix[1, 1] * steps[:, None] + shift[1]
    return x, y
