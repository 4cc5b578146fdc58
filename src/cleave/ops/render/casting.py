"""Which classes a scene has, and single things of a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleave.ops.render.camera import Thing
from cleave.ops.render.shapes import NAMES, between, build
from cleave.ops.render.solids import Solid, moved, unit

_COMPOSED = ("table", "chair", "animal", "arch")
_SIMPLE = tuple(name for name in NAMES if name not in _COMPOSED)
_CROWDED_SIZE, _CONTROL_SIZE = (0.6, 0.9), (1.0, 1.35)  # longest side, metres
_COMPOSED_FACTOR = 1.35  # thin legs fill less of the picture


@dataclass(frozen=True, eq=False)
class ThingClass:
    """Things of one class share proportions, size within 10%, and material."""

    family: int  # index in shapes.NAMES
    group: int  # number of the class within its scene
    solids: tuple[Solid, ...]  # standing on the origin, longest side 1
    size: float  # metres

    def thing(self, rng: np.random.Generator, x: float, z: float) -> Thing:
        """One of them at (x, z) on the floor, turned at random."""
        size = self.size * between(rng, 0.9, 1.1)
        turn, place = heading(rng), np.array([x, 0.0, z])
        solids = tuple(moved(solid, size, turn, place) for solid in self.solids)
        shade, offset = between(rng, 0.95, 1.05), rng.random(3) * 0.2
        return Thing(solids, self.family, self.group, size, turn, place, shade, offset)


def heading(rng: np.random.Generator) -> tuple[float, float]:
    """(cos, sin) of a random angle, by rejection: machines differ in the last bit of a cosine."""
    while True:
        x, y = 2.0 * rng.random() - 1.0, 2.0 * rng.random() - 1.0
        if 0.01 < x * x + y * y < 1.0:
            cos, sin, _ = unit(np.array([x, y, 0.0]))
            return float(cos), float(sin)


def draw_classes(flavour: str, count: int, rng: np.random.Generator) -> list[ThingClass]:
    """`count` classes of different families; in control most are composed of several solids."""
    control = flavour == "control"
    composed_share = 0.8 if control else 0.3
    families: list[str] = []
    while len(families) < count:
        options = _COMPOSED if rng.random() < composed_share else _SIMPLE
        name = options[int(rng.integers(len(options)))]
        if name not in families:
            families.append(name)
    classes = []
    for group, name in enumerate(families):
        size = between(rng, *(_CONTROL_SIZE if control else _CROWDED_SIZE))
        size *= _COMPOSED_FACTOR if name in _COMPOSED else 1.0
        classes.append(ThingClass(NAMES.index(name), group, tuple(build(name, rng)), size))
    return classes
