"""Which colours and patterns a scene's classes, floor and wall have, and the light on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleave.ops.render.shapes import between
from cleave.ops.render.solids import Array, unit
from cleave.ops.render.textures import FLOORS, OBJECTS, WALLS, Pattern

# As on a screen, 0 to 255. Far apart in hue or brightness, so that classes look different.
_CLASS_COLOURS = (
    (196, 52, 44),  # red
    (40, 92, 178),  # blue
    (238, 184, 42),  # yellow
    (44, 138, 78),  # green
    (226, 112, 36),  # orange
    (118, 62, 146),  # violet
    (36, 152, 160),  # teal
    (222, 110, 150),  # pink
    (122, 74, 44),  # brown
    (52, 56, 64),  # charcoal
    (232, 228, 216),  # ivory
    (150, 178, 60),  # olive
)
_FLOOR_COLOURS = (
    ((178, 140, 100), (118, 84, 56)),
    ((150, 116, 86), (92, 66, 46)),
    ((186, 180, 170), (132, 126, 118)),
    ((160, 164, 168), (112, 116, 122)),
    ((200, 186, 160), (150, 134, 108)),
    ((120, 128, 124), (82, 90, 88)),
)
_WALL_COLOURS = (
    ((222, 216, 202), (198, 190, 174)),
    ((196, 206, 212), (170, 182, 190)),
    ((206, 212, 192), (180, 188, 164)),
    ((214, 196, 184), (188, 166, 150)),
    ((182, 178, 184), (156, 150, 160)),
)


def _linear(colour) -> Array:
    """Screen colour to reflectance under gamma 2 (a square root is exact everywhere), a bit greyed:
    no paint reflects a single primary colour."""
    paint = np.square(np.array(colour, float) / 255.0)
    return 0.88 * paint + 0.12 * paint.mean()


@dataclass(frozen=True, eq=False)
class Material:
    """Two colours (3,) blended by a pattern of `scale` periods, and how it shines."""

    pattern: Pattern
    first: Array
    second: Array
    scale: float = 1.0
    gloss: float = 0.0  # strength of the highlight


@dataclass(frozen=True, eq=False)
class Light:
    """A distant lamp with a soft edge, and the room's own light."""

    towards: Array  # (3,) unit vector to the lamp
    colour: Array  # (3,)
    ambient: Array  # (3,) light from above; less comes from below
    radius: float  # half the lamp's angular width, radians


@dataclass(frozen=True, eq=False)
class Look:
    """All that decides colours: changing it moves no pixel of depth or mask."""

    classes: tuple[Material, ...]
    floor: Material
    wall: Material
    light: Light
    exposure: float


def _pick(rng: np.random.Generator, options):
    options = tuple(options)
    return options[int(rng.integers(len(options)))]


def _class_material(rng: np.random.Generator, colour) -> Material:
    first = _linear(colour)
    if sum(colour) < 240:  # a dark class gets lighter marks
        second = first * 0.4 + _linear((150, 146, 140)) * 0.6
    else:
        towards = _linear((245, 240, 228) if rng.random() < 0.35 else (26, 22, 20))
        share = between(rng, 0.35, 0.6)
        second = first * (1.0 - share) + towards * share
    pattern = OBJECTS[_pick(rng, OBJECTS)]
    return Material(pattern, first, second, between(rng, 0.8, 1.3), between(rng, 0.0, 0.5))


def draw_look(rng: np.random.Generator, classes: int) -> Look:
    """Colours, patterns and light of one scene."""
    order = np.argsort(rng.random(len(_CLASS_COLOURS)), kind="stable")
    materials = tuple(_class_material(rng, _CLASS_COLOURS[i]) for i in order[:classes])
    floor = [_linear(colour) for colour in _pick(rng, _FLOOR_COLOURS)]
    wall = [_linear(colour) for colour in _pick(rng, _WALL_COLOURS)]
    side = 1.0 if rng.random() < 0.5 else -1.0
    towards = unit(
        np.array([side * between(rng, 0.35, 0.9), 1.0, -between(rng, 0.15, 0.65)]),
    )
    warm = between(rng, -0.06, 0.1)
    light = Light(
        towards,
        between(rng, 1.5, 1.9) * np.array([1.0 + warm, 1.0, 1.0 - warm]),
        between(rng, 0.55, 0.75) * np.array([1.0 - 0.5 * warm, 1.0, 1.0 + 0.8 * warm]),
        between(rng, 0.03, 0.07),
    )
    return Look(
        materials,
        Material(FLOORS[_pick(rng, FLOORS)], *floor, gloss=between(rng, 0.0, 0.12)),
        Material(WALLS[_pick(rng, WALLS)], *wall),
        light,
        between(rng, 0.5, 0.62),
    )
