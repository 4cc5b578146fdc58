"""CIE Lab of pixels, and moments of any pixel value over patches and their neighbours."""

from __future__ import annotations

import numpy as np

from cleave.types import Array

# sRGB (IEC 61966-2-1) to XYZ under D65, rows divided by the white point, so white is (1, 1, 1)
_SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_SRGB_TO_XYZ = (_SRGB_TO_XYZ / _SRGB_TO_XYZ.sum(1, keepdims=True)).astype(np.float32)
_LEVELS = np.arange(256) / 255.0
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)
_LINEAR = _LINEAR.astype(np.float32)


def lab(pixels: Array) -> Array:
    """CIE 1976 L*a*b* (D65) of sRGB pixels.

    Written out, since the same bytes must come out on every run and OpenCV's float path goes
    through interpolated tables.

    Args:
        pixels: (..., 3) uint8 RGB.

    Returns:
        (..., 3) float32: L in [0, 100], a and b about -110 to 110.
    """
    linear = _LINEAR[pixels]
    red, green, blue = (linear[..., i] for i in range(3))
    x, y, z = (_cube_root(row[0] * red + row[1] * green + row[2] * blue) for row in _SRGB_TO_XYZ)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _cube_root(value: Array) -> Array:
    linear_part = value * np.float32(841 / 108) + np.float32(4 / 29)
    return np.where(value > np.float32(216 / 24389), np.cbrt(value), linear_part)


def patch_moments(values: Array, stride: int) -> tuple[Array, Array]:
    """Mean and mean square of every patch.

    Args:
        values: (h * stride, w * stride, C).

    Returns:
        two arrays (h, w, C) float64; in float64 their difference loses nothing that matters.
    """
    height, width, channels = values.shape
    blocks = values.reshape(height // stride, stride, width // stride, stride, channels)
    blocks = blocks.astype(np.float64)
    return blocks.mean((1, 3)), np.square(blocks).mean((1, 3))


def neighbourhood_mean(values: Array, radius: int = 1) -> Array:
    """Mean over the cells at most `radius` rows and columns away, of those that exist.

    Args:
        values: (h, w, C).

    Returns:
        (h, w, C)
    """
    height, width = values.shape[:2]
    padded = np.pad(values, ((radius, radius), (radius, radius), (0, 0)))
    inside = np.pad(np.ones((height, width, 1)), ((radius, radius), (radius, radius), (0, 0)))
    steps = range(2 * radius + 1)
    shifts = [(slice(i, i + height), slice(j, j + width)) for i in steps for j in steps]
    return sum(padded[s] for s in shifts) / sum(inside[s] for s in shifts)


def deviation(mean: Array, square: Array) -> Array:
    """Standard deviation from the first two moments; round-off below 0 counts as 0."""
    return np.sqrt(np.maximum(square - np.square(mean), 0))
