"""Spatial Importance sharpening (CutS3D, arXiv 2411.16319, equations 1 to 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

Indexing = Literal["symmetric", "row", "product", "min", "max"]

LOWEST = 1e-5  # affinities are clamped to [LOWEST, 1]: a negative one has no fractional power
_FLAT = 1e-6  # a range below this share of the depth's magnitude is round-off
_ROWS = 256  # rows sharpened at a time, which bounds the memory


def spatial_importance(depth: np.ndarray, sigma: float, beta: float) -> np.ndarray:
    """How much depth changes about each patch, high at the edges of objects.

    Equation 1: the absolute difference of depth and its Gaussian blur (reflected at the border,
    for zeros would invent edges there; cut off at 3 sigma). Equation 2: that, scaled so that its
    range over the image is [beta, 1]. Flat depth, which the paper leaves open, gives beta.

    Args:
        depth: (h, w) float on the patch grid.
        sigma: of the blur, in patches.
        beta: lower bound, in [0, 1].

    Returns:
        (h, w) float32 in [beta, 1].
    """
    depth = depth.astype(np.float64)
    change = np.abs(gaussian_filter(depth, sigma, mode="reflect", truncate=3.0) - depth)
    span = np.ptp(change)
    if span <= _FLAT * np.abs(depth).max():
        return np.full(depth.shape, beta, np.float32)
    return ((1 - beta) * (change - change.min()) / span + beta).astype(np.float32)


def sharpen(affinity: np.ndarray, importance: np.ndarray, indexing: Indexing) -> np.ndarray:
    """Equation 3: W_ij to the power 1 - d_ij; below 1 all rise, most at edges of depth.

    The paper has one importance a patch, d_i, and one exponent a pair. "symmetric" takes the mean
    of d_i and d_j, the geometric mean of the two sharpened values; "product", "min" and "max" are
    other symmetric readings; "row" takes the d of the later patch: what comes of indexing by rows
    and an eigensolver that looks at the lower triangle alone, as scipy's does.

    Args:
        affinity: (N, N) float32, symmetric.
        importance: (h, w) or (N,) float32 in [0, 1].
        indexing: how a pair's exponent comes from two patches.

    Returns:
        (N, N) float32 in [1e-5, 1], symmetric.
    """
    d = importance.astype(np.float32).ravel()
    sharpened = np.clip(affinity, LOWEST, 1.0)
    for start in range(0, len(d), _ROWS):
        block = sharpened[start : start + _ROWS]
        np.power(block, 1 - _pairwise(d, slice(start, start + _ROWS), indexing), out=block)
    return sharpened


def _pairwise(d: np.ndarray, rows: slice, indexing: Indexing) -> np.ndarray:
    mine = d[rows, None]
    match indexing:
        case "symmetric":
            return (mine + d) / 2
        case "product":
            return mine * d
        case "min":
            return np.minimum(mine, d)
        case "max":
            return np.maximum(mine, d)
        case "row":
            index = np.arange(len(d))
            return np.where(index[rows, None] > index, mine, d)
    raise ValueError(f"indexing {indexing!r}")
