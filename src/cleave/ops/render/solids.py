"""Convex solids that a ray enters and leaves once: ellipsoid, box and frustum (cylinder, cone).

Every operation is elementwise float64 (no BLAS, no transcendental function), so that machines
agree on the last bit and, after rounding, on the pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Array = np.ndarray
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Solid:
    """A unit solid under a rotation, a scaling by `half` and a shift by `centre`.

    In its own frame an ellipsoid is |p| <= 1, a box max|p| <= 1, and a frustum has its axis along
    y in [-1, 1] with radius 1 at the bottom and `taper` at the top.
    """

    kind: Literal["ellipsoid", "box", "frustum"]
    centre: Array  # (3,) metres
    half: Array  # (3,) half extents along its own axes, metres
    rotation: Array  # (3, 3) rows are its own axes in world coordinates
    taper: float = 1.0  # frustum only; 0 is a cone
    tint: float = 1.0  # factor on the material's brightness: hooves darker, say

    @property
    def reach(self) -> float:
        """Radius of the sphere about `centre` that holds the solid, metres."""
        if self.kind == "ellipsoid":
            return float(self.half.max())
        x, y, z = self.half
        return math.sqrt(x * x + y * y + z * z if self.kind == "box" else max(x, z) ** 2 + y * y)


def rotate(matrix: Array, vectors: Array) -> Array:
    """(3, 3) times (3,) or (3, P), component by component."""
    x, y, z = vectors
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix])


def dot(a: Array, b: Array) -> Array:
    """Scalar products of (3,) or (3, P) vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Array, b: Array) -> Array:
    """Vector product of two (3,) vectors."""
    return np.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def unit(vectors: Array) -> Array:
    """(3,) or (3, P) vectors scaled to length 1."""
    return vectors / np.sqrt(dot(vectors, vectors) + _TINY)


def _column(vector: Array, like: Array) -> Array:
    return vector.reshape(3, *[1] * (like.ndim - 1))


def to_own(solid: Solid, points: Array) -> Array:
    """World points (3,) or (3, P) in the frame in which the solid is a unit solid."""
    moved = rotate(solid.rotation, points - _column(solid.centre, points))
    return moved / _column(solid.half, moved)


def turn_to_own(solid: Solid, direction: Array) -> Array:
    """World directions (3,) or (3, P) in the frame in which the solid is a unit solid."""
    turned = rotate(solid.rotation, direction)
    return turned / _column(solid.half, turned)


def interval(solid: Solid, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Where the lines origin + t * direction enter and leave the solid.

    Args:
        origin, direction: (3,) or (3, P) in world coordinates; they broadcast.

    Returns:
        (near, far), each (P,) in units of `direction`; near > far where the line misses.
    """
    return own_interval(solid, to_own(solid, origin), turn_to_own(solid, direction))


def own_interval(solid: Solid, o: Array, d: Array) -> tuple[Array, Array]:
    """`interval` for lines o + t * d in the solid's own frame."""
    if solid.kind == "box":
        spans = [_slab(o[axis], d[axis]) for axis in range(3)]
        near = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
        return near, np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])
    if solid.kind == "ellipsoid":
        return _roots(dot(d, d), dot(o, d), dot(o, o) - 1.0)[:2]
    return _frustum(o, d, solid.taper)


def _slab(o: Array, d: Array) -> tuple[Array, Array]:
    inverse = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    a, b = (-1.0 - o) * inverse, (1.0 - o) * inverse
    return np.minimum(a, b), np.maximum(a, b)


def _roots(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Roots of a t^2 + 2 b t + c in ascending order (inf, -inf if none) and if there are any."""
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    square = b * b - a * c
    real = square >= 0.0
    root = np.sqrt(np.where(real, square, 0.0))
    inverse = 1.0 / a
    first, second = (-b - root) * inverse, (-b + root) * inverse
    low = np.where(real, np.minimum(first, second), np.inf)
    return low, np.where(real, np.maximum(first, second), -np.inf), real


def _frustum(o: Array, d: Array, taper: float) -> tuple[Array, Array]:
    """x^2 + z^2 <= r(y)^2 between the caps; a steep line (a < 0) is inside outside of its roots."""
    mean, slope = (1.0 + taper) / 2.0, (taper - 1.0) / 2.0
    radius, change = mean + slope * o[1], slope * d[1]
    a = d[0] * d[0] + d[2] * d[2] - change * change
    b = o[0] * d[0] + o[2] * d[2] - radius * change
    c = o[0] * o[0] + o[2] * o[2] - radius * radius
    low, high, real = _roots(a, b, c)
    enter, leave = _slab(o[1], d[1])
    before = np.minimum(leave, np.where(real, low, np.inf))  # on a steep line: up to the first root
    after = np.maximum(enter, np.where(real, high, -np.inf))  # or from the second one on
    use_before = enter <= before
    steep = a < 0.0
    near = np.where(steep, np.where(use_before, enter, after), np.maximum(enter, low))
    far = np.where(steep, np.where(use_before, before, leave), np.minimum(leave, high))
    return near, far


def normal(solid: Solid, points: Array) -> Array:
    """Outward unit normals (3, P) at points (3, P) on the surface, in world coordinates.

    A box's normals bend over its last few per cent, as if its edges were rounded off: sharp edges
    without a highlight look drawn.
    """
    p = to_own(solid, points)
    if solid.kind == "box":
        power = p * p
        for _ in range(4):  # p^32
            power = power * power
        p = p * power
    elif solid.kind == "frustum":
        mean, slope = (1.0 + solid.taper) / 2.0, (solid.taper - 1.0) / 2.0
        radius = mean + slope * p[1]
        cap = 1.0 - np.abs(p[1]) < radius - np.sqrt(p[0] * p[0] + p[2] * p[2])
        side = np.stack([p[0], -slope * radius, p[2]])
        p = np.where(cap, np.stack([0.0 * p[0], np.sign(p[1]), 0.0 * p[2]]), side)
    return unit(rotate(solid.rotation.T, p / _column(solid.half, p)))


def corners(solid: Solid) -> Array:
    """The 8 corners (3, 8) of the oriented box about the solid, in world coordinates."""
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float).T
    return rotate(solid.rotation.T, signs * solid.half[:, None]) + solid.centre[:, None]


def moved(solid: Solid, scale: float, turn: tuple[float, float], shift: Array) -> Solid:
    """The solid scaled about the origin, turned about y by (cos, sin), then shifted."""
    cos, sin = turn
    about_y = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    centre = rotate(about_y, solid.centre * scale) + shift
    rotation = np.stack([rotate(about_y, row) for row in solid.rotation])
    return replace(solid, centre=centre, half=solid.half * scale, rotation=rotation)


def ball(x: float, y: float, z: float, *half: float, tint: float = 1.0) -> Solid:
    """An upright ellipsoid about (x, y, z); one half extent makes a sphere."""
    half = half * 3 if len(half) == 1 else half
    return Solid("ellipsoid", np.array([x, y, z]), np.array(half), np.eye(3), tint=tint)


def block(
    x: float, y: float, z: float, *half: float, lean: tuple[float, float] = (1.0, 0.0), tint=1.0
) -> Solid:
    """A box about (x, y, z) with half extents, leaning about the z axis by (cos, sin)."""
    cos, sin = lean
    rotation = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return Solid("box", np.array([x, y, z]), np.array(half), rotation, tint=tint)


def post(bottom, top, radius: float, top_radius: float | None = None, tint: float = 1.0) -> Solid:
    """A frustum between the centres of its two ends."""
    bottom, top = np.array(bottom, float), np.array(top, float)
    top_radius = radius if top_radius is None else top_radius
    length = math.sqrt(float(dot(top - bottom, top - bottom)))
    axis = (top - bottom) / length
    helper = np.array([1.0, 0.0, 0.0] if abs(axis[0]) < 0.9 else [0.0, 0.0, 1.0])
    first = unit(helper - axis * dot(helper, axis))
    third = cross(first, axis)
    half = np.array([radius, length / 2.0, radius])
    rotation = np.stack([first, axis, third])
    return Solid("frustum", (bottom + top) / 2.0, half, rotation, top_radius / radius, tint)
