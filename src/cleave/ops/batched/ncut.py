"""Normalised cuts of many graphs at a time: `ops.ncut.spectrum` for a GPU, in torch."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cleave.ops import bits, ncut
from cleave.ops.batched.eigen import CAPACITY, BatchedPairs, leading_pairs
from cleave.ops.ncut import Spectrum
from cleave.types import Array

# Of the float64 matrices that are solved together: 20 of 3,600 nodes, and with all else 3 GB, which
# a GPU of 8 GB has to spare. A larger batch gains little, for every product reads all of them.
BYTES = 2 << 30
MOST = 32  # problems together: with small graphs what is to be done on the CPU takes the time
# Vectors are exact to tolerance / gap. Where the next eigenvalue is so near that this may move a
# patch to the other side, the CPU's solver decides, as it does without a GPU.
TIED = 1e-4


def at_a_time(n: int) -> int:
    """How many problems of n nodes are solved together; 0: not one of them fits."""
    return min(MOST, BYTES // (8 * n * n))


@dataclass
class Solver:
    """Solves on one device, and counts what became of each problem.

    `counts` has "solved" and, of those that went to `ops.ncut.spectrum` on the CPU: "small" (some
    hundred nodes, interchangeable ones being one), "large" (beyond BYTES), "tied" (an eigenvalue
    nearer than TIED to the next: repeats, many components), "slow" (not exact within the limit).
    """

    device: str
    counts: Counter[str] = field(default_factory=Counter)

    def spectra(
        self,
        edges: Sequence[Array],
        n: int,
        floor: float = 1e-5,
        count: int = 1,
        tolerance: float = 1e-10,
    ) -> list[Spectrum]:
        """What `ops.ncut.spectrum` finds for each of several graphs, to its tolerance.

        Bipartitions are the CPU's, but for patches as near to the mean as both solvers are exact,
        tolerance / TIED = 1e-6 of the vector's norm, and mostly a thousandth of this.

        Args:
            edges: (N, ceil(N/8)) uint8 each, symmetric, see `cleave.ops.bits`.
            n, floor, count, tolerance: as for `ops.ncut.spectrum`.

        Returns:
            A spectrum for each; `solver` is "batched" where this one solved it.

        Raises:
            ValueError: arguments that do not fit together.
        """
        shape = (n, (n + 7) // 8)
        if not 1 <= count <= ncut.MOST or not 0 < floor < 1 or {e.shape for e in edges} - {shape}:
            raise ValueError(f"count 1 to {ncut.MOST}, edges {shape} and 0 < floor < 1 expected")
        found: list[Spectrum | None] = [None] * len(edges)
        step = at_a_time(n)
        problems = [_Problem(packed) for packed in edges] if step else []
        here = [k for k, each in enumerate(problems) if each.unlike > max(CAPACITY, ncut.SMALL)]
        self.counts["small" if step else "large"] += len(edges) - len(here)
        for first in range(0, len(here), step or 1):
            part = here[first : first + step]
            solved = self._solve([problems[k] for k in part], floor, count, tolerance)
            for k, spectrum in zip(part, solved, strict=True):
                found[k] = spectrum
        return [
            known or ncut.spectrum(packed, n, floor, count, tolerance)
            for known, packed in zip(found, edges, strict=True)
        ]

    def summary(self) -> str:
        """One line for the log."""
        counted = ", ".join(f"{count} {fate}" for fate, count in sorted((+self.counts).items()))
        return f"{counted or 'none'}, on {self.device}; all but those solved went to the CPU"

    def _solve(
        self, problems: Sequence[_Problem], floor: float, count: int, tolerance: float
    ) -> list[Spectrum | None]:
        graphs = _Graphs(problems, floor, self.device)
        pairs = leading_pairs(graphs, count, tolerance)
        vectors = (pairs.vectors / graphs.root_degree).cpu().numpy()
        return [self._spectrum(pairs, k, vectors[k]) for k in range(len(problems))]

    def _spectrum(self, pairs: BatchedPairs, k: int, vectors: Array) -> Spectrum | None:
        gaps = -np.diff(pairs.values[k])
        fate = "slow" if not pairs.exact[k] else "tied" if gaps.min() < TIED else "solved"
        self.counts[fate] += 1
        if fate != "solved":
            return None
        values, residuals = 1 - pairs.values[k, :-1], pairs.residuals[k]
        empty = np.abs(pairs.values[k, :-1]) <= 1e-9  # W maps the vector to 0: no such cut
        values[empty], residuals[empty], vectors[empty] = 1, 0, 0
        vectors = np.stack([ncut.with_sign(vector) for vector in vectors])
        return Spectrum(values, vectors, residuals, float(gaps[-1]), "batched")


class _Problem:
    """One graph, and the two kinds of interchangeable nodes that it has (see `ops.ncut`)."""

    def __init__(self, edges: Array):
        n = len(edges)
        self.edges = edges
        self.degree = bits.degrees(edges)
        alone, hermits = self.degree == 0, (self.degree == 1) & bits.diagonal(edges)
        self.kinds = np.array([alone, hermits])  # (2, N) bool
        repeats = np.maximum(self.kinds.sum(1) - 1, 0).sum()
        self.unlike = 0 if self.degree.sum() == n * n else n - int(repeats)  # a kind is one node


class _Graphs:
    """The normalised operators D^-1/2 W D^-1/2 of B graphs.

    Of interchangeable nodes, which `ops.ncut` takes for one, only vectors that are equal on all of
    them are looked at: every product is averaged over them, for round-off would grow.
    """

    def __init__(self, problems: Sequence[_Problem], floor: float, device: str):
        n = len(problems[0].edges)
        kinds = np.array([problem.kinds for problem in problems], np.float64)  # (B, 2, N)
        degrees = np.array([problem.degree for problem in problems])[:, None]
        packed = np.stack([problem.edges for problem in problems])
        self.floor = floor
        self.edges = unpack(packed, n, device).double()
        self.root_degree = _to(np.sqrt((1 - floor) * degrees + floor * n), device)  # (B, 1, N)
        self.single = _to(1 - kinds.sum(1, keepdims=True), device)
        self.kinds = _to(kinds, device)
        self.means = _to(kinds / np.maximum(kinds.sum(2, keepdims=True), 1), device)
        norms = torch.linalg.vector_norm(self.root_degree, dim=2)
        self.deflated = self.root_degree[:, 0] / norms  # the trivial first vector

    def take(self, which: Array) -> _Graphs:
        taken = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(taken, name, value[which])
        return taken

    def multiply(self, y: torch.Tensor) -> torch.Tensor:
        x = self._equal(y) / self.root_degree
        joined = (1 - self.floor) * (x @ self.edges)  # symmetric: the rows are the columns
        joined += self.floor * x.sum(2, keepdim=True)
        return self._equal(joined / self.root_degree)

    def _equal(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.single + (y @ self.means.mT) @ self.kinds


def unpack(packed: Array, n: int, device: str) -> torch.Tensor:
    """(B, N, n) bool on the device, from (B, N, ceil(n/8)) uint8."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
    spread = torch.as_tensor(packed).to(device)[..., None] >> shifts & 1
    return spread.flatten(2)[..., :n].bool()


def _to(values: Array, device: str) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64).to(device)
