"""The renderer's parts: solids, shapes, textures, shadows and contact shade."""

import numpy as np
import pytest

from cleave.ops.render import textures
from cleave.ops.render.camera import Thing
from cleave.ops.render.layout import arrange
from cleave.ops.render.materials import Light
from cleave.ops.render.shade import LAMP, lamp_share, open_share
from cleave.ops.render.shapes import FAMILIES, build
from cleave.ops.render.solids import (
    Solid,
    ball,
    block,
    corners,
    interval,
    moved,
    normal,
    post,
    to_own,
    unit,
)
from cleave.types import Size


def inside(solid, points, slack=0.0):
    """The implicit definition of each solid, grown by `slack` in its own frame."""
    x, y, z = to_own(solid, points)
    if solid.kind == "ellipsoid":
        return np.sqrt(x**2 + y**2 + z**2) <= 1 + slack
    if solid.kind == "box":
        return np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= 1 + slack
    radius = (1 + solid.taper) / 2 + (solid.taper - 1) / 2 * y
    return (abs(y) <= 1 + slack) & (np.sqrt(x**2 + z**2) <= radius + slack)


def random_rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def solids():
    rng = np.random.default_rng(4)
    found = []
    for kind, taper in [
        *(("ellipsoid", 1.0), ("box", 1.0), ("frustum", 1.0), ("frustum", 0.0)),
        *(("frustum", 0.4), ("frustum", 1.7)),
    ]:
        half, rotation = rng.uniform(0.3, 1.2, 3), random_rotation(rng)
        found.append(Solid(kind, rng.normal(size=3) * 0.3, half, rotation, taper))
    return found


SOLIDS = solids()
NAMES = [f"{solid.kind}-{solid.taper}" for solid in SOLIDS]


@pytest.mark.parametrize("solid", SOLIDS, ids=NAMES)
def test_interval_is_where_the_line_is_inside(solid):
    rng = np.random.default_rng(7)
    origin = rng.normal(size=(3, 300)) * 2
    target = rng.normal(size=(3, 300)) * 0.6
    direction = target - origin
    near, far = interval(solid, origin, direction)
    ticks = np.linspace(-1, 4, 2001)
    hits = 0
    for p in range(300):
        points = origin[:, p, None] + direction[:, p, None] * ticks
        between = (ticks >= near[p]) & (ticks <= far[p])
        sure = inside(solid, points, -1e-9) | ~inside(solid, points, 1e-9)
        assert (between == inside(solid, points))[sure].all()
        hits += between.any()
    assert 50 < hits < 300


@pytest.mark.parametrize("solid", SOLIDS, ids=NAMES)
def test_lines_along_the_axes_and_from_within(solid):
    """Zero components of the direction divide by nothing."""
    upright = Solid(solid.kind, np.zeros(3), np.array([0.5, 0.7, 0.9]), np.eye(3), solid.taper)
    for axis, extent in enumerate((0.5, 0.7, 0.9)):
        direction = np.eye(3)[axis]
        near, far = interval(upright, np.zeros(3), direction)
        middle = (1 + solid.taper) / 2 if solid.kind == "frustum" and axis != 1 else 1.0
        assert near == pytest.approx(-extent * middle)
        assert far == pytest.approx(extent * middle)
        beside = np.array([2.0, 2.0, 2.0]) * (1 - direction)
        near, far = interval(upright, beside, direction)
        assert near > far


@pytest.mark.parametrize("solid", SOLIDS, ids=NAMES)
def test_normals_point_outwards(solid):
    rng = np.random.default_rng(8)
    origin = rng.normal(size=(3, 400)) * 3
    direction = rng.normal(size=(3, 400)) * 0.4 - origin
    near, far = interval(solid, origin, direction)
    hit = near < far
    points = origin[:, hit] + direction[:, hit] * near[hit]
    normals = normal(solid, points)
    assert np.allclose((normals**2).sum(axis=0), 1)
    assert not inside(solid, points + 1e-5 * normals).any()
    assert inside(solid, points - 1e-5 * normals).mean() > 0.98  # not beyond a thin cone's tip
    if solid.kind != "box":  # whose rounded normals may lean away
        assert ((normals * direction[:, hit]).sum(axis=0) < 1e-6).all()


@pytest.mark.parametrize("solid", SOLIDS[:4], ids=NAMES[:4])
def test_moving_a_solid_moves_its_points(solid):
    rng = np.random.default_rng(9)
    points = rng.normal(size=(3, 500))
    cos, sin = 0.6, 0.8
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    shift = np.array([1.0, 0.0, 4.0])
    there = turn @ (points * 1.7) + shift[:, None]
    twin = moved(solid, 1.7, (cos, sin), shift)
    assert (inside(solid, points) == inside(twin, there)).all()
    assert np.allclose(turn @ (corners(solid) * 1.7) + shift[:, None], corners(twin))


def test_post_stands_between_its_ends():
    bottom, top = np.array([0.1, 0.2, 0.3]), np.array([0.5, 1.2, -0.4])
    one = post(bottom, top, 0.2, 0.1)
    axis = (top - bottom) / np.linalg.norm(top - bottom)
    across = unit(np.cross(axis, [0, 0, 1.0]))
    ends = np.stack([bottom + 1e-6 * axis, top - 1e-6 * axis], axis=1)
    assert inside(one, ends).all()
    assert not inside(one, np.stack([bottom - 1e-3 * axis, top + 1e-3 * axis], axis=1)).any()
    rims = np.stack([bottom + 0.199 * across, top + 0.099 * across], axis=1)
    assert inside(one, rims, 1e-2).all()
    assert not inside(one, np.stack([bottom + 0.21 * across, top + 0.12 * across], 1), 1e-3).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_stand_on_the_floor_with_longest_side_one(family):
    for seed in range(5):
        made = build(family, np.random.default_rng(seed))
        points = np.concatenate([corners(solid) for solid in made], axis=1)
        low, high = points.min(axis=1), points.max(axis=1)
        assert (high - low).max() == pytest.approx(1)
        assert -1e-9 <= low[1] < 0.02
        rng = np.random.default_rng(1)
        cloud = rng.uniform(-1, 1, (3, 200_000))
        cloud[1] = rng.uniform(-0.01, 0.03, 200_000)
        held = np.any([inside(solid, cloud) for solid in made], axis=0)
        assert held.any()
        assert abs(cloud[1, held].min()) < 0.02


PATTERNS = {**textures.OBJECTS, **textures.FLOORS, **textures.WALLS}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_stay_in_range_and_fade_when_far(name):
    points = np.random.default_rng(2).uniform(-3, 3, (3, 4000))
    near = PATTERNS[name](points, np.full(4000, 0.002))
    far = PATTERNS[name](points, np.full(4000, 50.0))
    for blend in (near, far):
        assert blend.shape == (4000,)
        assert blend.min() >= 0
        assert blend.max() <= 1
    assert near.std() > 0.02
    assert far.std() <= near.std()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_noise_is_smooth_interpolation_of_a_lattice(dimensions):
    points = np.random.default_rng(3).uniform(-70, 70, (dimensions, 200))
    table = textures._values(dimensions).reshape((64,) * dimensions)
    for point, value in zip(points.T, textures.noise(points), strict=True):
        base = np.floor(point).astype(int)
        share = point - base
        share = 3 * share**2 - 2 * share**3
        total = 0.0
        for corner in np.ndindex((2,) * dimensions):
            weight = np.prod(np.where(corner, share, 1 - share))
            total += weight * table[tuple((base + corner) % 64)]
        assert value == pytest.approx(total)


def some_things():
    one = (post((0.4, 0, 3), (0.4, 0.8, 3), 0.3, 0.1), block(-0.6, 0.3, 3.4, 0.2, 0.3, 0.3))
    two = (ball(0, 0.4, 4.2, 0.4),)
    place = np.zeros(3)
    return tuple(Thing(s, 0, 0, 1.0, (1.0, 0.0), place) for s in (one, two))


def test_shadows_against_marching():
    """Towards each of the lamp's points, short steps until a solid is met."""
    things, rng = some_things(), np.random.default_rng(5)
    light = Light(unit(np.array([0.6, 1.0, -0.3])), np.ones(3), np.ones(3), 0.05)
    heights = np.maximum(rng.uniform(-1, 1, 300), 0)  # half of them on the floor
    points = np.stack([rng.uniform(-2, 1.5, 300), heights, rng.uniform(2, 5.5, 300)])
    share = lamp_share(things, light, points, np.ones(300))
    side = unit(np.cross(light.towards, [0.0, 0.0, 1.0]))
    up = np.cross(side, light.towards)
    ticks = np.arange(0.001, 1.6, 0.001)
    free = np.zeros(300)
    for a, b in LAMP:
        direction = unit(light.towards + 0.05 * (a * side + b * up))
        for p in range(300):
            line = points[:, p, None] + direction[:, None] * ticks
            free[p] += not any(inside(s, line).any() for thing in things for s in thing.solids)
    difference = abs(share - free / len(LAMP))
    assert (difference < 1e-9).mean() > 0.95
    assert difference.max() < 0.25
    assert (share == 0).sum() > 15
    assert ((share > 0) & (share < 1)).sum() > 5


def test_faces_turned_from_the_lamp_cost_nothing():
    light = Light(unit(np.array([0.6, 1.0, -0.3])), np.ones(3), np.ones(3), 0.05)
    points = np.zeros((3, 5))
    assert (lamp_share(some_things(), light, points, np.zeros(5)) == 1).all()


def test_contact_shade_falls_off_with_distance():
    thing = (Thing((ball(0, 0.5, 0, 0.5),), 0, 0, 1.0, (1.0, 0.0), np.zeros(3)),)
    x = np.linspace(0.02, 3, 50)
    points = np.stack([x, 0 * x, 0 * x])
    share = open_share(thing, points, np.stack([0 * x, 0 * x + 1, 0 * x]))
    assert (np.diff(share) >= -1e-9).all()
    assert share[0] < 0.3
    assert share[-1] == 1
    away = open_share(thing, points, np.stack([0 * x, 0 * x - 1, 0 * x]))
    assert (away == 1).all()


def test_layout_depends_on_the_aspect_ratio_alone():
    def places(size):
        world = arrange("crowded", np.random.default_rng(11), size)
        return [tuple(thing.place) for thing in world.things]

    assert places(Size(480, 480)) == places(Size(7, 7)) == places(Size(96, 96))
    assert places(Size(480, 640)) == places(Size(240, 320))
