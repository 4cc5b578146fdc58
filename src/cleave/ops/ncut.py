"""Normalised cuts on binarised patch graphs: the one eigensolver of all mask methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg

from cleave.ops import bits
from cleave.ops.boxes import CORNERS
from cleave.ops.eigen import LeadingPairs, leading_pairs, pseudo_random
from cleave.types import Size

MOST = 16  # pairs at a time
SMALL = 128  # nodes up to which the dense solver is the quicker one
COMPONENTS = 32  # components, the weightiest first, given to the iterative solver


@dataclass(frozen=True)
class Spectrum:
    """Smallest non-trivial pairs of (D - W) x = lambda D x, ascending.

    A pair with a vector of zeros says: there is no such cut (see `spectrum`).
    """

    values: np.ndarray  # (E,) float64
    vectors: np.ndarray  # (E, N) float64, x^T D x = 1, in the sign convention of `with_sign`
    residuals: np.ndarray  # (E,) float64, norm of the residual of the normalised problem
    gap: float  # from the last of `values` to the next eigenvalue; near 0: the cut is arbitrary
    solver: str  # "iterative", "dense" or "none" (nothing to solve)


class Bipartition(NamedTuple):
    vector: np.ndarray  # (N,) float64, reversed or not
    foreground: np.ndarray  # (N,) bool
    seed: int  # the most salient node


def spectrum(
    edges: np.ndarray, n: int, floor: float = 1e-5, count: int = 1, tolerance: float = 1e-10
) -> Spectrum:
    """The `count` smallest non-trivial pairs of (D - W) x = lambda D x.

    W = floor + (1 - floor) B with B the edges, diagonal included, and D its row sums, as in CutLER
    (arXiv 2301.11320, maskcut.py:40-56). Solved as the largest pairs of D^-1/2 W D^-1/2, whose
    first vector, sqrt(d), is known and left out.

    Interchangeable nodes are one node. All nodes without any edge have the same row of W, and so
    do, but for the diagonal, all nodes joined only to themselves. An eigenvector either gives all
    of one kind the same entry, or is an arbitrary one on them alone that sums to 0. The latter are
    left out: they are never the second-smallest unless nearly all nodes are without edges. So a cut
    after masking out is quick and well defined.

    Where there is no cut the value is 1 and the vector 0: every entry of W is the same (a constant
    image; a single node), or more pairs are asked for than there are, or W maps the vector to 0.

    Args:
        edges: (N, ceil(N/8)) uint8, symmetric, see `cleave.ops.bits`.
        n: N.
        floor: weight of a missing edge, in (0, 1).
        count: pairs wanted, 1 to 16.
        tolerance: largest residual; looser than 1e-5 gives wrong bipartitions.

    Raises:
        ValueError: arguments that do not fit together.
    """
    return _solve(edges, n, floor, count, tolerance, _iterative)


def dense_spectrum(edges: np.ndarray, n: int, floor: float = 1e-5, count: int = 1) -> Spectrum:
    """The same as `spectrum` by LAPACK: slow; the oracle and the fallback."""
    return _solve(edges, n, floor, count, 0.0, _dense)


class _Quotient:
    """The normalised operator on the nodes that are not interchangeable."""

    def __init__(self, edges: np.ndarray, n: int, floor: float):
        degree = bits.degrees(edges)
        alone = degree == 0
        hermits = (degree == 1) & bits.diagonal(edges)
        self.kept = np.flatnonzero(~(_repeats(alone) | _repeats(hermits)))
        self.member = np.empty(n, np.int64)  # node to row of the quotient
        self.member[self.kept] = np.arange(len(self.kept))
        for kind in (alone, hermits):
            self.member[kind] = self.member[np.argmax(kind)]
        self.rows = edges if len(self.kept) == n else edges[self.kept]
        self.root_size = np.sqrt(np.bincount(self.member))  # of the nodes that each row stands for
        self.floor = floor
        degree = (1 - floor) * degree[self.kept] + floor * n
        self.root_degree = np.sqrt(degree)
        self.trivial = self.root_size * self.root_degree
        self.trivial /= np.linalg.norm(self.trivial)

    def __len__(self) -> int:
        return len(self.kept)

    def multiplier(self) -> Callable[[np.ndarray], np.ndarray]:
        product = bits.multiplier(self.rows, len(self.member))
        padded = np.zeros(len(self.member))

        def multiply(y: np.ndarray) -> np.ndarray:
            x = y / self.root_degree
            padded[self.kept] = x  # rows are whole; what is not kept meets their zeros
            joined = (1 - self.floor) * product(padded)
            joined += self.floor * (self.root_size @ x) * self.root_size
            return joined / self.root_degree

        return multiply

    def matrix(self) -> np.ndarray:
        weights = self.floor * np.outer(self.root_size, self.root_size)
        weights += (1 - self.floor) * bits.unpack(self.rows, len(self.member))[:, self.kept]
        return weights / self.root_degree[:, None] / self.root_degree

    def spread(self, y: np.ndarray) -> np.ndarray:
        """The vector x over all nodes that the quotient's unit vector y stands for."""
        return (y / self.root_size / self.root_degree)[self.member]


def _repeats(kind: np.ndarray) -> np.ndarray:
    """All True entries but the first."""
    repeats = kind.copy()
    repeats[np.argmax(kind)] = False
    return repeats


def _solve(
    edges: np.ndarray, n: int, floor: float, count: int, tolerance: float, solver: Callable
) -> Spectrum:
    if not 1 <= count <= MOST or edges.shape != (n, (n + 7) // 8) or not 0 < floor < 1:
        raise ValueError(f"count 1 to {MOST}, edges (N, ceil(N/8)) and 0 < floor < 1 expected")
    values, vectors, residuals = np.ones(count), np.zeros((count, n)), np.zeros(count)
    quotient = None if bits.degrees(edges).sum() == n * n else _Quotient(edges, n, floor)
    found = min(count, len(quotient) - 1) if quotient else 0
    if not found:
        return Spectrum(values, vectors, residuals, 0.0, "none")
    pairs, name = solver(quotient, found, tolerance)
    for k in np.flatnonzero(np.abs(pairs.values) > 1e-9):
        values[k], residuals[k] = 1 - pairs.values[k], pairs.residuals[k]
        vectors[k] = with_sign(quotient.spread(pairs.vectors[k]))
    gap = float(pairs.values[-1] - pairs.following) if found == count else 0.0
    return Spectrum(values, vectors, residuals, gap, name)


def _iterative(quotient: _Quotient, count: int, tolerance: float) -> tuple[LeadingPairs, str]:
    if len(quotient) <= SMALL:
        return _dense(quotient, count, tolerance)
    pairs = leading_pairs(
        quotient.multiplier(), _start(quotient), quotient.trivial, count, tolerance
    )
    return (pairs, "iterative") if pairs else _dense(quotient, count, tolerance)


def _start(quotient: _Quotient) -> np.ndarray:
    """A structureless vector; of a disconnected graph also the indicators of its components.

    Components are joined by floor weights only. Each but one adds an eigenvalue near 0, as close to
    the others as its size is like theirs: too close to be told apart by repeated multiplication.
    """
    labels, count = bits.components(quotient.rows, quotient.kept)
    start = [pseudo_random(len(quotient))]
    if count > 1:
        volume = np.bincount(labels, np.square(quotient.trivial))
        size = np.bincount(labels, np.square(quotient.root_size))
        for component in np.argsort(size / volume, kind="stable")[:COMPONENTS]:
            start.insert(-1, np.where(labels == component, quotient.trivial, 0.0))
    return np.array(start)


def _dense(quotient: _Quotient, count: int, tolerance: float) -> tuple[LeadingPairs, str]:
    n = len(quotient)
    matrix = quotient.matrix() - 3 * np.outer(quotient.trivial, quotient.trivial)  # 1 to -2: last
    lowest = max(n - count - 1, 1)
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[lowest, n - 1])
    values, vectors = values[::-1], vectors.T[::-1]
    following = values[count] if len(values) > count else -np.inf
    values, vectors = values[:count], vectors[:count]
    residuals = np.linalg.norm(vectors @ matrix - values[:, None] * vectors, axis=1)
    return LeadingPairs(values, vectors, residuals, following, 0), "dense"


def peak(values: np.ndarray) -> int:
    """First index whose value is the largest but for round-off."""
    return int(np.argmax(values >= values.max() - 1e-6 * np.abs(values).max()))


def with_sign(vector: np.ndarray) -> np.ndarray:
    """The vector or its negative: the entry of largest magnitude, first on ties, is positive."""
    return vector if vector[peak(np.abs(vector))] >= 0 else -vector


def bipartition(vector: np.ndarray) -> np.ndarray:
    """Nodes above the mean, (N,) bool; entries equal to it but for round-off are not above."""
    return vector - vector.mean() > 1e-9 * np.abs(vector).max()


def orient(vector: np.ndarray, grid: Size) -> Bipartition:
    """CutLER's choice of the foreground side (arXiv 2301.11320, maskcut.py:111-124).

    The sides change places if three or four corners are foreground, or else if the node of the
    largest magnitude is not. The seed is then the largest entry. A vector of zeros (no cut) has no
    foreground.

    Args:
        vector: (N,) float64.
        grid: h and w with h * w = N.
    """
    if not vector.any():
        return Bipartition(vector, np.zeros(len(vector), bool), 0)
    foreground = bipartition(vector)
    corners = foreground.reshape(grid)[CORNERS].sum()
    if corners >= 3 or not foreground[peak(np.abs(vector))]:
        vector, foreground = -vector, ~foreground
    return Bipartition(vector, foreground, peak(vector))
