"""Procedural solid textures, band-limited: what is finer than a pixel fades to its mean.

A pattern maps points (3, P) and a footprint (P,) (size of a pixel on the surface, in the points'
unit) to a blend (P,) in [0, 1] between a material's two colours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from cleave.ops.render.solids import Array

_LATTICE = 64  # periods of the noise an axis; a power of two


@functools.cache
def _values(dimensions: int) -> Array:
    return np.random.default_rng(dimensions).random(_LATTICE**dimensions) * 2.0 - 1.0


def noise(points: Array) -> Array:
    """Value noise in [-1, 1]: random numbers on the integer lattice, smoothly interpolated.

    Args:
        points: (D, P) with D = 2 or 3; the noise repeats after 64 units.
    """
    table = _values(len(points))
    base = np.floor(points)
    w = points - base
    w = w * w * (3.0 - 2.0 * w)
    low = base.astype(np.int64) & (_LATTICE - 1)
    high = (low + 1) & (_LATTICE - 1)

    def blend(axis: int, index: Array | int) -> Array:
        if axis == len(points):
            return table.take(index)
        a = blend(axis + 1, index * _LATTICE + low[axis])
        b = blend(axis + 1, index * _LATTICE + high[axis])
        return a + (b - a) * w[axis]

    return blend(0, 0)


def layers(points: Array, footprint: Array, frequency: float, octaves: int) -> Array:
    """Noise of `octaves` doubling frequencies and halving strengths, about in [-1, 1]."""
    total, strength = 0.0, 1.0
    for octave in range(octaves):
        scale = frequency * 2.0**octave
        fade = np.clip(1.5 - 2.0 * scale * footprint, 0.0, 1.0)
        total = total + strength * fade * noise(points * scale + 17.3 * octave)
        strength *= 0.5
    return total / (2.0 - 2.0 ** (1 - octaves))


def wave(position: Array, width: Array) -> Array:
    """A triangle wave of period 1 in [0, 1], flattened where `width` nears the period."""
    fade = np.clip(1.5 - 2.0 * width, 0.0, 1.0)
    return 0.5 + (np.abs(2.0 * (position - np.floor(position)) - 1.0) - 0.5) * fade


def bands(position: Array, width: Array, share: float = 0.5) -> Array:
    """1 over `share` of each period and 0 elsewhere, with edges as soft as `width` periods."""
    height = np.abs(2.0 * (position - np.floor(position)) - 1.0)
    soft = np.maximum(2.5 * width, 0.02)
    edge = np.clip((share - height) / soft + 0.5, 0.0, 1.0)
    fade = np.clip(1.6 - 2.0 * width, 0.0, 1.0)
    return share + (edge - share) * fade


def _plain(p: Array, f: Array) -> Array:
    return 0.5 + 0.25 * layers(p, f, 9.0, 2)


def _mottled(p: Array, f: Array) -> Array:
    return np.clip(0.5 + 0.75 * layers(p, f, 5.0, 3), 0.0, 1.0)


def _stripes(p: Array, f: Array) -> Array:
    position = 7.0 * p[1] + 0.12 * noise(p * 4.0)
    return bands(position, 7.0 * f)


def _diagonal(p: Array, f: Array) -> Array:
    return bands(5.0 * (p[0] + p[1] * 0.8 + p[2]), 8.0 * f, 0.4)


def _checks(p: Array, f: Array) -> Array:
    sign = 1.0
    for axis in range(3):
        sign = sign * (2.0 * bands(3.5 * p[axis] + 0.3, 3.5 * f) - 1.0)
    return 0.5 + 0.5 * sign


def _wood(p: Array, f: Array) -> Array:
    bent = p[0] + 0.06 * noise(p * 3.0)
    across = p[2] + 0.5 + 0.06 * noise(p * 3.0 + 9.0)
    rings = wave(11.0 * np.sqrt(bent * bent + across * across), 11.0 * f)
    stretched = p * np.array([[1.0], [0.12], [1.0]])
    return np.clip(0.65 * rings * rings + 0.3 * layers(stretched, f, 26.0, 2) + 0.2, 0.0, 1.0)


def _marble(p: Array, f: Array) -> Array:
    veins = wave(1.8 * (p[0] + 0.7 * p[1] + 0.4 * p[2]) + 0.9 * layers(p, f, 2.5, 3), 2.0 * f)
    return 1.0 - veins * veins * veins


def _speckle(p: Array, f: Array) -> Array:
    fade = np.clip(1.5 - 36.0 * f, 0.0, 1.0)
    spots = np.clip(4.0 * (noise(p * 18.0) - 0.35), 0.0, 1.0)
    return 0.15 + (spots - 0.15) * fade


def _planks(p: Array, f: Array) -> Array:
    row = np.floor(p[0] * 4.0)
    along = p[2] * 0.7 + row * 0.37
    tone = noise(np.stack([row * 1.7 + 0.5, np.floor(along) * 2.3 + 0.5]))
    flat = np.stack([p[0] * 22.0, p[2] * 1.6 + row * 5.1])
    grain = noise(flat) * np.clip(1.5 - 44.0 * f, 0.0, 1.0)
    groove = bands(p[0] * 4.0 + 0.5, 4.0 * f, 0.03) + bands(along + 0.5, 2.0 * f, 0.012)
    return np.clip(0.42 + 0.28 * tone + 0.16 * grain + 0.8 * groove, 0.0, 1.0)


def _tiles(p: Array, f: Array) -> Array:
    squares = bands(1.6 * p[0] + 0.2, 1.6 * f) - bands(1.6 * p[2] + 0.2, 1.6 * f)
    joints = np.maximum(
        bands(3.2 * p[0] + 0.15, 3.2 * f, 0.03), bands(3.2 * p[2] + 0.15, 3.2 * f, 0.03)
    )
    cloud = 0.12 * layers(p[::2], f, 3.0, 3)
    return np.clip(0.25 + 0.3 * squares * squares + cloud + 0.5 * joints, 0.0, 1.0)


def _carpet(p: Array, f: Array) -> Array:
    return np.clip(0.5 + 0.5 * layers(p[::2], f, 30.0, 2) + 0.25 * noise(p[::2] * 1.7), 0.0, 1.0)


def _concrete(p: Array, f: Array) -> Array:
    return np.clip(0.5 + 0.55 * layers(p[::2], f, 1.6, 4), 0.0, 1.0)


def _plaster(p: Array, f: Array) -> Array:
    return np.clip(0.5 + 0.5 * layers(p[:2], f, 1.3, 4), 0.0, 1.0)


def _wallpaper(p: Array, f: Array) -> Array:
    return 0.15 + 0.7 * bands(2.2 * p[0], 2.2 * f) + 0.1 * noise(p[:2] * 5.0)


def _bricks(p: Array, f: Array) -> Array:
    row = np.floor(p[1] * 5.0)
    along = p[0] * 2.2 + row * 0.5
    tone = noise(np.stack([row * 3.1 + 0.5, np.floor(along) * 1.9 + 0.5]))
    joint = np.maximum(bands(p[1] * 5.0 + 0.5, 5.0 * f, 0.1), bands(along + 0.5, 2.2 * f, 0.05))
    brick = 0.35 + 0.25 * tone + 0.15 * layers(p[:2], f, 9.0, 2)
    return np.clip(brick + (1.0 - brick) * 0.8 * joint, 0.0, 1.0)


def _boards(p: Array, f: Array) -> Array:
    row = np.floor(p[0] * 2.5)
    tone = noise(np.stack([row * 1.7 + 0.5, 0.5 + 0.0 * row]))
    groove = bands(p[0] * 2.5 + 0.5, 2.5 * f, 0.04)
    grain = layers(np.stack([p[0] * 9.0, p[1] * 0.8]), 4.0 * f, 1.0, 2)
    return np.clip(0.35 + 0.2 * tone + 0.2 * grain + 0.7 * groove, 0.0, 1.0)


Pattern = Callable[[Array, Array], Array]
OBJECTS: dict[str, Pattern] = {
    "plain": _plain,
    "mottled": _mottled,
    "stripes": _stripes,
    "diagonal": _diagonal,
    "checks": _checks,
    "wood": _wood,
    "marble": _marble,
    "speckle": _speckle,
}
FLOORS: dict[str, Pattern] = {
    "planks": _planks,
    "tiles": _tiles,
    "carpet": _carpet,
    "concrete": _concrete,
}
WALLS: dict[str, Pattern] = {
    "plaster": _plaster,
    "wallpaper": _wallpaper,
    "bricks": _bricks,
    "boards": _boards,
}
