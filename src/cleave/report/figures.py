"""Small pictures of what the stages made, as uint8 RGB arrays."""

from __future__ import annotations

from functools import cache

import numpy as np

from cleave.types import Array, Size

THUMBNAIL = 200  # pixels, the long side of every picture of a panel


def thumbnail_size(size: Size) -> Size:
    """The size that has `THUMBNAIL` as its long side; small images are not enlarged beyond it."""
    scale = THUMBNAIL / max(size)
    return Size(max(1, round(size.height * scale)), max(1, round(size.width * scale)))


def feature_pca(features: Array) -> Array:
    """The first three principal components of one image's features as red, green and blue.

    Args:
        features: (h, w, C).

    Returns:
        (h, w, 3) uint8; grey where the features do not vary.
    """
    h, w, c = features.shape
    flat = features.reshape(-1, c).astype(np.float64)
    flat = flat - flat.mean(0)
    _, _, basis = np.linalg.svd(flat, full_matrices=False)
    parts = flat @ basis[: min(3, len(basis))].T
    # A component's sign is arbitrary: its largest entry is positive, so that runs look alike.
    parts *= np.sign(parts[np.abs(parts).argmax(0), np.arange(parts.shape[1])] + 1e-300)
    parts = np.pad(parts, ((0, 0), (0, 3 - parts.shape[1])))
    return np.stack([_stretch(p) for p in parts.T], -1).reshape(h, w, 3)


def _stretch(values: Array) -> Array:
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


@cache
def _colours(name: str) -> Array:
    from matplotlib import colormaps

    return np.rint(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def heat(values: Array, colours: str = "viridis") -> Array:
    """(h, w) numbers through a matplotlib colour map, 1st to 99th percentile."""
    return _colours(colours)[_stretch(values)]


def diverging(values: Array) -> Array:
    """(h, w) numbers in blue (negative) to red (positive), white at zero."""
    peak = np.abs(values).max()
    scaled = values / peak if peak > 0 else values
    return _colours("RdBu_r")[np.rint(127.5 * (scaled + 1)).astype(np.uint8)]


def resized(picture: Array, size: Size, *, smooth: bool) -> Array:
    """A picture at thumbnail size; `smooth=False` keeps the patches visible as squares."""
    from PIL import Image as Picture

    how = Picture.Resampling.LANCZOS if smooth else Picture.Resampling.NEAREST
    return np.asarray(Picture.fromarray(picture).resize((size.width, size.height), how))
