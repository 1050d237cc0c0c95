"""Looks of single parts on a plain ground, and of parts that fill the picture."""

import numpy as np

from tools.standin.canvas import Canvas, Colour, Points, bow, box, ellipse, rounded


def loosely(canvas: Canvas, rng: np.random.Generator, degrees: float, scale: float = 0.05) -> None:
    """Place a part near the middle, turned by up to `degrees` and up to the share `scale` larger or smaller."""
    x, y = 0.5 + rng.uniform(-0.03, 0.03, 2)
    canvas.place(x, y, rng.uniform(-degrees, degrees), 1 + rng.uniform(-scale, scale))


def bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bottle's mouth from above."""
    loosely(canvas, rng, 180)
    rings = ((0.84, (52, 36, 22), 30), (0.74, (128, 84, 40), 90), (0.60, (46, 30, 16), 140), (0.34, (20, 14, 10), 60))
    for diameter, colour, height in rings:
        canvas.fill(ellipse(diameter, diameter), colour, height)


def cable(canvas: Canvas, rng: np.random.Generator) -> None:
    """A cut cable: three insulated bundles of wire in a sheath."""
    loosely(canvas, rng, 15, 0.03)
    canvas.fill(ellipse(1.3, 1.3), (150, 150, 154), 60)
    canvas.fill(ellipse(0.92, 0.92), (88, 88, 90), 30)
    for turn, colour in zip((90, 210, 330), ((164, 92, 40), (60, 110, 84), (70, 90, 160)), strict=True):
        x, y = 0.23 * np.cos(np.deg2rad(turn)), -0.23 * np.sin(np.deg2rad(turn))
        canvas.fill(ellipse(0.40, 0.40, x, y), colour, 110)
        canvas.fill(ellipse(0.31, 0.31, x, y), (110, 70, 46), 60)
        for wire in _ring(3, 0.045) + _ring(8, 0.115):
            canvas.fill(ellipse(0.068, 0.068, x + wire[0], y + wire[1], 12), (206, 150, 112), 150)


def capsule(canvas: Canvas, rng: np.random.Generator) -> None:
    """A capsule in two colours."""
    loosely(canvas, rng, 20)
    canvas.fill(rounded(0.76, 0.27, 0.13), (176, 84, 34), 110)
    canvas.fill(rounded(0.40, 0.27, 0.13, -0.18), (44, 40, 40), 110)
    canvas.fill(box(0.2, 0.27, -0.08), (44, 40, 40), 110)
    canvas.fill(box(0.12, 0.05, -0.17), (190, 190, 186), 110)


def hazelnut(canvas: Canvas, rng: np.random.Generator) -> None:
    """A nut with a pale base, turned any way."""
    canvas.grain = 0.12
    loosely(canvas, rng, 180)
    canvas.fill(ellipse(0.62, 0.70), (134, 80, 44), 120)
    canvas.fill(ellipse(0.36, 0.20, 0.0, 0.22), (178, 136, 96), 110)


def metal_nut(canvas: Canvas, rng: np.random.Generator) -> None:
    """A nut with four lugs and a hole."""
    loosely(canvas, rng, 180)
    for turn in range(4):
        x, y = 0.30 * np.cos(turn * np.pi / 2), 0.30 * np.sin(turn * np.pi / 2)
        canvas.fill(rounded(0.24, 0.24, 0.06, x, y), (136, 130, 124), 100)
    canvas.fill(ellipse(0.66, 0.66), (150, 144, 138), 140)
    canvas.fill(ellipse(0.36, 0.36), (110, 106, 102), 70)
    canvas.fill(ellipse(0.29, 0.29), (20, 20, 22), 0)


def pill(canvas: Canvas, rng: np.random.Generator) -> None:
    """A white tablet with red specks."""
    loosely(canvas, rng, 8)
    canvas.fill(ellipse(0.80, 0.48), (206, 200, 192), 120)
    for _ in range(rng.integers(25, 40)):
        turn, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.8))
        spot = rng.uniform(0.006, 0.02)
        canvas.fill(ellipse(spot, spot, 0.4 * distance * np.cos(turn), 0.24 * distance * np.sin(turn), 8), (178, 66, 56), 120)


def screw(canvas: Canvas, rng: np.random.Generator) -> None:
    """A screw, turned any way."""
    loosely(canvas, rng, 180)
    canvas.fill(box(0.60, 0.075, 0.05), (116, 116, 116), 90)
    for offset in np.arange(-0.02, 0.33, 0.03):
        canvas.fill(box(0.014, 0.105, offset), (82, 82, 82), 140)
    canvas.fill(np.array([[0.34, -0.045], [0.42, 0.0], [0.34, 0.045]]), (104, 104, 104), 90)
    canvas.fill(
        np.array([[-0.38, -0.11], [-0.32, -0.11], [-0.24, -0.04], [-0.24, 0.04], [-0.32, 0.11], [-0.38, 0.11]]), (98,) * 3, 120
    )


def toothbrush(canvas: Canvas, rng: np.random.Generator) -> None:
    """A brush's head with rows of tufts."""
    loosely(canvas, rng, 4)
    canvas.fill(rounded(0.34, 0.86, 0.16), (190, 194, 200), 70)
    colours = ((66, 110, 190), (220, 220, 224), (196, 64, 70))
    tint = colours[int(rng.integers(3))]
    for row in range(9):
        for column in range(4):
            x, y = 0.07 * (column - 1.5), 0.082 * (row - 4)
            x, y = x + rng.uniform(-0.006, 0.006), y + rng.uniform(-0.006, 0.006)
            canvas.fill(ellipse(0.062, 0.066, x, y, 14), tint if (row + column) % 2 else (226, 226, 222), 150)


def transistor(canvas: Canvas, rng: np.random.Generator) -> None:
    """A package with three legs on a board with holes."""
    canvas.height[:] = 20
    for x in np.linspace(0.06, 0.94, 9):
        for y in np.linspace(0.06, 0.94, 9):
            canvas.place(x, y)
            canvas.fill(ellipse(0.035, 0.035, corners=12), (30, 26, 24), 0)
    loosely(canvas, rng, 3, 0.02)
    for x in (-0.11, 0.0, 0.11):
        canvas.fill(box(0.035, 0.36, x, 0.24), (170, 166, 160), 80)
    canvas.fill(rounded(0.42, 0.34, 0.03, 0.0, -0.08), (36, 36, 40), 140)
    canvas.fill(box(0.2, 0.02, 0.0, -0.1), (96, 96, 96), 140)


def cashew(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bent nut."""
    loosely(canvas, rng, 12)
    canvas.fill(bow(0.62, 0.27, rng.uniform(115, 140)) - np.array([0.0, 0.1]), (214, 172, 112), 130)


def chewinggum(canvas: Canvas, rng: np.random.Generator) -> None:
    """A square piece with a rough back."""
    canvas.grain = 0.09
    loosely(canvas, rng, 10)
    canvas.fill(rounded(0.50, 0.42, 0.07), (186, 190, 184), 120)


def fryum(canvas: Canvas, rng: np.random.Generator) -> None:
    """A fried wheel with spokes."""
    loosely(canvas, rng, 180)
    canvas.grain = 0.1
    ground = canvas.colour[0, 0].tolist()
    canvas.fill(ellipse(0.72, 0.72), (222, 164, 70), 120)
    for x, y in _ring(6, 0.215):
        canvas.fill(ellipse(0.15, 0.15, x, y), ground, 0)


def pipe_fryum(canvas: Canvas, rng: np.random.Generator) -> None:
    """A fried tube, seen from the side."""
    canvas.grain = 0.1
    loosely(canvas, rng, 30)
    canvas.fill(rounded(0.64, 0.26, 0.05), (216, 140, 60), 120)
    for y in (-0.08, 0.0, 0.08):
        canvas.fill(rounded(0.62, 0.04, 0.02, 0.0, y), (230, 160, 78), 150)
    canvas.fill(ellipse(0.07, 0.22, 0.30), (120, 70, 30), 40)


def disc(canvas: Canvas, rng: np.random.Generator) -> None:
    """A turned metal disc with a ring of holes."""
    loosely(canvas, rng, 180)
    for diameter, colour, height in ((0.86, (150, 146, 138), 80), (0.70, (120, 118, 112), 50), (0.44, (164, 160, 152), 120)):
        canvas.fill(ellipse(diameter, diameter), colour, height)
    for x, y in _ring(8, 0.285):
        canvas.fill(ellipse(0.06, 0.06, x, y, 16), (34, 34, 36), 0)


def plate(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pressed plate with slots."""
    loosely(canvas, rng, 3)
    canvas.fill(rounded(0.80, 0.58, 0.08), (118, 122, 130), 90)
    canvas.fill(rounded(0.66, 0.44, 0.05), (134, 138, 146), 130)
    for x in (-0.2, 0.0, 0.2):
        canvas.fill(rounded(0.08, 0.26, 0.04, x), (56, 58, 64), 40)


def board(canvas: Canvas, rng: np.random.Generator, colour: Colour, width: float, height: float, design: int) -> None:
    """A printed circuit board: `design` decides its parts, which are the same on every board."""
    loosely(canvas, rng, 4, 0.03)
    canvas.fill(rounded(width, height, 0.015), colour, 60)
    for x in (-1, 1):
        canvas.fill(ellipse(0.05, 0.05, x * (width / 2 - 0.05), height / 2 - 0.05, 16), (206, 196, 150), 70)
    for outline, tint, level in _parts_of_board(design, width, height):
        canvas.fill(outline, tint, level)
    for x in np.linspace(-0.3 * width, 0.3 * width, 6):
        canvas.fill(box(0.018, 0.07, x, -height / 2 + 0.03), (214, 204, 160), 90)


def _parts_of_board(design: int, width: float, height: float) -> list[tuple[Points, Colour, int]]:
    layout = np.random.default_rng(design)
    kinds: tuple[tuple[float, float, Colour, int], ...] = (
        (0.14, 0.10, (34, 34, 36), 150),
        (0.05, 0.03, (186, 160, 120), 110),
        (0.07, 0.07, (176, 178, 182), 170),
        (0.10, 0.008, (90, 150, 110), 64),
    )
    parts = []
    cells = layout.permutation([(column, row) for column in range(5) for row in range(4)])
    for number, (column, row) in enumerate(cells[: layout.integers(13, 18)]):
        wide, high, tint, level = kinds[number % 4]
        x = (column - 2 + layout.uniform(-0.1, 0.1)) * (width - 0.16) / 5
        y = (row - 1.3 + layout.uniform(-0.1, 0.1)) * (height - 0.16) / 4
        outline = ellipse(wide, high, x, y, 20) if number % 4 == 2 else box(wide, high, x, y)
        parts.append((outline, tint, level))
    return parts


def _ring(count: int, radius: float) -> list[tuple[float, float]]:
    turns = np.arange(count) * (2 * np.pi / count)
    return [(float(radius * np.cos(turn)), float(radius * np.sin(turn))) for turn in turns]
