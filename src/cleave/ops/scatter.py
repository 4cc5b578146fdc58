"""Scatter of neighbouring cells against all cells, and the directions in which they differ most."""

from __future__ import annotations

import math

import numpy as np

from cleave.ops.ncut import with_sign
from cleave.types import Array

FLOOR = 1e-7  # of the mean variance of near cells


def disc_sums(cells: Array, radius: int) -> Array:
    """Sum of the cells at most `radius` away (Euclidean), itself included.

    One cumulative sum along the rows, and a difference of it for each row of the disc.

    Args:
        cells: (h, w, C) float64.

    Returns:
        (h, w, C)
    """
    height, width, channels = cells.shape
    ahead = np.zeros((height, width + 1, channels))
    np.cumsum(cells, axis=1, out=ahead[:, 1:])
    columns = np.arange(width)
    total = np.zeros_like(cells)
    for down in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        half = math.isqrt(radius**2 - down**2)
        first, end = np.maximum(columns - half, 0), np.minimum(columns + half + 1, width)
        here = slice(max(0, -down), min(height, height - down))
        there = slice(max(0, down), min(height, height + down))
        total[here] += ahead[there][:, end] - ahead[there][:, first]
    return total


def scatters(cells: Array, radius: int) -> tuple[Array, Array, int]:
    """The scatter of an image's cells about their mean, and that of its near pairs.

    The pairs are never listed: with A the adjacency of near cells and D its degrees, the sum over
    unordered pairs of (x - y)(x - y)^T is X^T (D - A) X, and A X is a sum over a disc.

    Args:
        cells: (h, w, C) float.
        radius: cells; a pair at most so far apart (Euclidean) is near.

    Returns:
        (C, C) sum over cells of (x - mean)(x - mean)^T, (C, C) sum over near pairs of
        (x - y)(x - y)^T / 2, float64, and the number of near pairs.
    """
    height, width, channels = cells.shape
    centred = cells - cells.mean((0, 1), dtype=np.float64)
    degrees = disc_sums(np.ones((height, width, 1)), radius)
    apart = degrees * centred - disc_sums(centred, radius)
    rows = centred.reshape(-1, channels)
    near = rows.T @ apart.reshape(-1, channels) / 2
    pairs = round(float(degrees.sum()) - height * width) // 2
    return rows.T @ rows, (near + near.T) / 2, pairs


def discriminants(total: Array, near: Array, count: int, ridge: float) -> tuple[Array, Array]:
    """Directions in which all cells scatter most for how much neighbours do (Fisher's LDA).

    The generalised eigenvectors of total v = ratio near v, scaled to v^T near v = 1, so that
    neighbours differ equally in each.

    Args:
        total, near: (C, C) covariances.
        count: of directions; at most C.
        ridge: share of each channel's variance added to the diagonal of `near`. A little of the
            mean one is added too: else a channel that hardly varies in what was learned from (the
            colours of grey photos) could have any ratio and count without bounds in others.

    Returns:
        (count,) ratios, descending, and (C, count) directions, signs as `with_sign` has them.
    """
    from scipy.linalg import eigh

    added = ridge * np.diag(near) + FLOOR * np.diag(near).mean()
    channels = len(total)
    ratios, directions = eigh(
        total, near + np.diag(added), subset_by_index=(channels - count, channels - 1)
    )
    return ratios[::-1], np.stack([with_sign(d) for d in directions.T[::-1]], axis=1)
