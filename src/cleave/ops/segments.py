"""Spectral clustering of patches for several numbers of clusters, and what is kept of it.

arXiv 2311.14665 has no public code; the affinity and the eigenproblem are those of Deep Spectral
Methods (arXiv 2205.07839), by some of the same authors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from cleave.ops import components
from cleave.ops.cluster import kmeans
from cleave.ops.laplacian import clipped_cosine, laplacian_pairs
from cleave.ops.resample import bilinear, upsample_nearest
from cleave.types import Size

_TOGETHER = 16  # masks enlarged at a time
_DIGITS = 5  # of the vectors that count: they are exact to 1e-5


class Segments(NamedTuple):
    """What spectral clustering leaves, by number of clusters, then by cluster and first patch."""

    masks: np.ndarray  # (M, h, w) bool
    clusters: np.ndarray  # (M,) int64, how many clusters there were
    border: np.ndarray  # (M,) float64, share of the grid's border that the segment's cluster holds


def spectral_segments(
    features: np.ndarray,
    grid: Size,
    clusters: Sequence[int],
    *,
    least: float = 0.0,
    most: float = 1.0,
    split: bool = True,
    normalise: bool = False,
    starts: int = 10,
    iterations: int = 300,
) -> Segments:
    """The segments for each number of clusters, those that are tiny or nearly all left out.

    Args:
        features: (N, C) float.
        grid: h and w with h * w = N.
        clusters: numbers of clusters, each at least 2.
        least: patches that a segment has at least.
        most: share of the patches that it has at most.
        split: into 4-connected components; else a segment is a cluster.
        normalise, starts, iterations: see `spectral_labels`.
    """
    masks, numbers, border = [np.zeros((0, *grid), bool)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for k, flat in spectral_labels(
        features, clusters, normalise=normalise, starts=starts, iterations=iterations
    ):
        labels = flat.reshape(grid)
        found = parts(labels, least, most * len(features), split=split)
        own = labels.ravel()[found.reshape(len(found), len(flat)).argmax(1)]
        masks.append(found)
        numbers.append(np.full(len(found), k))
        border.append(border_shares(labels)[own])
    return Segments(*map(np.concatenate, (masks, numbers, border)))


def spectral_labels(
    features: np.ndarray,
    clusters: Sequence[int],
    *,
    normalise: bool = False,
    starts: int = 10,
    iterations: int = 300,
) -> Iterator[tuple[int, np.ndarray]]:
    """Clusters of patches for each number of them, from one eigenproblem.

    k clusters are found by k-means over the k - 1 smallest eigenvectors of
    (D - W) v = lambda D v, W = max(0, cosine), without the constant one (Deep Spectral Methods,
    extract.py:182-240 and 327).

    Args:
        features: (N, C) float.
        clusters: each at least 2.
        normalise: rows of the eigenvectors to unit length, as Ng, Jordan and Weiss (NIPS 2001) do.
        starts, iterations: see `ops.cluster.kmeans`.

    Yields:
        k and (N,) int64 labels 0.., in the order of `clusters`. There are fewer labels than k where
        there are fewer different patches, and one where no two of them differ.
    """
    vectors = laplacian_pairs(clipped_cosine(features), max(clusters) - 1).vectors
    largest = np.abs(vectors).max(1, keepdims=True)
    digits = _DIGITS - np.ceil(np.log10(np.where(largest > 0, largest, 1.0)))
    step = 10.0**-digits
    vectors = np.round(vectors / step) * step  # patches that are alike stay together
    for k in clusters:
        points = vectors[: k - 1].T
        if normalise:
            norms = np.linalg.norm(points, axis=1, keepdims=True)
            points = np.divide(points, norms, out=np.zeros_like(points), where=norms > 0)
        yield k, kmeans(points, k, starts=starts, iterations=iterations)


def border_shares(labels: np.ndarray) -> np.ndarray:
    """The share of the four borders that each label holds, (L,) float64; corners count twice.

    Deep Spectral Methods take the label with most of it as the background (extract_utils.py).

    Args:
        labels: (h, w) int, not negative.
    """
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.bincount(border, minlength=int(labels.max()) + 1) / len(border)


def parts(labels: np.ndarray, least: float, most: float, *, split: bool = True) -> np.ndarray:
    """The 4-connected components of each label, or the labels whole, that are neither tiny nor all.

    Args:
        labels: (h, w) int.
        least, most: patches that a part has at least and at most.
        split: into components.

    Returns:
        (M, h, w) bool: labels ascending, components in row-major order of their first patch.
    """
    found = [np.zeros((0, *labels.shape), bool)]
    for number in np.unique(labels):
        mask = labels == number
        split_mask, count = components.label(mask) if split else (mask.astype(np.int32), 1)
        sizes = np.bincount(split_mask.ravel(), minlength=count + 1)[1:]
        kept = np.flatnonzero((sizes >= least) & (sizes <= most)) + 1
        found.append(split_mask == kept[:, None, None])
    return np.concatenate(found)


def enlarge(masks: np.ndarray, size: Size, how: Literal["bilinear", "nearest"]) -> np.ndarray:
    """Patch masks at the size of the image.

    Args:
        masks: (M, h, w) bool.
        how: `bilinear` interpolates between 0 and 1 and cuts at a half, which rounds corners.

    Returns:
        (M, H, W) bool.
    """
    if how == "nearest":
        return upsample_nearest(masks, size)
    full = np.empty((len(masks), *size), bool)
    for start in range(0, len(masks), _TOGETHER):  # bounds the memory
        some = slice(start, start + _TOGETHER)
        np.greater(bilinear(masks[some].astype(np.float32), size), 0.5, out=full[some])
    return full
