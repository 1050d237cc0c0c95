"""A tray of parts with rules: each compartment holds a fixed number of one kind of part in one colour.

`tray_scene` draws where everything lies; `render_tray` makes the picture of a scene. The light, the noise and every part have
random numbers of their own, so a scene with one part taken away, moved or recoloured differs from the first only there.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.demo import parts
from synthgen.datasets.demo.relief import Field, Lamp, Relief, grain, light, planes, put
from synthgen.datasets.demo.textures import SIDE, with_sensor_noise
from synthgen.samples import Image

COLUMNS, ROWS = 3, 2
CELL_WIDTH, CELL_HEIGHT = 152, 228  # pixels
_WALL_HEIGHT = 22
_FLOOR = 3.0
_TABLE, _TRAY = (0.30, 0.30, 0.29), (0.055, 0.085, 0.125)  # linear RGB


@dataclass(frozen=True, slots=True)
class Rule:
    """What a compartment of a normal tray holds: `len(places)` parts of one kind and colour.

    Attributes:
        kind, colour: keys of `parts.KINDS` and `parts.COLOURS`.
        places: (x, y) in pixels from the compartment's centre.
        turn: mean angle in radians.
        turn_range: how far the angle varies to either side, in radians.
        jitter: how far a part lies off its place at most, in pixels.
    """

    kind: str
    colour: str
    places: tuple[tuple[float, float], ...]
    turn: float
    turn_range: float
    jitter: float


_UP = float(np.pi / 2)
RULES = (
    Rule("washer", "steel", ((-32, -62), (32, -30), (-32, 22), (30, 62)), 0, 3.1, 7),
    Rule("screw", "zinc", ((-27, 0), (27, 0)), _UP, 0.10, 6),
    Rule("nut", "brass", ((-14, -66), (14, 0), (-14, 66)), 0, 3.1, 8),
    Rule("cable", "red", ((0, 6),), 0, 0.25, 5),
    Rule("spacer", "white", ((0, -62), (0, 0), (0, 62)), 0, 0.22, 7),
    Rule("terminal", "green", ((0, -50), (0, 50)), 0, 0.10, 6),
)
"""One rule per compartment, row by row."""


@dataclass(frozen=True, slots=True)
class TrayPart:
    """One part of a scene.

    Attributes:
        compartment: its number, row by row.
        kind, colour: keys of `parts.KINDS` and `parts.COLOURS`.
        x, y: its centre in pixels from the tray's centre, in the tray's own frame.
        angle: in radians.
        brightness: factor on its colour.
    """

    compartment: int
    kind: str
    colour: str
    x: float
    y: float
    angle: float
    brightness: float


@dataclass(frozen=True, slots=True)
class TrayScene:
    """Everything that a picture of the tray shows.

    Attributes:
        parts: later ones lie on top of earlier ones.
        x, y, angle: place of the tray's centre in the picture, in pixels and radians.
        lamp: the light.
        noise_seed: for the grain of the surfaces and the noise of the camera.
    """

    parts: tuple[TrayPart, ...]
    x: float
    y: float
    angle: float
    lamp: Lamp
    noise_seed: int


def tray_scene(rng: np.random.Generator) -> TrayScene:
    """Draw a tray that keeps all rules."""
    placed = tuple(_place(number, rule, place, rng) for number, rule in enumerate(RULES) for place in rule.places)
    lamp = Lamp(rng.uniform(-2.55, -2.15), rng.uniform(0.80, 0.92), rng.uniform(0.92, 1.06), _warmth(rng))
    centre = SIDE / 2 + rng.uniform(-4, 4, 2)
    return TrayScene(placed, float(centre[0]), float(centre[1]), rng.uniform(-0.012, 0.012), lamp, int(rng.integers(2**32)))


def render_tray(scene: TrayScene) -> tuple[Image, NDArray[np.uint8]]:
    """Make the picture of a scene.

    Returns:
        (512, 512, 3) uint8 RGB, and (512, 512) uint8: 1 + the index in `scene.parts` of the part seen at a pixel, else 0.
    """
    rng = np.random.Generator(np.random.Philox(scene.noise_seed))
    relief = _empty_tray(scene, rng)
    for owner, part in enumerate(scene.parts, start=1):
        _lay(relief, scene, part, owner)
    seen = cv2.GaussianBlur(light(relief, scene.lamp), (0, 0), 0.6)  # no lens is sharper
    return with_sensor_noise(np.asarray(seen, np.float32), rng), relief.owner


def _place(compartment: int, rule: Rule, place: tuple[float, float], rng: np.random.Generator) -> TrayPart:
    dx, dy = rng.uniform(-rule.jitter, rule.jitter, 2)
    x = (compartment % COLUMNS - (COLUMNS - 1) / 2) * CELL_WIDTH + place[0] + dx
    y = (compartment // COLUMNS - (ROWS - 1) / 2) * CELL_HEIGHT + place[1] + dy
    angle = rule.turn + rng.uniform(-rule.turn_range, rule.turn_range)
    return TrayPart(compartment, rule.kind, rule.colour, float(x), float(y), float(angle), brightness=rng.uniform(0.94, 1.06))


def _warmth(rng: np.random.Generator) -> tuple[float, float, float]:
    shift = rng.uniform(-0.02, 0.02)
    return (1.0 + shift, 1.0, 0.98 - shift)


def _empty_tray(scene: TrayScene, rng: np.random.Generator) -> Relief:
    texture = grain(rng, 1.0)  # of the table, and of the moulded plastic
    x, y = _local(scene.x, scene.y, scene.angle, (slice(0, SIDE), slice(0, SIDE)))
    width, height = COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT
    outline = parts.rounded_box(x, y, width / 2 + 8, height / 2 + 8, 16)
    cell_x = _fold(x + width / 2, CELL_WIDTH)
    cell_y = _fold(y + height / 2, CELL_HEIGHT)
    well = parts.rounded_box(cell_x, cell_y, CELL_WIDTH / 2 - 5, CELL_HEIGHT / 2 - 5, 12)
    walls = np.clip((well + 6) / 7, 0, 1)
    walls = walls * walls * (3 - 2 * walls)
    walls[np.maximum(np.abs(x) - width / 2, np.abs(y) - height / 2) >= 0] = 1  # no wells outside of the tray's rim
    surface = (_FLOOR + (_WALL_HEIGHT - _FLOOR) * walls) * np.clip(-outline / 3, 0, 1) + np.float32(0.1) * texture
    cover = np.clip(0.5 - outline, 0, 1)
    colour = (1 + np.float32(0.05) * texture) * (1 - cover) * planes(_TABLE)
    colour += cover * planes(_TRAY)
    return Relief(surface, colour, 0.1 + 0.25 * cover, np.zeros((SIDE, SIDE), np.uint8))


def _fold(position: Field, period: float) -> Field:
    """Position from the middle of the cell it is in, where cells of one size follow each other from 0."""
    return np.asarray(position - (np.floor(position * (1 / period)) + 0.5) * period, np.float32)


def _lay(relief: Relief, scene: TrayScene, part: TrayPart, owner: int) -> None:
    draw, reach = parts.KINDS[part.kind]
    cos, sin = np.cos(scene.angle), np.sin(scene.angle)
    x, y = scene.x + cos * part.x - sin * part.y, scene.y + sin * part.x + cos * part.y
    window = tuple(slice(max(0, int(c) - reach), min(SIDE, int(c) + reach + 2)) for c in (y, x))
    along, across = _local(x, y, part.angle + scene.angle, (window[0], window[1]))
    colour = planes(parts.COLOURS[part.colour]) * np.float32(part.brightness)
    for shape in draw(along, across, colour):
        put(relief, (window[0], window[1]), shape, owner, _FLOOR)


def _local(x: float, y: float, angle: float, window: tuple[slice, slice]) -> tuple[Field, Field]:
    """The pixels of a window as seen from (x, y), turned by `angle`: pixels along the axis, and across it."""
    dy = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(y)
    dx = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - np.float32(x)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * dx + sin * dy, cos * dy - sin * dx
