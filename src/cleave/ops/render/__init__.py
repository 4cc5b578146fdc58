"""Photo-like toy scenes from a seed: a picture, its depth, and the exact masks of its objects.

A scene is a pure function of (flavour, seed, size): several objects of few classes on a textured
floor before a wall, ray cast with soft shadows. Objects of one class share shape, colour and
texture, so that only depth tells two of them apart where they overlap in the picture.
"""

from __future__ import annotations

import functools
import re
import zlib
from dataclasses import dataclass

import numpy as np

from cleave.ops.render.camera import Hits, Rays, World, trace
from cleave.ops.render.layout import FLAVOURS, arrange
from cleave.ops.render.materials import Look, draw_look
from cleave.ops.render.sensors import Noise, noisy_depth
from cleave.ops.render.shade import radiance
from cleave.ops.render.shapes import NAMES as CLASSES
from cleave.spec import ConfigError, nearest
from cleave.types import DataError, Size

__all__ = [
    "CLASSES",
    "FLAVOURS",
    "VERSION",
    "Noise",
    "Rendered",
    "image_id",
    "noisy_depth",
    "parse_id",
    "scene",
]

Array = np.ndarray
VERSION = 1  # bump when the same seed comes to mean other pixels, depths or masks
LEAST_AREA = 0.005  # share of the image that an instance shows
LEAST_VISIBLE = 0.2  # share of an instance's own silhouette that is not hidden by others
_SUBPIXELS = ((-0.375, -0.125), (-0.125, 0.375), (0.125, -0.375), (0.375, 0.125))


@dataclass(frozen=True, eq=False)
class Rendered:
    """One scene. All arrays are read-only, for they are shared by a cache.

    Instances are the objects that show at least 0.5% of the image and at least 20% of their own
    silhouette. Objects that show less are in `ignored`, if any pixel of them shows: neither truth
    nor background. Floor and wall are in neither.
    """

    pixels: Array  # (H, W, 3) uint8 RGB
    depth: Array  # (H, W) float32, distance along the viewing axis, metres
    instances: Array  # (M, H, W) bool, visible parts, disjoint
    classes: Array  # (M,) int64, index in CLASSES
    ignored: Array  # (K, H, W) bool, visible parts of the objects that are no instances


@functools.lru_cache(maxsize=2)  # pixels, depth and masks of an image are asked for in turn
def scene(flavour: str, seed: int, size: Size) -> Rendered:
    """Renders one scene; the same arguments give the same bytes.

    Args:
        flavour: "crowded" or "control" (see `layout`).
        seed: any integer from 0.
        size: of the image; layouts differ only between aspect ratios.

    Raises:
        ConfigError: unknown flavour.
    """
    if flavour not in FLAVOURS:
        raise ConfigError(f"no flavour {flavour!r} of scenes; {nearest(flavour, FLAVOURS)}")
    size, key = Size(*size), zlib.crc32(flavour.encode())
    world = arrange(flavour, np.random.default_rng([seed, key, 0]), size)
    groups = 1 + max(thing.group for thing in world.things)
    look = draw_look(np.random.default_rng([seed, key, 1]), groups)
    rows, columns = np.divmod(np.arange(size.height * size.width), size.width)
    rays = world.camera.rays(rows + 0.5, columns + 0.5, size)
    hits = trace(world, rays)
    light = _antialiased(world, look, rays, hits, size)
    light *= 1.0 / (1.0 + rays.u * rays.u + rays.v * rays.v)  # half the fall-off of a bare lens
    pixels = _develop(light, look.exposure, np.random.default_rng([seed, key, 2]))
    rendered = _labelled(world, hits, size, pixels.T.reshape(*size, 3))
    for array in vars(rendered).values():
        array.flags.writeable = False
    return rendered


def image_id(flavour: str, seed: int) -> str:
    """The id of a scene as an image of a data set: "crowded-000042"."""
    return f"{flavour}-{seed:06d}"


def parse_id(text: str) -> tuple[str, int]:
    """(flavour, seed) of an image id.

    Raises:
        DataError: the image is no scene.
    """
    match = re.fullmatch(rf"({'|'.join(FLAVOURS)})-(\d{{6,}})", text)
    if not match or image_id(match[1], int(match[2])) != text:
        raise DataError(
            f"image {text!r} is no rendered scene; expected an id like 'crowded-000042', "
            "as a data set of kind 'scenes' gives them"
        )
    return match[1], int(match[2])


def _antialiased(world: World, look: Look, rays: Rays, hits: Hits, size: Size) -> Array:
    """Light (3, P) of every pixel: one ray each, four where two surfaces meet."""
    light = radiance(world, look, rays, hits)
    label = (hits.thing.astype(np.int32) * 64 + hits.solid).reshape(size)
    edge = np.zeros(size, bool)
    for one, two in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = label[one] != label[two]
        edge[one] |= differs
        edge[two] |= differs
    index = np.flatnonzero(edge)
    if len(index) == 0:
        return light
    rows, columns = np.divmod(index, size.width)
    fine = world.camera.rays(
        np.concatenate([rows + 0.5 + dy for dy, _ in _SUBPIXELS]),
        np.concatenate([columns + 0.5 + dx for _, dx in _SUBPIXELS]),
        size,
    )
    samples = radiance(world, look, fine, trace(world, fine)).reshape(3, len(_SUBPIXELS), -1)
    samples = np.minimum(samples, 2.0)  # a highlight must not outvote its neighbours
    light[:, index] = (samples[:, 0] + samples[:, 1] + samples[:, 2] + samples[:, 3]) * 0.25
    return light


def _develop(light: Array, exposure: float, rng: np.random.Generator) -> Array:
    """Light to (3, P) uint8: a filmic curve, gamma 2, and noise that grows with the root of light.

    The curve is the rational fit to ACES of K. Narkowicz (2016).
    """
    x = light * exposure
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)
    screen = np.sqrt(film) * 255.0
    grain = rng.random(light.shape) - rng.random(light.shape)  # triangular: exact everywhere
    return np.clip(np.rint(screen + 3.5 * grain), 0, 255).astype(np.uint8)


def _labelled(world: World, hits: Hits, size: Size, pixels: Array) -> Rendered:
    masks = [(hits.thing == number).reshape(size) for number in range(len(world.things))]
    areas = np.array([mask.sum() for mask in masks])
    whole = (areas >= LEAST_AREA * len(hits.depth)) & (areas >= LEAST_VISIBLE * hits.covered)
    stack = np.stack(masks)
    return Rendered(
        np.ascontiguousarray(pixels),
        hits.depth.astype(np.float32).reshape(size),
        stack[whole],
        np.array([thing.family for thing in world.things], np.int64)[whole],
        stack[~whole & (areas > 0)],
    )
