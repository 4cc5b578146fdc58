"""Where the things of a scene stand, by rejection: draw a place, look at its coarse silhouette.

The rules are those of the two sets of scenes in the study of CutS3D's open constants: `crowded`
has 4 to 10 things of 2 or 3 classes, of which about 60% overlap one of their class in the picture
while standing 0.5 to 2.2 m nearer or farther, 20% stand beside one at the same depth and 20%
anywhere; `control` has 1 to 4 large things that do not touch in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

from cleave.ops.render.camera import Camera, Rays, Thing, World, cover
from cleave.ops.render.casting import ThingClass, draw_classes
from cleave.ops.render.shapes import between
from cleave.ops.render.solids import Array, corners, interval, moved
from cleave.types import Size

FLAVOURS = ("crowded", "control")
_COARSE = 72  # shorter side of the grid on which silhouettes are compared, pixels
_WIDEST = 2.0  # beyond this aspect ratio the outer parts of the picture stay empty
_NEAREST = 2.3  # metres from the camera's foot
_CLOSE = 5.2  # where things that are to look large stand at most
_TRIES = 40  # places drawn for a thing before it is left out
_LEAST_VISIBLE, _LEAST_AREA = 0.35, 0.008  # stricter than what makes an instance: .2 and .005
_BREATH = 0.02  # metres between things that stand side by side


@dataclass(frozen=True, eq=False)
class _View:
    """Silhouettes of a thing on the coarse grid: entry and exit depth, inf and -inf beside it."""

    front: Array  # (h, w)
    back: Array  # (h, w)

    @property
    def mask(self) -> Array:
        return np.isfinite(self.front)


@dataclass(eq=False)
class _Stage:
    """The things placed so far, and how the camera sees each of them alone."""

    camera: Camera
    wall: float
    size: Size  # of the coarse grid
    rays: Rays
    things: list[Thing] = field(default_factory=list)
    views: list[_View] = field(default_factory=list)

    def see(self, thing: Thing) -> _View | None:
        """None if the thing is not whole in the frame, or leans through the wall."""
        points = np.concatenate([corners(solid) for solid in thing.solids], axis=1)
        u, v, depth = self.camera.project(points)
        edge_u, edge_v = self.rays.u.max(), self.rays.v.max()
        if depth.min() < 0.5 or points[2].max() > self.wall - 0.05:
            return None
        if np.abs(u).max() > edge_u or np.abs(v).max() > edge_v:
            return None
        index, near, far, _ = cover(self.camera, thing, self.rays)
        front = np.full(self.size.height * self.size.width, np.inf)
        back = np.full(len(front), -np.inf)
        front[index], back[index] = near, far
        return _View(front.reshape(self.size), back.reshape(self.size))

    def add(self, thing: Thing, view: _View) -> None:
        self.things.append(thing)
        self.views.append(view)

    def visible(self, views: list[_View]) -> list[Array]:
        """What of each silhouette is in front of all others."""
        best = np.minimum.reduce([view.front for view in views])
        return [view.mask & (view.front <= best) for view in views]

    def fits(self, view: _View, beside: int | None) -> bool:
        """No two things share space, and every thing stays well visible."""
        low, high = minimum_filter(view.front, 3), maximum_filter(view.back, 3)
        for number, other in enumerate(self.views):
            near, far = (view.front, view.back) if number == beside else (low, high)
            if ((near < other.back) & (other.front < far)).any():
                return False
        views = [*self.views, view]
        return all(
            seen.sum() >= max(_LEAST_VISIBLE * one.mask.sum(), _LEAST_AREA * seen.size)
            for one, seen in zip(views, self.visible(views), strict=True)
        )

    def overlaps(self, view: _View, partner: int) -> bool:
        """The two overlap in the picture and what is visible of them touches."""
        mine, others = view.mask, self.views[partner].mask
        if (mine & others).sum() < 3:
            return False
        seen = self.visible([*self.views, view])
        return bool((binary_dilation(seen[-1]) & seen[partner]).any())


def arrange(flavour: str, rng: np.random.Generator, size: Size) -> World:
    """Camera, wall and things of one scene; of `size` only the aspect ratio matters."""
    place, least = (_crowded, 4) if flavour == "crowded" else (_control, 1)
    while True:  # a start that leaves no room is drawn again
        stage = _empty_stage(rng, size)
        place(stage, rng)
        if len(stage.things) >= least:
            return World(stage.camera, stage.wall, tuple(stage.things))


def _empty_stage(rng: np.random.Generator, size: Size) -> _Stage:
    sine = between(rng, 0.26, 0.4)
    pitch = (float(np.sqrt(1.0 - sine * sine)), sine)
    camera = Camera(between(rng, 1.55, 2.0), pitch, between(rng, 1.15, 1.4))
    grid = Size(*(max(1, round(_COARSE * min(side / min(size), _WIDEST))) for side in size))
    rows, columns = np.divmod(np.arange(grid.height * grid.width), grid.width)
    return _Stage(
        camera, between(rng, 6.4, 8.0), grid, camera.rays(rows + 0.5, columns + 0.5, grid)
    )


def _crowded(stage: _Stage, rng: np.random.Generator) -> None:
    classes = draw_classes("crowded", 2 + int(rng.integers(2)), rng)
    for number in range(4 + int(rng.integers(7))):
        kind = rng.random()
        for _ in range(_TRIES):
            if number < len(classes) or kind >= 0.8:  # one of each class to begin with
                one = classes[number] if number < len(classes) else _any_class(classes, rng)
                partner, thing = None, _anywhere(stage, one, stage.wall - 0.6, rng)
            else:
                partner = int(rng.integers(len(stage.things)))
                mate = stage.things[partner]
                move = _before_or_behind if kind < 0.6 else _beside
                thing = move(mate, classes[mate.group], rng)
            beside = partner if kind >= 0.6 else None
            view = stage.see(thing)
            if view is None or not stage.fits(view, beside):
                continue
            if partner is None or beside is not None or stage.overlaps(view, partner):
                stage.add(thing, view)
                break
        else:
            if number < len(classes):
                return  # not all classes have room: arrange draws another scene


def _control(stage: _Stage, rng: np.random.Generator) -> None:
    count = 1 + int(rng.integers(4))
    classes = draw_classes("control", 1 + int(rng.integers(count)), rng)
    shrink = 1.1 - 0.1 * count  # 1 alone, .7 where four must find room
    classes = [replace(one, size=one.size * shrink) for one in classes]
    for _ in range(count):
        for _ in range(_TRIES):
            thing = _anywhere(stage, _any_class(classes, rng), _CLOSE, rng)
            view = stage.see(thing)
            if (
                view is None
                or not stage.fits(view, None)
                or view.mask.sum() < 0.02 * view.mask.size
            ):
                continue
            margin = binary_dilation(view.mask, iterations=2)
            if not any((margin & other.mask).any() for other in stage.views):
                stage.add(thing, view)
                break


def _any_class(classes: list[ThingClass], rng: np.random.Generator) -> ThingClass:
    return classes[int(rng.integers(len(classes)))]


def _anywhere(stage: _Stage, one: ThingClass, farthest: float, rng: np.random.Generator) -> Thing:
    z = between(rng, _NEAREST, farthest)
    return one.thing(rng, between(rng, -1.0, 1.0) * stage.rays.u.max() * z, z)


def _before_or_behind(mate: Thing, one: ThingClass, rng: np.random.Generator) -> Thing:
    """0.5 to 2.2 m nearer or farther than its mate, in about the same direction."""
    gap = between(rng, 0.5, 2.2) * (1.0 if rng.random() < 0.5 else -1.0)
    x, z = float(mate.place[0]), float(mate.place[2])
    sideways = between(rng, -0.7, 0.7) * one.size
    return one.thing(rng, x * (z + gap) / z + sideways, z + gap)


def _beside(mate: Thing, one: ThingClass, rng: np.random.Generator) -> Thing:
    """At the mate's depth, moved sideways until the two all but touch."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    x, z = float(mate.place[0]), float(mate.place[2])
    thing = one.thing(rng, x + 3.0 * side, z)
    left, right = (mate, thing) if side > 0.0 else (thing, mate)
    shift = np.array([-side * (_gap(left, right) - _BREATH), 0.0, 0.0])
    solids = tuple(moved(solid, 1.0, (1.0, 0.0), shift) for solid in thing.solids)
    return replace(thing, solids=solids, place=thing.place + shift)


def _gap(left: Thing, right: Thing) -> float:
    """How far the right thing can move to the left before it meets the left one, metres."""
    points = np.concatenate([corners(solid) for solid in (*left.solids, *right.solids)], axis=1)
    steps = (np.arange(40) + 0.5) / 40.0
    low, high = points.min(axis=1), points.max(axis=1)
    y, z = np.meshgrid(*(low[i] + (high[i] - low[i]) * steps for i in (1, 2)))
    origin = np.stack([np.zeros(y.size), y.ravel(), z.ravel()])
    along = np.array([1.0, 0.0, 0.0])
    leave, enter = np.full(y.size, -np.inf), np.full(y.size, np.inf)
    for solid in left.solids:
        near, far = interval(solid, origin, along)
        leave = np.where(near <= far, np.maximum(leave, far), leave)
    for solid in right.solids:
        near, far = interval(solid, origin, along)
        enter = np.where(near <= far, np.minimum(enter, near), enter)
    gap = float((enter - leave).min())
    return gap if np.isfinite(gap) else float(points[0].max() - points[0].min())
