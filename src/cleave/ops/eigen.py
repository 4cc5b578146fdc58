"""Leading eigenpairs of a symmetric operator that is only known by its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CAPACITY = 64  # vectors of the search space before it is condensed
KEPT = 20  # best Ritz vectors kept then
PATIENCE = 16  # for so many vectors in the space, one more step between two looks at the pairs


@dataclass(frozen=True)
class LeadingPairs:
    values: np.ndarray  # (E,) float64, descending
    vectors: np.ndarray  # (E, N) float64, orthonormal
    residuals: np.ndarray  # (E,) float64, |A y - mu y|
    following: float  # the next smaller eigenvalue, to a fifth of its distance
    products: int  # how often the operator was applied


def leading_pairs(
    multiply: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    deflated: np.ndarray,
    count: int,
    tolerance: float,
    limit: int = 1000,
) -> LeadingPairs | None:
    """The `count` largest eigenvalues of a symmetric operator, and their vectors.

    A Rayleigh-Ritz search: the space grows by the residual of the first wanted pair that is not
    yet exact. From one start vector that spans the Krylov space of the Lanczos method, with full
    orthogonalisation and with true residuals instead of estimates; unlike Lanczos it takes any
    number of start vectors, and can be condensed to its best vectors when it is full.

    One Krylov space sees a repeated eigenvalue once. So when the wanted pairs are exact a second
    one, from a fresh vector, joins for a quarter of the steps so far (a repeat is then known to two
    digits), and the search ends when the next eigenvalue is known well enough to tell whether it is
    a repeat.

    Args:
        multiply: (N,) to (N,) float64, symmetric.
        start: (S, N) vectors to start from, 0 < S < CAPACITY; dependent ones are dropped.
        deflated: (N,) unit eigenvector to leave out.
        count: pairs wanted, below KEPT and below N - 1.
        tolerance: largest |A y - mu y| of a wanted pair.
        limit: products after which to give up.

    Returns:
        The pairs, or None if they did not become exact within the limit.
    """
    space = _SearchSpace(multiply, deflated)
    for vector in start:
        space.add(vector)
    probed = False
    while space.products < limit:
        values, weights = space.ritz()
        residual = space.first_inexact(values, weights, count, tolerance, probed)
        if residual is not None:
            if not space.explore(residual, 1 + space.size // PATIENCE):
                return None
        elif probed and space.size > count:
            return space.pairs(values, weights, count)
        else:
            fresh = pseudo_random(len(deflated), space.products)
            space.explore(fresh, max(4, space.products // 4))
            probed = True
    return None


def pseudo_random(n: int, stream: int = 0) -> np.ndarray:
    """A fixed vector without structure, (N,) float64 in [-0.5, 0.5), the same on every machine."""
    index = np.arange(1.0, n + 1) + 7919.0 * stream
    return (index * index * 0.6180339887498949) % 1.0 - 0.5


class _SearchSpace:
    """Orthonormal vectors, their images under the operator, and the operator's projection."""

    def __init__(self, multiply: Callable[[np.ndarray], np.ndarray], deflated: np.ndarray):
        n = len(deflated)
        self._multiply, self._deflated = multiply, deflated
        self._vectors, self._images = np.empty((CAPACITY, n)), np.empty((CAPACITY, n))
        self._projection = np.zeros((CAPACITY, CAPACITY))
        self.size = self.products = 0

    def add(self, vector: np.ndarray, shares: np.ndarray | None = None) -> bool:
        """Adds the part of `vector` that is new; False if there is none.

        `shares` are its products with the vectors that are there, where they are known already.
        """
        before = np.linalg.norm(vector)
        known = self._vectors[: self.size]
        for _ in range(2):  # twice is enough (Kahan and Parlett): once loses half of the digits
            vector = vector - (self._deflated @ vector) * self._deflated
            vector -= (known @ vector if shares is None else shares) @ known
            shares = None
        norm = np.linalg.norm(vector)
        if not norm > 1e-9 * before:
            return False
        k, self.size = self.size, self.size + 1
        self._vectors[k] = vector / norm
        self._images[k] = self._multiply(self._vectors[k])
        column = self._vectors[: k + 1] @ self._images[k]
        self._projection[k, : k + 1] = self._projection[: k + 1, k] = column
        self.products += 1
        if self.size == CAPACITY:
            self._condense()
        return True

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values, descending, and the weights of their vectors, one a row."""
        values, weights = np.linalg.eigh(self._projection[: self.size, : self.size])
        return values[::-1], weights.T[::-1]

    def explore(self, vector: np.ndarray, steps: int) -> bool:
        """Adds the Krylov space of `vector`; False if nothing of it was new."""
        shares = None
        for step in range(steps):
            if not self.add(vector, shares):
                return step > 0
            vector = self._images[self.size - 1]
            shares = self._projection[: self.size, self.size - 1]
        return True

    def first_inexact(
        self, values: np.ndarray, weights: np.ndarray, count: int, tolerance: float, following: bool
    ) -> np.ndarray | None:
        """Residual of the first Ritz pair that is not exact enough; None if all are.

        The one after the wanted pairs counts too if `following` says so, but may be rougher.
        """
        for k in range(min(count + following, self.size)):
            residual = self._residual(values[k], weights[k])
            allowed = tolerance if k < count else max(0.2 * (values[k - 1] - values[k]), 1e-6)
            if np.linalg.norm(residual) > allowed:
                return residual
        return None

    def _residual(self, value: float, weight: np.ndarray) -> np.ndarray:
        size = self.size
        residual = weight @ self._images[:size] - value * (weight @ self._vectors[:size])
        return residual - (self._deflated @ residual) * self._deflated

    def _condense(self) -> None:
        values, weights = self.ritz()
        self._vectors[:KEPT] = weights[:KEPT] @ self._vectors[: self.size]
        self._images[:KEPT] = weights[:KEPT] @ self._images[: self.size]
        self._projection[:KEPT, :KEPT] = np.diag(values[:KEPT])
        self.size = KEPT

    def pairs(self, values: np.ndarray, weights: np.ndarray, count: int) -> LeadingPairs:
        residuals = [np.linalg.norm(self._residual(values[k], weights[k])) for k in range(count)]
        vectors = weights[:count] @ self._vectors[: self.size]
        return LeadingPairs(
            values[:count].copy(), vectors, np.array(residuals), float(values[count]), self.products
        )
