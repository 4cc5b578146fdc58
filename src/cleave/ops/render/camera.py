"""A pinhole camera that looks down a little, and what its rays meet first."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cleave.ops.render.solids import Array, Solid, corners, interval
from cleave.types import Size

FLOOR, WALL = -1, -2  # what a ray meets where it meets no thing


@dataclass(frozen=True, eq=False)
class Camera:
    """Stands at (0, height, 0), looks along +z, pitched down. World: x right, y up, z away."""

    height: float  # metres above the floor
    pitch: tuple[float, float]  # (cos, sin) of the angle below the horizon
    focal: float  # in shorter sides of the image

    @property
    def position(self) -> Array:
        return np.array([0.0, self.height, 0.0])

    def rays(self, rows: Array, columns: Array, size: Size) -> Rays:
        """Rays through points of the image, (P,) float64 in pixels; a pixel's centre is at .5."""
        scale = self.focal * min(size)
        u = (columns - size.width / 2.0) / scale
        v = (size.height / 2.0 - rows) / scale
        cos, sin = self.pitch
        return Rays(u, v, np.stack([u, v * cos - sin, v * sin + cos]), 1.0 / scale)

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """World points (3, K) to image coordinates (u, v) and depth along the viewing axis."""
        cos, sin = self.pitch
        x, y, z = points[0], points[1] - self.height, points[2]
        depth = z * cos - y * sin
        return x / depth, (y * cos + z * sin) / depth, depth


@dataclass(frozen=True, eq=False)
class Rays:
    """P lines from the camera. The directions are scaled so that t is the depth of a point."""

    u: Array  # (P,) tangent to the right
    v: Array  # (P,) tangent upwards
    direction: Array  # (3, P) in world coordinates, 1 along the viewing axis
    pixel: float  # tangent that one pixel covers


@dataclass(frozen=True, eq=False)
class Thing:
    """One object of a scene: the solids of its class, moved to their place."""

    solids: tuple[Solid, ...]
    family: int  # index in shapes.NAMES: its class
    group: int  # which of the scene's classes it is, and so which material it has
    scale: float  # longest side, metres
    turn: tuple[float, float]  # (cos, sin) of its heading
    place: Array  # (3,) where it stands, metres; y is 0
    shade: float = 1.0  # brightness of this one against its class
    offset: Array = field(default_factory=lambda: np.zeros(3))  # shift of its texture

    def sphere(self) -> tuple[Array, float]:
        """Centre and radius of a sphere around the thing."""
        points = np.concatenate([corners(solid) for solid in self.solids], axis=1)
        centre = (points.min(axis=1) + points.max(axis=1)) / 2.0
        return centre, max(
            float(np.sqrt(((s.centre - centre) ** 2).sum())) + s.reach for s in self.solids
        )


@dataclass(frozen=True, eq=False)
class World:
    """The geometry of one scene: things on the floor y = 0 before the wall z = `wall`."""

    camera: Camera
    wall: float  # metres
    things: tuple[Thing, ...]


@dataclass(frozen=True, eq=False)
class Hits:
    """What P rays meet first."""

    depth: Array  # (P,) along the viewing axis, metres
    thing: Array  # (P,) int16 index, FLOOR or WALL
    solid: Array  # (P,) int16 index among the thing's solids
    covered: Array  # (T,) int64: rays that each thing would meet if it were alone


def _window(camera: Camera, points: Array, rays_u: Array, rays_v: Array) -> Array:
    """Indices of the rays inside the bounding rectangle of some points' projections."""
    u, v, _ = camera.project(points)
    inside = (rays_u >= u.min()) & (rays_u <= u.max()) & (rays_v >= v.min()) & (rays_v <= v.max())
    return np.flatnonzero(inside)


def cover(camera: Camera, thing: Thing, rays: Rays) -> tuple[Array, Array, Array, Array]:
    """The rays that meet a thing, were it alone.

    Returns:
        index (K,) of those rays, entry depth (K,), depth at which the last solid is left (K,), and
        the index of the solid entered first (K,) int16.
    """
    points = np.concatenate([corners(solid) for solid in thing.solids], axis=1)
    index = _window(camera, points, rays.u, rays.v)
    front, back = np.full(len(index), np.inf), np.full(len(index), -np.inf)
    first = np.zeros(len(index), np.int16)
    u, v, direction = rays.u[index], rays.v[index], rays.direction[:, index]
    for number, solid in enumerate(thing.solids):
        some = _window(camera, corners(solid), u, v)
        near, far = interval(solid, camera.position, direction[:, some])
        hit = near <= far
        some, near, far = some[hit], near[hit], far[hit]
        first[some] = np.where(near < front[some], np.int16(number), first[some])
        front[some] = np.minimum(front[some], near)
        back[some] = np.maximum(back[some], far)
    hit = np.isfinite(front)
    return index[hit], front[hit], back[hit], first[hit]


def trace(world: World, rays: Rays) -> Hits:
    """First hits of all rays with the things, the floor and the wall."""
    dy, dz = rays.direction[1], rays.direction[2]
    with np.errstate(divide="ignore"):
        floor = np.where(dy < 0.0, -world.camera.height / dy, np.inf)
        behind = np.where(dz > 0.0, world.wall / dz, np.inf)
    depth = np.minimum(floor, behind)
    thing = np.where(floor <= behind, np.int16(FLOOR), np.int16(WALL))
    solid = np.zeros(len(depth), np.int16)
    covered = np.zeros(len(world.things), np.int64)
    for number, one in enumerate(world.things):
        index, front, _, first = cover(world.camera, one, rays)
        covered[number] = len(index)
        nearer = front < depth[index]
        index = index[nearer]
        depth[index], thing[index], solid[index] = front[nearer], number, first[nearer]
    return Hits(depth, thing, solid, covered)
