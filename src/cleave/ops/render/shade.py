"""Colours of hits: texture, Lambert and Blinn-Phong, soft shadows, contact shade."""

from __future__ import annotations

import numpy as np

from cleave.ops.render.camera import FLOOR, WALL, Hits, Rays, Thing, World
from cleave.ops.render.materials import Light, Look, Material
from cleave.ops.render.solids import (
    Array,
    Solid,
    cross,
    dot,
    normal,
    own_interval,
    rotate,
    to_own,
    turn_to_own,
    unit,
)

_LIFT = 1e-4  # metres a shadow ray must run inside a solid before it counts
LAMP = (  # points spread over the unit disc
    *((0.0, 0.0), (0.42, 0.35), (-0.52, 0.18), (0.1, -0.54)),
    *((0.93, 0.19), (0.11, 0.94), (-0.87, 0.39), (-0.64, -0.7), (0.47, -0.82)),
)


def radiance(world: World, look: Look, rays: Rays, hits: Hits) -> Array:
    """Light (3, P) that reaches the camera along each ray; 1 is about a white wall in the light."""
    points = world.camera.position[:, None] + rays.direction * hits.depth
    normals, albedo, gloss = _surface(world, look, rays, hits, points)
    light = look.light
    facing = np.maximum(dot(light.towards, normals), 0.0)
    lit = facing * lamp_share(world.things, light, points, facing)
    upward = (0.72 + 0.28 * normals[1]) * open_share(world.things, points, normals)
    halfway = unit(light.towards[:, None] - unit(rays.direction))
    shine = np.maximum(dot(halfway, normals), 0.0)
    for _ in range(5):  # to the power of 32
        shine = shine * shine
    shine = gloss * shine * lit
    diffuse = light.colour[:, None] * lit + light.ambient[:, None] * upward
    return albedo * diffuse + light.colour[:, None] * shine


def _surface(world: World, look: Look, rays: Rays, hits: Hits, points: Array):
    """Normals (3, P), reflectance (3, P) and gloss (P,) at the hits."""
    normals, albedo = np.zeros_like(points), np.zeros_like(points)
    gloss = np.zeros(len(hits.depth))
    eye = world.camera.position
    for label, axis, sign, material in ((FLOOR, 1, 1.0, look.floor), (WALL, 2, -1.0, look.wall)):
        index = np.flatnonzero(hits.thing == label)
        seen, depth = points[:, index], hits.depth[index]
        slant = np.maximum(np.abs(seen[axis] - eye[axis]), 0.1)  # a grazing pixel covers more
        normals[axis, index] = sign
        albedo[:, index] = _paint(material, seen, rays.pixel * depth * depth / slant)
        gloss[index] = material.gloss
    for number, thing in enumerate(world.things):
        index = np.flatnonzero(hits.thing == number)
        material, solids = look.classes[thing.group], hits.solid[index]
        texture = _local(thing, points[:, index]) + thing.offset[:, None]
        tint = thing.shade * np.array([solid.tint for solid in thing.solids])[solids]
        footprint = rays.pixel * hits.depth[index] / thing.scale
        albedo[:, index] = _paint(material, texture, footprint) * tint
        gloss[index] = material.gloss
        for part, solid in enumerate(thing.solids):
            some = index[solids == part]
            normals[:, some] = normal(solid, points[:, some])
    return normals, albedo, gloss


def _local(thing: Thing, points: Array) -> Array:
    """Points in the frame in which the thing's class was built: longest side 1."""
    cos, sin = thing.turn
    back = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    return rotate(back, points - thing.place[:, None]) / thing.scale


def _paint(material: Material, points: Array, footprint: Array) -> Array:
    blend = material.pattern(points * material.scale, footprint * material.scale)
    return material.first[:, None] + (material.second - material.first)[:, None] * blend


def lamp_share(things: tuple[Thing, ...], light: Light, points: Array, facing: Array) -> Array:
    """Share (P,) of the lamp that each point sees, from 9 fixed points of the lamp."""
    side = unit(np.array([light.towards[1], -light.towards[0], 0.0]))
    up = cross(side, light.towards)
    lamp = [unit(light.towards + light.radius * (a * side + b * up)) for a, b in LAMP]
    turned = np.flatnonzero(facing > 0.0)
    points = points[:, turned]
    dark = np.zeros((len(lamp), len(turned)), bool)
    for thing in things:
        near = _passing(points, light, *thing.sphere())
        origins = points[:, near]
        for solid in thing.solids:
            some = _passing(origins, light, solid.centre, solid.reach)
            if len(some) == 0:
                continue
            own, index = to_own(solid, origins[:, some]), near[some]
            for row, direction in zip(dark, lamp, strict=True):
                enter, leave = own_interval(solid, own, turn_to_own(solid, direction))
                row[index] |= leave > np.maximum(enter, 0.0) + _LIFT
    lit = np.ones(len(facing))
    lit[turned] -= dark.sum(axis=0) / len(lamp)
    return lit


def _passing(points: Array, light: Light, centre: Array, radius: float) -> Array:
    """Indices of the points from which some part of the lamp may be hidden by a sphere."""
    away = centre[:, None] - points
    along = dot(light.towards, away)
    reach = radius + light.radius * np.maximum(along, 0.0)
    return np.flatnonzero((along > -radius) & (dot(away, away) - along * along < reach * reach))


def open_share(things: tuple[Thing, ...], points: Array, normals: Array) -> Array:
    """Share (P,) of the room's light that is left beside the solids around a point.

    Each solid takes the share a sphere would, cos / distance^2 in its own frame, out to three
    times its half extents: wrong in the details, and what the eye wants to see where a thing
    meets the floor.
    """
    left = np.ones(points.shape[1])
    for thing in things:
        centre, radius = thing.sphere()
        near = _within(points, centre, 2.0 * radius)
        around, facing, share = points[:, near], normals[:, near], np.ones(len(near))
        for solid in thing.solids:
            some = _within(around, solid.centre, 3.0 * float(solid.half.max()))
            share[some] *= 1.0 - _taken(solid, around[:, some], facing[:, some])
        left[near] *= share
    return left


def _within(points: Array, centre: Array, radius: float) -> Array:
    away = points - centre[:, None]
    return np.flatnonzero(dot(away, away) < radius * radius)


def _taken(solid: Solid, points: Array, normals: Array) -> Array:
    own = to_own(solid, points)
    away = solid.centre[:, None] - points
    cos = np.maximum(dot(away, normals), 0.0) / np.sqrt(dot(away, away) + 1e-9)
    distance = np.maximum(dot(own, own), 1.0)
    return cos * np.maximum(1.0 / distance - 1.0 / 9.0, 0.0)
