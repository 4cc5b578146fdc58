"""The shape families: each builds the solids of one kind of object from a few random proportions.

Objects stand on y = 0 about the y axis. `build` scales them so that the longest side is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cleave.ops.render.solids import Solid, ball, block, corners, post

Draw = Callable[[float, float], float]  # uniform in [low, high)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * rng.random()


def _ball(draw: Draw) -> list[Solid]:
    return [ball(0, 1, 0, 1)]


def _egg(draw: Draw) -> list[Solid]:
    width, height = draw(0.62, 0.8), 1.0
    return [ball(0, height, 0, width, height, width)]


def _crate(draw: Draw) -> list[Solid]:
    height = draw(0.7, 1.25)
    return [block(0, height, 0, 1, height, draw(0.7, 1))]


def _drum(draw: Draw) -> list[Solid]:
    height, radius = draw(1.5, 2.2), draw(0.55, 0.8)
    rim = 0.05 * height
    hoops = [
        post((0, y - rim / 2, 0), (0, y + rim / 2, 0), radius * 1.06, tint=0.8)
        for y in (rim / 2, height / 2, height - rim / 2)
    ]
    return [post((0, 0, 0), (0, height * 0.999, 0), radius), *hoops]


def _cone(draw: Draw) -> list[Solid]:
    radius = draw(0.5, 0.68)
    base = block(0, 0.05, 0, radius * 1.15, 0.05, radius * 1.15, tint=0.75)
    return [base, post((0, 0.1, 0), (0, 1.8, 0), radius, 0.08)]


def _pill(draw: Draw) -> list[Solid]:
    radius, height = draw(0.42, 0.55), 2.0
    middle = post((0, radius, 0), (0, height - radius, 0), radius)
    return [ball(0, radius, 0, radius), middle, ball(0, height - radius, 0, radius)]


def _vase(draw: Draw) -> list[Solid]:
    foot, belly, neck = draw(0.3, 0.4), draw(0.55, 0.7), draw(0.2, 0.3)
    lip = neck * draw(1.25, 1.6)
    return [
        post((0, 0, 0), (0, 0.5, 0), foot, belly * 0.93),
        ball(0, 0.72, 0, belly, 0.44, belly),
        post((0, 0.95, 0), (0, 1.55, 0), belly * 0.86, neck),
        post((0, 1.55, 0), (0, 1.85, 0), neck, lip),
    ]


def _skittle(draw: Draw) -> list[Solid]:
    belly, head = draw(0.36, 0.44), draw(0.22, 0.28)
    return [
        post((0, 0, 0), (0, 0.55, 0), belly * 0.7, belly),
        ball(0, 0.6, 0, belly, 0.42, belly),
        post((0, 0.8, 0), (0, 1.6, 0), belly * 0.86, head * 0.62),
        ball(0, 1.72, 0, head),
    ]


def _table(draw: Draw) -> list[Solid]:
    width, depth, height = draw(0.85, 1.1), draw(0.55, 0.75), draw(0.62, 0.85) * 1.15
    top, leg = draw(0.035, 0.06), draw(0.045, 0.07)
    if draw(0, 1) < 0.35:  # a round one
        slab = post((0, height - 2 * top, 0), (0, height, 0), depth)
        reach, solids = depth * 0.62, []
    else:
        slab = block(0, height - top, 0, width, top, depth)
        apron = block(0, height - 3.6 * top, 0, width * 0.84, 1.7 * top, depth * 0.8, tint=0.85)
        reach, solids = None, [apron]
    for x in (-1, 1):
        for z in (-1, 1):
            at = (x * (reach or width * 0.86), z * (reach or depth * 0.82))
            ends = (at[0] * 1.04, 0, at[1] * 1.04), (at[0], height - 1.5 * top, at[1])
            solids.append(post(*ends, leg * 0.75, leg, tint=0.9))
    return [slab, *solids]


def _chair(draw: Draw) -> list[Solid]:
    width, seat, height = draw(0.44, 0.54), draw(0.78, 0.95), draw(1.75, 2.1)
    leg, thick = draw(0.045, 0.065), draw(0.04, 0.06)
    solids = [block(0, seat, 0, width, thick, width)]
    for x in (-1, 1):
        side = x * (width - leg)
        solids.append(block(side, (seat - thick) / 2, width - leg, leg, (seat - thick) / 2, leg))
        solids.append(block(side, height / 2, leg - width, leg, height / 2, leg))
    rail = width - 2 * leg
    if draw(0, 1) < 0.5:  # one panel, or three rails
        middle = (seat + thick + height) / 2 + 0.1
        panel = (height - seat - thick) / 2 - 0.13
        return [*solids, block(0, middle, leg - width, rail, panel, leg * 0.5)]
    for share in (0.3, 0.62, 0.94):
        y = seat + share * (height - seat) - 0.04
        solids.append(block(0, y, leg - width, rail, 0.06, leg * 0.5))
    return solids


def _animal(draw: Draw) -> list[Solid]:
    length, belly, leg = draw(0.75, 0.95), draw(0.3, 0.4), draw(0.45, 0.75)
    thick, neck, head = draw(0.075, 0.11), draw(0.1, 0.55), draw(0.2, 0.27)
    back = leg + belly
    solids = [ball(0, back, 0, length, belly, belly * 0.86)]
    for x in (-1, 1):
        for z in (-1, 1):
            hip = (x * length * 0.6, back - belly * 0.25, z * belly * 0.45)
            foot = (hip[0] * 1.04, 0.0, hip[2] * 1.15)
            solids.append(post(foot, hip, thick * 0.85, thick * 1.45, tint=0.85))
    chest = (length * 0.68, back + belly * 0.1, 0.0)
    crown = (length * 0.98 + neck * 0.3, back + belly * 0.55 + neck, 0.0)
    solids.append(post(chest, crown, belly * 0.62, head * 0.7))
    solids.append(ball(*crown, head * 1.15, head, head * 0.85))
    nose = (crown[0] + head * 1.5, crown[1] - head * 0.35, 0.0)
    solids.append(post((crown[0], crown[1], 0), nose, head * 0.75, head * 0.42, tint=0.7))
    for z in (-1, 1):
        root = (crown[0] - head * 0.3, crown[1] + head * 0.5, z * head * 0.5)
        tip = (root[0] - head * 0.35, root[1] + head * draw(0.6, 1.2), z * head * 0.95)
        solids.append(post(root, tip, head * 0.26, head * 0.04, tint=0.75))
    tail = (-length * 1.22, back - belly * 0.2, 0.0)
    root = (-length * 0.9, back + belly * 0.2, 0.0)
    return [*solids, post(root, tail, thick * 0.65, thick * 0.3, tint=0.75)]


def _arch(draw: Draw) -> list[Solid]:
    span, thick, deep = draw(0.6, 0.8), draw(0.18, 0.26), draw(0.2, 0.32)
    height, stones = draw(0.5, 1.0), 8
    solids = []
    for x in (-1, 1):
        solids.append(block(x * span, height / 2, 0, thick, height / 2, deep))
        solids.append(block(x * span, height, 0, thick * 1.12, 0.05, deep * 1.08, tint=0.85))
    long = (span + thick) * math.tan(math.pi / (2 * stones)) * 1.02
    for i in range(stones):
        angle = math.pi * (i + 0.5) / stones
        cos, sin = math.cos(angle), math.sin(angle)
        tint = 1.0 if i % 2 else 0.9
        centre = (span * cos, height + span * sin, 0)
        solids.append(block(*centre, thick, long, deep, lean=(cos, sin), tint=tint))
    return solids


FAMILIES: dict[str, Callable[[Draw], list[Solid]]] = {
    "ball": _ball,
    "egg": _egg,
    "crate": _crate,
    "drum": _drum,
    "cone": _cone,
    "pill": _pill,
    "vase": _vase,
    "skittle": _skittle,
    "table": _table,
    "chair": _chair,
    "animal": _animal,
    "arch": _arch,
}
NAMES = tuple(FAMILIES)


def build(family: str, rng: np.random.Generator) -> list[Solid]:
    """The solids of one object class, standing on y = 0, longest side 1."""
    solids = FAMILIES[family](lambda low, high: between(rng, low, high))
    points = np.concatenate([corners(solid) for solid in solids], axis=1)
    low, high = points.min(axis=1), points.max(axis=1)
    scale = 1.0 / float((high - low).max())
    middle = np.array([(low[0] + high[0]) / 2, min(float(low[1]), 0.0), (low[2] + high[2]) / 2])
    return [
        replace(solid, centre=(solid.centre - middle) * scale, half=solid.half * scale)
        for solid in solids
    ]
