"""What a depth sensor or a monocular depth network would make of a scene's exact depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from cleave.spec import ConfigError, nearest
from cleave.types import DepthMap

if TYPE_CHECKING:
    from cleave.ops.render import Rendered

Array = np.ndarray
Noise = Literal["exact", "sensor", "monocular"]
_BASELINE = 43.5  # metres times pixels: 7.5 cm between the Kinect's eyes, focal length 580 px
_EIGHTHS = 8.0  # steps a pixel of disparity that it resolves


def noisy_depth(rendered: Rendered, noise: Noise, rng: np.random.Generator) -> DepthMap:
    """The scene's depth as one of three sources would give it; larger is farther in each.

    Args:
        rendered: a scene.
        noise: "exact"; "sensor" (metres; a structured-light camera); "monocular" (relative: a
            network, without scale and shift).
        rng: the only source of chance.

    Raises:
        ConfigError: unknown noise.
    """
    if noise == "exact":
        return DepthMap(rendered.depth, "metre")
    if noise == "sensor":
        return _sensor(rendered.depth.astype(np.float64), rng)
    if noise == "monocular":
        return _monocular(rendered, rng)
    raise ConfigError(f"no depth noise {noise!r}; {nearest(noise, get_args(Noise))}")


def _sensor(depth: Array, rng: np.random.Generator) -> DepthMap:
    """Noise, holes at steps and in specks, quantised disparity; holes take the nearest value.

    The noise is the axial noise of a Kinect, 1.2 mm + 1.9 mm (z - 0.4 m)^2 / m^2 (Nguyen, Izadi and
    Lovell, 3DIMPVT 2012, eq. 3); its disparity comes in eighths of a pixel (Khoshelham and
    Elberink, Sensors 12, 2012, sec. 3).
    """
    spread = 0.0012 + 0.0019 * np.square(depth - 0.4)
    noisy = np.maximum(depth + spread * rng.standard_normal(depth.shape), 0.2)
    disparity = np.maximum(np.rint(_BASELINE * _EIGHTHS / noisy), 1.0)
    values = _BASELINE * _EIGHTHS / disparity
    hole = _steps(depth) & (rng.random(depth.shape) < 0.6)
    hole |= rng.random(depth.shape) < 0.002
    if hole.all():
        hole[:] = False
    nearest_index = distance_transform_edt(hole, return_distances=False, return_indices=True)
    values = values[tuple(nearest_index)].astype(np.float32)
    return DepthMap(values, "metre", float(hole.mean()))


def _steps(depth: Array) -> Array:
    """Pixels within two of a jump by more than 4% of the depth."""
    jump = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        for shift in (1, 2):
            a, b = _shifted(depth, axis, shift)
            far = np.abs(a - b) > 0.04 * shift * np.minimum(a, b)
            one, two = _shifted(jump, axis, shift)
            one |= far
            two |= far
    return jump


def _shifted(array: Array, axis: int, shift: int) -> tuple[Array, Array]:
    """Two views of an array, `shift` apart along an axis."""
    moved = np.moveaxis(array, axis, 0)
    return moved[shift:], moved[:-shift]


def _monocular(rendered: Rendered, rng: np.random.Generator) -> DepthMap:
    """Each object off by 3%, smooth 5% distortion, a power, soft edges, unknown scale and shift.

    Edges rise from 10 to 90% over 3 to 6 px of an image of 480: 2.56 standard deviations.
    """
    depth = rendered.depth.astype(np.float64)
    for mask in (*rendered.instances, *rendered.ignored):
        depth[mask] *= 1.0 + 0.03 * rng.standard_normal()
    depth *= 1.0 + 0.05 * _smooth(depth.shape, rng)
    depth = np.power(depth / depth.max(), 0.7 + 0.7 * rng.random())
    rise = (3.0 + 3.0 * rng.random()) * min(depth.shape) / 480.0
    depth = gaussian_filter(depth, rise / 2.56, mode="nearest")
    scale, shift = 0.5 + 9.5 * rng.random(), 2.0 * rng.random() - 1.0
    return DepthMap((scale * (depth + shift)).astype(np.float32), "relative")


def _smooth(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Values in about [-1, 1] that change over a fourth of the image."""
    coarse = 2.0 * rng.random((5, 5)) - 1.0
    return zoom(coarse, (shape[0] / 5.0, shape[1] / 5.0), order=3, mode="nearest", grid_mode=True)
