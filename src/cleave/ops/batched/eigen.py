"""Leading eigenpairs of many symmetric operators at a time: `ops.eigen` for a GPU, in torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from cleave.ops.eigen import pseudo_random

BLOCK = 2  # vectors a product: two see a repeat; more would save less time in products, which take
# that of reading the matrix, than their larger projections take on the CPU
CAPACITY = 96  # vectors of the search space before it is condensed
KEPT = 32  # best Ritz vectors kept then
FIRST, EVERY = 8, 3  # products before the first look at the pairs, and between two
LIMIT = FIRST + 18 * EVERY  # products after which to give up: photos need a quarter of them


class Operators(Protocol):
    """B symmetric operators on N entries each."""

    deflated: torch.Tensor  # (B, N) float64, a unit eigenvector of each, to be left out

    def multiply(self, block: torch.Tensor) -> torch.Tensor:
        """(B, K, N) to (B, K, N) float64, each operator on its K rows."""

    def take(self, which: np.ndarray) -> Operators:
        """Those with the given indices."""


@dataclass(frozen=True)
class BatchedPairs:
    values: np.ndarray  # (B, E + 1) float64, descending; the last one to a fifth of its distance
    vectors: torch.Tensor  # (B, E, N) float64, orthonormal
    residuals: np.ndarray  # (B, E) float64, |A y - mu y|, of one product more than the search
    exact: np.ndarray  # (B,) bool; the rest of a problem's numbers means nothing where it is False


def leading_pairs(operators: Operators, count: int, tolerance: float) -> BatchedPairs:
    """The `count` largest eigenvalues of B symmetric operators, and their vectors.

    Block Lanczos with full orthogonalisation and true residuals, condensed to its best vectors when
    the space is full (thick restart). The problems go in step, but each has a space of its own and
    is done when its own pairs are: what else is in the batch changes nothing but round-off. When
    half of them are done, the others go on alone.

    A block sees up to BLOCK copies of a repeated eigenvalue, so a repeat shows among `values` even
    where not all of it does. The search ends when the eigenvalue after the wanted ones is known to
    a fifth of its distance too, as in `ops.eigen`.

    Args:
        operators: N well above CAPACITY.
        count: pairs wanted, below KEPT.
        tolerance: largest |A y - mu y| of a wanted pair.
    """
    problems, n = operators.deflated.shape
    values = np.ones((problems, count + 1))
    vectors = operators.deflated.new_zeros(problems, count, n)
    exact = np.zeros(problems, bool)
    space, block = _SearchSpace(operators), _start(operators.deflated)
    going = np.arange(problems)  # those in the space
    for products in range(1, LIMIT + 1):
        block = space.add(block)
        if products < FIRST or (products - FIRST) % EVERY or space.size <= count:
            continue
        found, weights = space.ritz(count + 1)
        done = _are_exact(found, space.residuals(found, weights), tolerance) & ~exact[going]
        values[going[done]] = found[done]
        vectors[going[done]] = space.vectors(weights)[done, :count]
        exact[going[done]] = True
        if exact.all():
            break
        rest = np.flatnonzero(~exact[going])
        if 2 * len(rest) <= len(going):
            going, block = going[rest], block[rest]
            space.take(rest, operators.take(going))
    images = operators.multiply(vectors)
    images -= torch.as_tensor(values[:, :count, None]).to(vectors) * vectors
    residuals = torch.linalg.vector_norm(images, dim=2).cpu().numpy()
    return BatchedPairs(values, vectors, residuals, exact & (residuals <= tolerance).all(1))


def _start(deflated: torch.Tensor) -> torch.Tensor:
    """(B, BLOCK, N): the same vectors without structure for every problem."""
    problems, n = deflated.shape
    rows = np.stack([pseudo_random(n, stream) for stream in range(BLOCK)])
    return torch.as_tensor(rows).to(deflated).expand(problems, BLOCK, n)


def _are_exact(values: np.ndarray, residuals: np.ndarray, tolerance: float) -> np.ndarray:
    """(B,) bool from (B, E + 1): the wanted pairs to `tolerance`, the one after them roughly."""
    rough = np.maximum(0.2 * (values[:, -2] - values[:, -1]), 1e-6)
    return (residuals[:, :-1] <= tolerance).all(1) & (residuals[:, -1] <= rough)


class _SearchSpace:
    """Orthonormal vectors of each problem, their images, and the operator's projection.

    A vector that is not new to its problem leaves a row of zeros, whose Ritz value is put last.
    """

    def __init__(self, operators: Operators):
        problems, n = operators.deflated.shape
        self._operators = operators
        self._vectors = operators.deflated.new_zeros(problems, CAPACITY, n)
        self._images = torch.zeros_like(self._vectors)
        self._projection = operators.deflated.new_zeros(problems, CAPACITY, CAPACITY)
        self.size = 0

    def take(self, which: np.ndarray, operators: Operators) -> None:
        """Goes on with some of the problems, whose operators are these."""
        self._operators = operators
        self._vectors, self._images = self._vectors[which], self._images[which]
        self._projection = self._projection[which]

    def add(self, block: torch.Tensor) -> torch.Tensor:
        """Adds the part of (B, BLOCK, N) that is new; the image of it, which is the next block."""
        if self.size + BLOCK > CAPACITY:
            block = self.rest(block)  # of the whole space, before much of it is forgotten
            self._condense()
        first = self.size
        for k in range(BLOCK):
            row = block[:, k : k + 1]
            before = torch.linalg.vector_norm(row, dim=2, keepdim=True)
            row = self.rest(row)
            norm = torch.linalg.vector_norm(row, dim=2, keepdim=True)
            row = torch.where(norm > 1e-9 * before, row / norm, 0.0)
            self._vectors[:, self.size] = row[:, 0]  # from here on `rest` knows it
            self.size += 1
        new = slice(first, self.size)
        self._images[:, new] = images = self._operators.multiply(self._vectors[:, new])
        columns = self._vectors[:, : self.size] @ images.mT
        self._projection[:, : self.size, new] = columns
        self._projection[:, new, : self.size] = columns.mT
        lost = (self._vectors[:, new].abs().amax(2) == 0).to(columns.dtype)
        self._projection.diagonal(dim1=1, dim2=2)[:, new] -= 3 * lost  # no operator reaches -2
        return images

    def rest(self, block: torch.Tensor) -> torch.Tensor:
        """What the space does not hold of (B, K, N)."""
        known, deflated = self._vectors[:, : self.size], self._operators.deflated[:, None]
        for _ in range(2):  # twice is enough (Kahan and Parlett): once loses half of the digits
            block = block - (block @ deflated.mT) @ deflated
            block = block - (block @ known.mT) @ known
        return block

    def ritz(self, count: int) -> tuple[np.ndarray, torch.Tensor]:
        """The largest Ritz values (B, count), descending, and the weights of their vectors.

        LAPACK solves these small problems sooner than a GPU would, and the same everywhere.
        """
        projection = self._projection[:, : self.size, : self.size].cpu().numpy()
        values, weights = np.linalg.eigh(projection)
        weights = np.ascontiguousarray(weights.swapaxes(1, 2)[:, : -count - 1 : -1])
        return values[:, : -count - 1 : -1], torch.as_tensor(weights).to(self._vectors)

    def vectors(self, weights: torch.Tensor) -> torch.Tensor:
        """(B, K, N): the vectors with the given weights."""
        return weights @ self._vectors[:, : self.size]

    def residuals(self, values: np.ndarray, weights: torch.Tensor) -> np.ndarray:
        """(B, K): |A y - mu y|."""
        values = torch.as_tensor(values[:, :, None].copy()).to(weights)
        rest = weights @ self._images[:, : self.size] - values * self.vectors(weights)
        return torch.linalg.vector_norm(rest, dim=2).cpu().numpy()

    def _condense(self) -> None:
        values, weights = self.ritz(KEPT)
        images = weights @ self._images[:, : self.size]
        self._vectors[:, :KEPT] = self.vectors(weights)
        self._images[:, :KEPT] = images
        self._projection.zero_()
        diagonal = self._projection.diagonal(dim1=1, dim2=2)
        diagonal[:, :KEPT] = torch.as_tensor(values.copy()).to(weights)
        self.size = KEPT
