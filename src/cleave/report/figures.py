"""Small pictures of what the stages made, as uint8 RGB arrays."""

from __future__ import annotations

from functools import cache

import numpy as np

from cleave.types import Array, Size

THUMBNAIL = 320  # pixels, the long side of every picture of a panel
NOISE = 0.005  # share of the first component below which another one is rounding (float16)
GREY = 128
NEGATIVE, POSITIVE = (33, 102, 172), (178, 24, 43)  # the ends of ColorBrewer's RdBu


def thumbnail_size(size: Size, longest: int = THUMBNAIL) -> Size:
    """The size of the same shape whose long side is `longest`; no side is less than a pixel."""
    scale = longest / max(size)
    return Size(max(1, round(size.height * scale)), max(1, round(size.width * scale)))


def feature_pca(features: Array) -> Array:
    """The first three principal components of one image's features as red, green and blue.

    Args:
        features: (h, w, C).

    Returns:
        (h, w, 3) uint8; a component that does not vary is grey.
    """
    h, w, c = features.shape
    flat = features.reshape(-1, c).astype(np.float64)
    flat = flat - flat.mean(0)
    _, basis = np.linalg.eigh(flat.T @ flat)
    parts = flat @ basis[:, ::-1][:, :3]
    # A component's sign is arbitrary: its largest entry is positive, so that runs look alike.
    parts *= np.sign(parts[np.abs(parts).argmax(0), np.arange(parts.shape[1])] + 1e-300)
    parts = np.pad(parts, ((0, 0), (0, 3 - parts.shape[1])))
    first = np.subtract(*np.percentile(parts[:, 0], (99, 1)))
    floor = max(NOISE * first, 1e-6 * np.abs(features).max())
    return np.stack([_stretch(p, floor) for p in parts.T], -1).reshape(h, w, 3)


def _stretch(values: Array, floor: float = 0.0) -> Array:
    """1st to 99th percentile to 0..255; all `GREY` where that range is no more than `floor`."""
    low, high = np.percentile(values, (1, 99))
    if high - low <= floor:
        return np.full(values.shape, GREY, np.uint8)
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


@cache
def _colours(name: str) -> Array:
    from matplotlib import colormaps

    return np.rint(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def heat(values: Array, colours: str = "viridis") -> Array:
    """(h, w) numbers through a matplotlib colour map, 1st to 99th percentile."""
    return _colours(colours)[_stretch(values.astype(np.float64))]


def diverging(values: Array) -> Array:
    """(h, w) numbers from blue (negative) over white (zero) to red; full colour at the 99 %."""
    peak = np.percentile(np.abs(values), 99) or np.abs(values).max()
    share = np.clip(values / peak, -1, 1)[..., None] if peak > 0 else np.zeros((*values.shape, 1))
    end = np.where(share < 0, NEGATIVE, POSITIVE)
    return np.rint(255 + np.abs(share) * (end - 255.0)).astype(np.uint8)


def resized(picture: Array, size: Size, *, smooth: bool) -> Array:
    """A picture at another size; `smooth=False` keeps the patches visible as squares."""
    from PIL import Image as Picture

    how = Picture.Resampling.LANCZOS if smooth else Picture.Resampling.NEAREST
    return np.asarray(Picture.fromarray(picture).resize((size.width, size.height), how))
