"""Patches that are unlike most others, and what grows from the least connected of them (LOST)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ROWS = 512  # of the products held at a time: 7 MB for 3,600 patches, which stay in the cache


class Expansion(NamedTuple):
    degrees: np.ndarray  # (N,) int64, how many other patches each one resembles
    seed: int  # the patch of the lowest degree, the first on ties
    similar: np.ndarray  # (S,) int64, patches of low degree that resemble the seed
    mask: np.ndarray  # (N,) bool, patches that resemble `similar` on average


def degrees(features: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """How many other patches have a product with each patch above `threshold`, (N,) int64.

    Every pair is multiplied once, so the relation is exactly symmetric.

    Args:
        features: (N, C) float.
        threshold: on the products f_p . f_q.
    """
    features = np.asarray(features, np.float32)
    found = np.zeros(len(features), np.int64)
    for first in range(0, len(features), _ROWS):
        rows = features[first : first + _ROWS]
        alike = rows @ features[first:].T > threshold
        np.fill_diagonal(alike, False)
        square = alike[:, : len(rows)]  # BLAS may round the two products of a pair differently
        square[:] = np.triu(square) | np.triu(square).T
        found[first : first + len(rows)] += np.count_nonzero(alike, axis=1)
        found[first + len(rows) :] += np.count_nonzero(alike[:, len(rows) :], axis=0)
    return found


def expand_seed(features: np.ndarray, candidates: int, threshold: float = 0.0) -> Expansion:
    """The seed of lowest degree, and the patches that resemble it or its like.

    LOST (arXiv 2109.14279, Sec. 3; object_discovery.py:24-76): S are those of the `candidates`
    patches of lowest degree whose product with the seed is positive, and the mask is where
    M_q = sum over s in S of f_q . f_s is positive. M is the product of f_q with one summed
    feature, so nothing but the degrees needs all pairs. A threshold t asks for the mean of these
    products to be above t.

    Args:
        features: (N, C) float, N > 0.
        candidates: k.
        threshold: above which two patches are alike.
    """
    found = degrees(features, threshold)
    order = np.argsort(found, kind="stable")[:candidates]
    similar, field = spread(features, order, threshold)
    return Expansion(found, int(order[0]), similar, field > 0)


def spread(
    features: np.ndarray, order: np.ndarray, threshold: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """From the first of some patches to those of them that resemble it, and from these to all.

    Args:
        features: (N, C) float.
        order: (K,) int64 indices of patches, not empty.
        threshold: above which two patches are alike.

    Returns:
        The entries of `order` alike to the first one, and (N,) float64: each patch's products with
        them, less the threshold, summed.
    """
    exact = np.asarray(features, np.float64)
    similar = order[exact[order] @ exact[order[0]] > threshold]
    return similar, exact @ exact[similar].sum(0) - threshold * len(similar)
