"""Texture of patches at three scales: how colours spread, and which way the edges run.

The features study has "colour and texture, 3 scales, 32 numbers" without saying which. These are
30: at each scale the mean and the deviation of Lab and the strength of edges in four directions.
"""

from __future__ import annotations

import numpy as np

from cleave.ops.colour import deviation, lab, neighbourhood_mean, patch_moments
from cleave.types import Array

RADII = (0, 1, 2)  # patches around each: windows of 8, 24 and 40 px at a stride of 8
CHANNELS = 10 * len(RADII)

# Mean and standard deviation over the 8 px patches of 1,026 unlabeled photos (every 8th of 8,208
# from ImageNet, Caltech-101, BSDS and shop photos), each at 480 x 480; no label took part.
# fmt: off
MEAN = np.array([
    50.25, 4.66, 11.10, 4.45, 1.04, 1.26, 0.83, 0.65, 0.81, 0.66,
    50.25, 4.66, 11.10, 8.29, 2.29, 2.92, 0.83, 0.65, 0.81, 0.67,
    50.25, 4.66, 11.10, 10.51, 3.11, 4.09, 0.83, 0.65, 0.81, 0.67,
])
SCALE = np.array([
    25.92, 14.42, 18.48, 5.46, 1.41, 1.71, 1.42, 1.11, 1.38, 1.12,
    24.39, 14.02, 17.99, 7.58, 3.04, 3.71, 1.08, 0.81, 1.05, 0.83,
    23.31, 13.66, 17.53, 8.18, 3.84, 4.68, 0.95, 0.71, 0.94, 0.72,
])
# fmt: on


def edges(lightness: Array) -> Array:
    """Strength of the gradient of each pixel, split by the direction that it points in.

    A gradient of magnitude m at the angle t counts m cos 2t, in four bins about 0, 45, 90 and 135
    degrees, of which the angle feeds at most two: a histogram that changes smoothly with the angle.

    Args:
        lightness: (H, W) float32.

    Returns:
        (H, W, 4) float32, not negative.
    """
    padded = np.pad(lightness, 1, mode="edge")
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    length = np.sqrt(np.square(down) + np.square(right))
    safe = np.where(length > 0, length, 1)
    cosine, sine = (np.square(right) - np.square(down)) / safe, 2 * right * down / safe
    return np.maximum(np.stack([cosine, sine, -cosine, -sine], axis=-1), 0)


def texture(pixels: Array, stride: int) -> Array:
    """Texture of every patch, not standardised.

    Args:
        pixels: (h * stride, w * stride, 3) uint8 RGB.

    Returns:
        (h, w, 30) float64: for each of `RADII` the Lab mean (3), the Lab deviation (3) and the mean
        strength of edges (4) of the patch and its neighbours.
    """
    values = lab(pixels)
    mean, square = patch_moments(values, stride)
    strength, _ = patch_moments(edges(values[..., 0]), stride)
    moments = np.concatenate([mean, square, strength], axis=-1)
    parts = []
    for radius in RADII:
        wide = neighbourhood_mean(moments, radius)
        parts += [wide[..., :3], deviation(wide[..., :3], wide[..., 3:6]), wide[..., 6:]]
    return np.concatenate(parts, axis=-1)


def standardised(values: Array) -> Array:
    """`texture` with each number's mean over photos taken off, divided by its deviation."""
    return (values - MEAN) / SCALE
