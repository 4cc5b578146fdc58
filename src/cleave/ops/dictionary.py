"""A dictionary of image patches by k-means, and features from it: no gradient, seconds to learn.

Coates, Lee and Ng, "An analysis of single-layer networks in unsupervised feature learning"
(AISTATS 2011): contrast normalisation, whitening, k-means, "triangle" activation, pooling.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cleave.types import Array

PATCH = 8  # pixels; the study's, and the stride of all features here
STEP = 4  # pixels between the patches that are looked up; the study's
CHANNELS = PATCH * PATCH * 3
CONTRAST = 10.0  # added to a patch's variance, of values 0 to 255: Coates et al., Sec. 4.1
_ROWS = 4096  # patches compared with all centroids at once: bounds the memory


def windows(pixels: Array, step: int = STEP) -> Array:
    """Every patch whose corner lies on the grid of `step` pixels.

    Args:
        pixels: (H, W, 3) uint8, no side below 8.

    Returns:
        (h', w', 192) uint8, a copy.
    """
    found = sliding_window_view(pixels, (PATCH, PATCH), axis=(0, 1))[::step, ::step]
    return np.moveaxis(found, 2, -1).reshape(*found.shape[:2], CHANNELS)


def draw(pixels: Array, count: int, rng: np.random.Generator) -> Array:
    """(count, 192) uint8 patches from anywhere in an image, drawn with replacement."""
    tops, lefts = (rng.integers(side - PATCH + 1, size=count) for side in pixels.shape[:2])
    every = sliding_window_view(pixels, (PATCH, PATCH), axis=(0, 1))[tops, lefts]
    return np.moveaxis(every, 1, -1).reshape(count, CHANNELS)


def normalised(patches: Array) -> Array:
    """(..., 192) float32: the mean taken off, divided by the deviation; flat patches become 0."""
    values = patches.astype(np.float32)
    values -= values.mean(-1, keepdims=True)
    return values / np.sqrt(np.square(values).mean(-1, keepdims=True) + np.float32(CONTRAST))


def zca(values: Array, epsilon: float) -> tuple[Array, Array]:
    """Mean and whitening matrix: (v - mean) @ matrix has no correlations, but for epsilon.

    Args:
        values: (n, C) float32.
        epsilon: added to the variance along each axis.

    Returns:
        (C,) and symmetric (C, C) float32.
    """
    mean = values.mean(0, dtype=np.float64)
    centred = values - mean.astype(np.float32)
    covariance = (centred.T @ centred).astype(np.float64) / len(values)
    variances, axes = np.linalg.eigh(covariance)
    matrix = (axes / np.sqrt(np.maximum(variances, 0) + epsilon)) @ axes.T
    return mean.astype(np.float32), matrix.astype(np.float32)


def lloyd(
    points: Array, count: int, iterations: int, rng: np.random.Generator
) -> Iterator[tuple[Array, float]]:
    """k-means from points drawn as the first centroids; a centroid left alone takes a far point.

    `ops.cluster.kmeans` is exact about ties and compares all points with all centroids at once;
    this one goes through them in pieces of float32, for which 60,000 points are few.

    Args:
        points: (n, C) float32.
        count: centroids, at most n.

    Yields:
        after each iteration (count, C) float32 centroids and the mean squared distance of the
        points to those before it.
    """
    centroids = points[np.sort(rng.choice(len(points), count, replace=False))]
    for _ in range(iterations):
        nearest, squares = _assign(points, centroids)
        centroids = _means(points, nearest, count)
        empty = np.setdiff1d(np.arange(count), nearest)
        centroids[empty] = points[np.argsort(-squares, kind="stable")[: len(empty)]]
        yield centroids, float(squares.mean())


def _assign(points: Array, centroids: Array) -> tuple[Array, Array]:
    """The nearest centroid of each point, the first on ties, and the squared distance to it."""
    nearest, squares = np.empty(len(points), np.int64), np.empty(len(points), np.float64)
    for start in range(0, len(points), _ROWS):
        part = slice(start, start + _ROWS)
        found = distances(points[part], centroids)
        nearest[part] = found.argmin(1)
        squares[part] = np.square(found.min(1))
    return nearest, squares


def _means(points: Array, nearest: Array, count: int) -> Array:
    """(count, C) float32 mean of the points of each centroid, summed in float64; 0 without any."""
    order = np.argsort(nearest, kind="stable")
    present, first, sizes = np.unique(nearest[order], return_index=True, return_counts=True)
    means = np.zeros((count, points.shape[1]), np.float32)
    sums = np.add.reduceat(points[order], first, axis=0, dtype=np.float64)
    means[present] = sums / sizes[:, None]
    return means


def distances(points: Array, centroids: Array) -> Array:
    """(n, K) float32 Euclidean distances; near 0 they carry the round-off of the products."""
    norms = np.square(points).sum(1)[:, None] + np.square(centroids).sum(1)
    return np.sqrt(np.maximum(norms - 2 * (points @ centroids.T), 0))


def triangle(points: Array, centroids: Array) -> Array:
    """(n, K) float32: how much nearer than the mean centroid each is, 0 for the others."""
    found = distances(points, centroids)
    return np.maximum(found.mean(1, keepdims=True) - found, 0)


def encode(pixels: Array, mean: Array, whitening: Array, centroids: Array) -> Array:
    """Dictionary features of each 8 px patch: activations of the 3 x 3 windows about it, averaged.

    Args:
        pixels: (8 h, 8 w, 3) uint8.
        mean, whitening: of `zca`.
        centroids: (K, 192) float32.

    Returns:
        (h, w, K) float32.
    """
    height, width = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    found = windows(pixels)
    rows = np.stack([_pooled(_active(row, mean, whitening, centroids), width) for row in found])
    return _pooled(rows, height)


def _active(row: Array, mean: Array, whitening: Array, centroids: Array) -> Array:
    return triangle((normalised(row) - mean) @ whitening, centroids)


def _pooled(values: Array, cells: int) -> Array:
    """Mean of windows 2i - 1, 2i and 2i + 1 along the first axis for each cell i, as they exist."""
    middle = values[::2].copy()
    counts = np.ones((cells, *[1] * (values.ndim - 1)), np.float32)
    middle[:-1] += values[1::2]
    counts[:-1] += 1
    middle[1:] += values[1::2]
    counts[1:] += 1
    return middle / counts
