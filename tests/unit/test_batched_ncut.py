"""Many cuts at a time, on the CPU in a GPU's place, against the solver for one."""

import copy

import numpy as np
import pytest
import torch

from cleave.ops import bits, ncut
from cleave.ops.batched import eigen
from cleave.ops.batched import ncut as batched
from cleave.ops.batched.ncut import TIED, Solver
from cleave.ops.ncut import bipartition, orient, spectrum
from cleave.types import Size

N = 240
GRID = Size(12, 20)


def groups(seed: int, sizes: list[int], inside: float, across: float) -> np.ndarray:
    """A random graph of dense groups."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    chance = np.where(group[:, None] == group, inside, across)
    upper = np.triu(np.random.default_rng(seed).random(chance.shape) < chance)
    return upper | upper.T | np.eye(N, dtype=bool)


def painted(seed: int) -> np.ndarray:
    """A graph after a cut: a share of its nodes without any edge."""
    edges = groups(seed, [100, 80, 60], 0.5, 0.1)
    hidden = np.random.default_rng(seed).random(N) < 0.3
    edges[hidden] = edges[:, hidden] = False
    return edges


def lonely(seed: int) -> np.ndarray:
    """Nodes joined to themselves alone beside some without any edge."""
    edges = painted(seed)
    alone = np.random.default_rng(seed + 1).choice(N, 20, replace=False)
    edges[alone] = edges[:, alone] = False
    edges[alone, alone] = True
    return edges


def thrice(seed: int) -> np.ndarray:
    """Three copies of a graph in a ring: the first two eigenvalues are one, or nearly so."""
    part = groups(seed, [100, 80, 60], 0.4, 0.05)[:80, :80]
    edges = np.kron(np.eye(3, dtype=bool), part)
    ring = np.array([5, 85, 165])
    edges[ring, np.roll(ring, 1)] = edges[np.roll(ring, 1), ring] = True
    if seed % 2:
        edges[7, 7] = False
    return edges


KINDS = {
    "dense": lambda seed: groups(seed, [120, 80, 40], 0.6, 0.2),
    "sparse": lambda seed: groups(seed, [120, 80, 40], 0.1, 0.01),
    "without structure": lambda seed: groups(seed, [N], 0.3, 0.3),
    "painted": painted,
    "lonely": lonely,
    "two components": lambda seed: groups(seed, [150, 90], 0.5, 0.0),
    "many components": lambda seed: groups(seed, [120] + [6] * 20, 0.9, 0.0),
    "thrice": thrice,
    "mostly painted": lambda seed: np.pad(groups(seed, [N], 0.5, 0.5)[:90, :90], (0, 150)),
    "constant": lambda seed: np.full((N, N), seed % 2 == 0),
}
GRAPHS = [(kind, 10 * index + seed) for index, kind in enumerate(KINDS) for seed in range(4)]


@pytest.fixture(scope="module")
def packed() -> list[np.ndarray]:
    """Forty graphs, many of them unlike what a photo gives."""
    return [bits.pack(KINDS[kind](seed)) for kind, seed in GRAPHS]


@pytest.fixture(scope="module")
def solved(packed) -> tuple[Solver, list[ncut.Spectrum]]:
    solver = Solver("cpu")
    return solver, solver.spectra(packed, N)


def test_bipartitions_are_those_of_the_solver_for_one(packed, solved):
    """All of them: what is tied to less than TIED goes to the solver for one."""
    solver, found = solved
    for (kind, seed), edges, ours in zip(GRAPHS, packed, found, strict=True):
        theirs = spectrum(edges, N)
        assert ours.values == pytest.approx(theirs.values, abs=1e-9), (kind, seed)
        assert ours.residuals.max() <= 1e-10
        assert np.array_equal(bipartition(ours.vectors[0]), bipartition(theirs.vectors[0]))
        cuts = [orient(s.vectors[0], GRID) for s in (ours, theirs)]
        assert np.array_equal(cuts[0].foreground, cuts[1].foreground), (kind, seed)
        assert cuts[0].seed == cuts[1].seed
        if ours.solver == "batched":
            assert min(ours.gap, theirs.gap) > TIED / 2
            np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-10 / TIED)
            assert ours.gap == pytest.approx(theirs.gap, rel=0.2)
        else:
            assert np.array_equal(ours.vectors, theirs.vectors)
    fates = {kind: ours.solver for (kind, _), ours in zip(GRAPHS, found, strict=True)}
    usual = ("dense", "sparse", "without structure", "painted", "lonely", "two components")
    assert {fates[kind] for kind in usual} == {"batched"}
    assert fates["constant"] == "none"
    assert fates["mostly painted"] == "dense"
    assert fates["thrice"] == "iterative"
    assert sum(solver.counts.values()) == 40
    assert solver.counts["small"] == 8
    assert solver.counts["tied"] >= 4


def test_residuals_are_true(packed, solved):
    """Of (D - W) x = lambda D x as it stands, from the dense matrix."""
    checked = 0
    for edges, found in zip(packed, solved[1], strict=True):
        if found.solver == "batched":
            weights = np.where(bits.unpack(edges, N), 1.0, 1e-5)
            degree, x = weights.sum(1), found.vectors[0]
            rest = (degree * x - weights @ x - found.values[0] * degree * x) / np.sqrt(degree)
            assert np.linalg.norm(rest) <= 2e-10
            assert x**2 @ degree == pytest.approx(1)
            checked += 1
    assert checked >= 24


@pytest.mark.parametrize("count", [2, 5, 16])
def test_several_pairs(packed, count):
    chosen = packed[:12]
    for edges, ours in zip(chosen, Solver("cpu").spectra(chosen, N, count=count), strict=True):
        theirs = spectrum(edges, N, count=count)
        assert ours.values == pytest.approx(theirs.values, abs=1e-9)
        assert len(ours.values) == len(ours.residuals) == len(ours.vectors) == count
        for k in range(count):
            assert np.array_equal(bipartition(ours.vectors[k]), bipartition(theirs.vectors[k]))


def test_what_else_is_in_the_batch_changes_round_off_alone(packed, solved):
    alone = [Solver("cpu").spectra([edges], N)[0] for edges in packed[:8]]
    for one, among in zip(alone, solved[1], strict=False):
        np.testing.assert_allclose(one.vectors, among.vectors, atol=1e-10 / TIED)
        assert np.array_equal(bipartition(one.vectors[0]), bipartition(among.vectors[0]))
    again = Solver("cpu").spectra(packed, N)
    for first, second in zip(solved[1], again, strict=True):
        assert first.vectors.tobytes() == second.vectors.tobytes()


def test_what_does_not_fit_the_memory_is_solved_in_parts(packed, solved, monkeypatch):
    sizes = []
    plain = Solver._solve

    def watched(self, edges, *rest):
        sizes.append(len(edges))
        return plain(self, edges, *rest)

    monkeypatch.setattr(Solver, "_solve", watched)
    monkeypatch.setattr(batched, "BYTES", 5 * 8 * N * N)
    found = Solver("cpu").spectra(packed[:12], N)
    assert sizes == [5, 5, 2]
    for ours, whole in zip(found, solved[1], strict=False):
        np.testing.assert_allclose(ours.vectors, whole.vectors, atol=1e-10 / TIED)


def test_the_memory_is_bounded():
    assert batched.at_a_time(3600) * 8 * 3600**2 <= batched.BYTES
    assert batched.at_a_time(10) == batched.MOST
    assert batched.at_a_time(40_000) == 0


def test_what_never_fits_the_memory_is_solved_on_the_cpu(packed, monkeypatch):
    monkeypatch.setattr(batched, "BYTES", 8 * N * N - 1)
    solver = Solver("cpu")
    assert {s.solver for s in solver.spectra(packed[:3], N)} == {"iterative"}
    assert solver.summary().startswith("3 large, on cpu")


def test_a_search_that_gives_up_is_not_believed(packed, monkeypatch):
    monkeypatch.setattr(eigen, "LIMIT", 8)
    solver = Solver("cpu")
    found = solver.spectra(packed[:4], N)
    assert solver.counts["slow"] == 4
    assert "4 slow" in solver.summary()
    assert {s.solver for s in found} == {"iterative"}


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": 17}, {"floor": 0.0}, {"n": 9}])
def test_refuses_what_does_not_fit(packed, bad):
    with pytest.raises(ValueError, match="expected"):
        Solver("cpu").spectra(**{"edges": packed[:1], "n": N} | bad)


class Dense:
    """Symmetric matrices with the given eigenvalues (B, N), of which the first is left out."""

    def __init__(self, values: np.ndarray):
        rng = np.random.default_rng(0)
        bases = np.linalg.qr(rng.standard_normal((*values.shape, values.shape[1])))[0]
        self.matrices = torch.as_tensor((bases * values[:, None]) @ bases.swapaxes(1, 2))
        self.deflated = torch.as_tensor(bases[:, :, 0].copy())
        self.products: list[int] = []  # problems of each

    def multiply(self, block):
        self.products.append(len(block))
        return block @ self.matrices

    def take(self, which):
        taken = copy.copy(self)
        taken.matrices, taken.deflated = self.matrices[which], self.deflated[which]
        return taken


def test_search_condenses_and_gives_up_on_each_problem_alone():
    bulk = np.linspace(0.88, -0.2, 397)
    values = np.array([[1, near, 0.9, *bulk] for near in (0.94, 0.93, 0.9 + 1e-9)])
    operators = Dense(values)
    found = eigen.leading_pairs(operators, 1, 1e-10)
    assert len(operators.products) > eigen.CAPACITY // eigen.BLOCK
    assert found.exact[:2].all()
    assert found.values[:2, 0] == pytest.approx(values[:2, 1], abs=1e-12)
    assert found.values[:2, 1] == pytest.approx(0.9, abs=1e-4)
    assert (found.residuals[:2] <= 1e-10).all()
    if found.exact[2]:
        assert found.values[2, 0] - found.values[2, 1] < TIED


def test_those_not_done_go_on_alone_and_find_the_same():
    bulk = np.linspace(0.5, -0.2, 397)
    near = (0.95, 0.61, 0.96, 0.97, 0.605, 0.94)
    values = np.array([[1, first, 0.6, *bulk] for first in near])
    operators = Dense(values)
    found = eigen.leading_pairs(operators, 1, 1e-10)
    assert found.exact.all()
    assert found.values[:, 0] == pytest.approx(near, abs=1e-12)
    assert operators.products[0] == operators.products[-1] == 6
    assert 2 in operators.products
    for k in range(6):
        alone = eigen.leading_pairs(operators.take([k]), 1, 1e-10)
        np.testing.assert_allclose(alone.vectors[0], found.vectors[k], atol=1e-8)


def test_search_sees_that_a_value_is_repeated():
    values = np.array([[1.0, 0.8, 0.8, 0.8, 0.6, *np.linspace(0.4, -0.4, 195)]])
    found = eigen.leading_pairs(Dense(values), 2, 1e-10)
    assert found.exact.all()
    assert found.values[0, :2] == pytest.approx([0.8, 0.8], abs=1e-12)


def test_search_survives_the_end_of_the_space():
    """Three distinct values: soon nothing is new, and rows of zeros fill the space."""
    values = np.repeat([[1.0, 0.5, 0.1]], [1, 3, 196], axis=1)
    found = eigen.leading_pairs(Dense(values), 1, 1e-10)
    assert found.exact.all()
    assert found.values[0, 0] == pytest.approx(0.5, abs=1e-12)
