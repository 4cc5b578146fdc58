"""Normalised cuts on binarised patch graphs: the one eigensolver of all mask methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg

from cleave.ops import bits
from cleave.types import Size


@dataclass(frozen=True)
class Spectrum:
    """Smallest non-trivial pairs of (D - W) x = lambda D x, ascending.

    A pair with a vector of zeros says: there is no such cut (see `spectrum`).
    """

    values: np.ndarray  # (E,) float64
    vectors: np.ndarray  # (E, N) float64, x^T D x = 1, in the sign convention of `with_sign`
    residuals: np.ndarray  # (E,) float64, norm of the residual of the normalised problem
    gap: float  # from the last of `values` to the next eigenvalue; near 0: the cut is arbitrary
    solver: str  # "lanczos", "dense" or "none" (nothing to solve)


class Bipartition(NamedTuple):
    vector: np.ndarray  # (N,) float64, reversed or not
    foreground: np.ndarray  # (N,) bool
    seed: int  # the most salient node


def spectrum(edges: np.ndarray, n: int, floor: float = 1e-5, count: int = 1) -> Spectrum:
    """The `count` smallest non-trivial pairs of (D - W) x = lambda D x, W = floor + (1-floor) B."""
    return dense_spectrum(edges, n, floor, count)


def dense_spectrum(edges: np.ndarray, n: int, floor: float = 1e-5, count: int = 1) -> Spectrum:
    """The same as `spectrum` by LAPACK on the full matrix: slow, the oracle and the fallback."""
    weights = np.where(bits.unpack(edges, n), 1.0, floor)
    degree = weights.sum(axis=1)
    values, vectors, residuals = np.ones(count), np.zeros((count, n)), np.zeros(count)
    if weights.min() == weights.max():
        return Spectrum(values, vectors, residuals, 0.0, "none")
    root = np.sqrt(degree)
    operator = weights / root[:, None] / root
    trivial = root / np.linalg.norm(root)
    operator -= np.outer(trivial, trivial)
    found = min(count, n - 1)
    top, basis = scipy.linalg.eigh(operator, subset_by_index=[n - found, n - 1])
    for k in range(found):
        mu, y = top[-1 - k], basis[:, -1 - k]
        residuals[k] = np.linalg.norm(operator @ y - mu * y)
        values[k], vectors[k] = 1 - mu, with_sign(y / root)
    return Spectrum(values, vectors, residuals, float("nan"), "dense")


def _peak(values: np.ndarray) -> int:
    """First index whose value is the largest but for round-off."""
    return int(np.argmax(values >= values.max() - 1e-6 * np.abs(values).max()))


def with_sign(vector: np.ndarray) -> np.ndarray:
    """The vector or its negative: the entry of largest magnitude, first on ties, is positive."""
    return vector if vector[_peak(np.abs(vector))] >= 0 else -vector


def bipartition(vector: np.ndarray) -> np.ndarray:
    """Nodes above the mean, (N,) bool; entries equal to it but for round-off are not above."""
    return vector - vector.mean() > 1e-9 * np.abs(vector).max()


def orient(vector: np.ndarray, grid: Size) -> Bipartition:
    """CutLER's choice of the foreground side (arXiv 2301.11320, maskcut.py:111-124)."""
    foreground = bipartition(vector)
    corners = foreground.reshape(grid)[[0, 0, -1, -1], [0, -1, 0, -1]].sum()
    if corners >= 3 or not foreground[_peak(np.abs(vector))]:
        vector, foreground = -vector, ~foreground
    return Bipartition(vector, foreground, _peak(vector))
