"""Weighted patch graphs and the smallest eigenvectors of their normalised Laplacian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from cleave.ops.affinity import cosine
from cleave.ops.eigen import pseudo_random
from cleave.ops.ncut import with_sign

SMALL = 256  # nodes up to which LAPACK is the quicker one
GUARD = 4  # vectors beside the wanted ones: repeated eigenvalues are found in one block
CAPACITY = 256  # vectors of the search space before it is condensed
ROUNDS = 60  # blocks after which the search gives way to LAPACK
TOLERANCE = 1e-5  # of the residuals; float32 products are good to 1e-6
_EPSILON = 1e-6  # an eigenvalue of 1 but for float32: there is no cut


class LaplacianPairs(NamedTuple):
    """Pairs of (D - W) x = lambda D x, ascending, without the constant first one."""

    values: np.ndarray  # (E,) float64 in [0, 2]
    vectors: np.ndarray  # (E, N) float64, x^T D x = 1, in the sign convention of `ops.ncut`


def clipped_cosine(features: np.ndarray) -> np.ndarray:
    """Cosine of every pair of patches, negative ones 0.

    Deep Spectral Methods (arXiv 2205.07839, Sec. 3; extract.py:146-195).

    Args:
        features: (N, C) float; rows of zeros have no affinity, not even to themselves.

    Returns:
        (N, N) float32, symmetric.
    """
    affinity = cosine(features)
    return np.maximum(affinity, 0, out=affinity)


def laplacian_pairs(weights: np.ndarray, count: int) -> LaplacianPairs:
    """The `count` smallest non-trivial pairs of a weighted graph's normalised Laplacian.

    They are the largest pairs of D^-1/2 W D^-1/2, whose first vector, the root of the degrees, is
    known and left out. Found by a block Krylov search in float32: one product with 16 vectors
    reads a matrix of 52 MB (3,600 nodes) once, where 16 products with one read it 16 times.

    Nodes without any weight count as of degree 1 (extract_utils.py, get_diagonal). Where there is
    no cut the value is 1 and the vector 0, as in `ops.ncut.spectrum`: all weights are equal, or
    more pairs are asked for than there are, or the operator maps the vector to 0.

    Args:
        weights: (N, N) float32, symmetric, not negative.
        count: pairs wanted, at least 1.
    """
    degree = weights.sum(axis=1, dtype=np.float64)
    root = np.sqrt(np.where(degree > 1e-12, degree, 1.0))
    trivial = np.sqrt(degree)
    trivial /= max(np.linalg.norm(trivial), 1e-300)
    values, vectors = np.ones(count), np.zeros((count, len(weights)))
    if not (wanted := min(count, len(weights) - 1)):
        return LaplacianPairs(values, vectors)
    found = None
    if len(weights) > max(SMALL, 4 * (count + GUARD)):
        found = _block_krylov(weights, root, trivial, wanted)
    leading, across = found or _dense(weights, root, trivial, wanted)
    for k in np.flatnonzero(np.abs(leading) > _EPSILON):
        values[k], vectors[k] = 1 - leading[k], with_sign(across[k] / root)
    return LaplacianPairs(values, vectors)


def _dense(
    weights: np.ndarray, root: np.ndarray, trivial: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest eigenvalues, descending, and their vectors, one a row, by LAPACK."""
    n = len(weights)
    matrix = weights / np.outer(root, root)
    deflated = matrix - 3 * np.outer(trivial, trivial)  # 1 to -2: the last
    values, vectors = scipy.linalg.eigh(deflated, subset_by_index=[n - count, n - 1])
    return values[::-1], vectors.T[::-1]


def _block_krylov(
    weights: np.ndarray, root: np.ndarray, trivial: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same by a search space that grows by the residuals of the pairs not yet exact.

    None where they are not exact after `ROUNDS` blocks.
    """
    n, width = len(weights), count + GUARD
    scale = (1 / root[:, None]).astype(np.float32)
    space = np.empty((n, CAPACITY), np.float32)
    images = np.empty((n, CAPACITY), np.float32)
    size = 0
    block = np.stack([pseudo_random(n, stream) for stream in range(width)], 1)
    for _ in range(ROUNDS):
        block = _orthonormal(block, trivial, space[:, :size])
        if not block.size:
            return None
        grown = size + block.shape[1]
        space[:, size:grown], images[:, size:grown] = block, scale * (weights @ (scale * block))
        projection = (space[:, :grown].T @ images[:, :grown]).astype(np.float64)
        values, mix = np.linalg.eigh((projection + projection.T) / 2)
        full = grown + width > CAPACITY
        kept = min(grown, 2 * width if full else width)
        values, mix = values[::-1][:kept], mix[:, ::-1][:, :kept].astype(np.float32)
        ritz, moved = space[:, :grown] @ mix, images[:, :grown] @ mix
        residuals = moved[:, :width] - ritz[:, :width] * values[:width].astype(np.float32)
        inexact = np.linalg.norm(residuals, axis=0) > TOLERANCE
        if not inexact[:count].any():
            return values[:count], ritz[:, :count].T.astype(np.float64)
        size = grown
        if full:  # the best vectors go on alone
            space[:, :kept], images[:, :kept], size = ritz, moved, kept
        block = residuals[:, inexact]
    return None


def _orthonormal(block: np.ndarray, trivial: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The part of the block's span that is new, (N, B) float32 orthonormal."""
    block = block / np.linalg.norm(block, axis=0)
    for _ in range(2):  # twice is enough (Kahan and Parlett): once loses half of the digits
        block = block - np.outer(trivial, trivial @ block)
        block = (block - space @ (space.T @ block.astype(np.float32))).astype(np.float32)
        block, triangle = np.linalg.qr(block)
        new = np.abs(np.diag(triangle)) > 1e-4 * np.abs(triangle).max(initial=0)
        block = block[:, new]
    return block


def eigengap(values: np.ndarray) -> int:
    """How many clusters the spectrum shows: those before its largest gap (extract.py:310-315).

    Args:
        values: (E,) ascending, without the trivial first one, whose gap does not count.

    Returns:
        2 to E, the smallest on ties; 2 where there is no gap to look at.
    """
    return 2 + int(np.argmax(np.diff(values))) if len(values) > 1 else 2


def cohesion(weights: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How much more of its weight each mask keeps to itself than chance would. Ours.

    The normalised association of Shi and Malik (TPAMI 2000), assoc(S, S) / assoc(S, V), less the
    share assoc(S, V) / assoc(V, V) that it would be if weights were spread by degree.

    Args:
        weights: (N, N) float32, symmetric.
        masks: (M, N) bool.

    Returns:
        (M,) float64 in [-1, 1]; 0 for a mask without weight.
    """
    inside = masks.astype(np.float32)
    rows = (inside @ weights).astype(np.float64)  # (M, N)
    total = float(weights.sum(dtype=np.float64))
    own, volume = (rows * masks).sum(1), rows.sum(1)
    share = np.divide(own, volume, out=np.zeros_like(own), where=volume > 0)
    return share - (volume / total if total > 0 else 0.0)
