"""The NCut solver against scipy's dense generalised eigensolver, which CutLER and TokenCut call."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import bits, eigen, ncut
from cleave.types import Size

FLOOR = 1e-5


def reference(edges: np.ndarray, floor: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of (D - W) x = lambda D x without the first, as the papers' code finds them."""
    weights = np.where(edges, 1.0, floor)
    degree = np.diag(weights.sum(1))
    values, vectors = scipy.linalg.eigh(degree - weights, degree)
    return values[1:], vectors.T[1:]


def clusters(sizes: list[int], seed: int, inside: float = 0.5, across: float = 0.02) -> np.ndarray:
    """A random graph of dense groups: well separated smallest eigenvalues."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    chance = np.where(group[:, None] == group, inside, across)
    upper = np.triu(np.random.default_rng(seed).random(chance.shape) < chance)
    return upper | upper.T | np.eye(len(group), dtype=bool)


def same_direction(a: np.ndarray, b: np.ndarray) -> float:
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def solvers(edges: np.ndarray, count: int = 1) -> list[ncut.Spectrum]:
    packed, n = bits.pack(edges), len(edges)
    return [solve(packed, n, FLOOR, count) for solve in (ncut.spectrum, ncut.dense_spectrum)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [[90, 60, 50], [120, 80, 70, 61], [10, 7]])
def test_equals_the_dense_generalised_solver(sizes, seed):
    edges = clusters(sizes, seed)
    count = len(sizes) - 1
    values, vectors = reference(edges)
    for found in solvers(edges, count):
        assert found.values == pytest.approx(values[:count], abs=1e-9)
        assert found.gap == pytest.approx(values[count] - values[count - 1], rel=0.2)
        assert found.residuals.max() <= 1e-10
        for ours, theirs in zip(found.vectors, vectors, strict=False):
            assert ours == pytest.approx(ncut.with_sign(theirs), abs=1e-7 * np.abs(theirs).max())
            assert np.array_equal(ncut.bipartition(ours), ncut.bipartition(ncut.with_sign(theirs)))


def test_the_large_case_is_iterative_and_the_small_one_dense():
    assert [s.solver for s in solvers(clusters([90, 80], 0))] == ["iterative", "dense"]
    assert [s.solver for s in solvers(clusters([9, 8], 0))] == ["dense", "dense"]


def test_vectors_are_scaled_as_scipy_scales_them():
    edges = clusters([100, 80], 0)
    degree = np.where(edges, 1.0, FLOOR).sum(1)
    for found in solvers(edges):
        assert found.vectors[0] ** 2 @ degree == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_masked_out_nodes_are_collapsed_exactly(seed):
    edges = clusters([100, 60, 50], seed)
    masked = np.random.default_rng(seed).random(210) < 0.4
    edges[masked] = False
    edges[:, masked] = False
    values, vectors = reference(edges)
    for found in solvers(edges, 2):
        assert found.values == pytest.approx(values[:2], abs=1e-9)
        assert len(set(found.vectors[0][masked])) == 1
        for ours, theirs in zip(found.vectors, vectors, strict=False):
            assert same_direction(ours, theirs) == pytest.approx(1, abs=1e-9)


def test_isolated_nodes_get_the_same_entry():
    edges = clusters([100, 80], 0)
    lonely = [3, 50, 120, 121]
    edges[lonely] = False
    edges[:, lonely] = False
    edges[lonely, lonely] = True
    values, vectors = reference(edges)
    for found in solvers(edges):
        assert found.values[0] == pytest.approx(values[0], abs=1e-9)
        assert same_direction(found.vectors[0], vectors[0]) == pytest.approx(1, abs=1e-9)
        assert len(set(found.vectors[0][lonely])) == 1


@pytest.mark.parametrize("sizes", [[100, 80], [100, 60, 30, 5], [150] + [3] * 12])
def test_disconnected_graphs_separate_components(sizes):
    edges = clusters(sizes, 1, inside=0.9, across=0.0)
    labels, count = bits.components(bits.pack(edges))
    values, vectors = reference(edges)
    for found in solvers(edges):
        assert count >= len(sizes)
        assert found.values[0] == pytest.approx(values[0], abs=1e-9)
        assert same_direction(found.vectors[0], vectors[0]) == pytest.approx(1, abs=1e-6)
        foreground = ncut.bipartition(found.vectors[0])
        for component in range(count):
            assert len(set(foreground[labels == component])) == 1


def test_a_repeated_eigenvalue_shows_as_no_gap():
    rows, columns = np.divmod(np.arange(400), 20)  # a square grid: two equal smallest eigenvalues
    distance = np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns)
    for found in solvers(distance <= 2):
        assert found.gap < 1e-6
        assert found.residuals[0] <= 1e-10
    values, _ = reference(distance <= 2)
    pair = solvers(distance <= 2, 2)
    for found in pair:
        assert found.values == pytest.approx(values[:2], abs=1e-9)
        assert found.gap == pytest.approx(values[2] - values[1], rel=0.2)
    projectors = [np.linalg.qr(found.vectors.T)[0] for found in pair]
    assert projectors[0] @ projectors[0].T == pytest.approx(
        projectors[1] @ projectors[1].T, abs=1e-6
    )


def test_flat_regions_have_as_many_cuts_as_they_differ():
    group = np.repeat([0, 1, 2], [100, 60, 40])
    edges = group[:, None] == group
    for found in solvers(edges, 4):
        assert found.values[:2] == pytest.approx(reference(edges)[0][:2], abs=1e-9)
        assert found.vectors[:2].any(1).all()
        assert np.array_equal(found.values[2:], [1, 1])
        assert not found.vectors[2:].any()


@pytest.mark.parametrize("n", [1, 2, 5, 300])
@pytest.mark.parametrize("edges", [np.ones, np.zeros, np.eye])
def test_no_cut_of_a_constant_image(n, edges):
    edges = edges(n).astype(bool) if edges is np.eye else edges((n, n), bool)
    for found in solvers(edges, 2):
        assert found.solver == "none"
        assert np.array_equal(found.values, [1, 1])
        assert np.array_equal(found.vectors, np.zeros((2, n)))
        assert found.gap == 0
        cut = ncut.orient(found.vectors[0], Size(1, n))
        assert not cut.foreground.any()
        assert not ncut.bipartition(found.vectors[0]).any()


def test_two_unlike_nodes():
    edges = np.diag([True, False])
    for found in solvers(edges, 2):
        assert found.values[0] == pytest.approx(reference(edges)[0][0])
        assert ncut.bipartition(found.vectors[0]).sum() == 1
        assert not found.vectors[1].any()


@given(st.integers(2, 30), st.floats(0.05, 0.95), st.integers(0, 1000))
@settings(deadline=None)
def test_any_small_graph_is_solved(n, density, seed):
    edges = np.random.default_rng(seed).random((n, n)) < density
    edges |= edges.T
    found = ncut.spectrum(bits.pack(edges), n, FLOOR)
    weights = np.where(edges, 1.0, FLOOR)
    degree = weights.sum(1)
    x = found.vectors[0]
    assert (degree * x - weights @ x) == pytest.approx(found.values[0] * degree * x, abs=1e-8)
    assert degree @ x == pytest.approx(0, abs=1e-8)
    assert found.values[0] >= reference(edges)[0][0] - 1e-9


def test_falls_back_to_the_dense_solver(monkeypatch):
    edges = clusters([100, 80], 0)
    expected = ncut.dense_spectrum(bits.pack(edges), 180).vectors
    monkeypatch.setattr(ncut, "leading_pairs", lambda *_: None)
    found = ncut.spectrum(bits.pack(edges), 180)
    assert found.solver == "dense"
    assert np.array_equal(found.vectors, expected)


def test_is_deterministic_and_leaves_its_input_alone():
    packed = bits.pack(clusters([100, 80], 0))
    before = packed.copy()
    first, second = (ncut.spectrum(packed, 180, FLOOR, 2) for _ in range(2))
    assert first.vectors.tobytes() == second.vectors.tobytes()
    assert np.array_equal(packed, before)


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": 17}, {"floor": 0.0}, {"n": 9}])
def test_refuses_what_does_not_fit(bad):
    with pytest.raises(ValueError, match="expected"):
        ncut.spectrum(**{"edges": bits.pack(np.eye(17, dtype=bool)), "n": 17} | bad)


def test_search_gives_up_within_its_limit_and_survives_condensing():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((400, 400)))[0]
    values = np.concatenate([[1.0, 0.9002, 0.9], np.linspace(0.89, -0.2, 397)])
    matrix = (basis * values) @ basis.T
    start = eigen.pseudo_random(400)[None]
    arguments = (lambda y: matrix @ y, start, basis[:, 0], 1, 1e-10)
    assert eigen.leading_pairs(*arguments, limit=50) is None
    found = eigen.leading_pairs(*arguments)
    assert found.products > eigen.CAPACITY
    assert found.values == pytest.approx([0.9002], abs=1e-10)
    assert found.following == pytest.approx(0.9, abs=1e-4)
    assert same_direction(found.vectors[0], basis[:, 1]) == pytest.approx(1, abs=1e-12)


def test_search_finds_all_copies_of_a_repeated_value():
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((300, 300)))[0]
    values = np.concatenate([[1.0, 0.8, 0.8, 0.8, 0.6], np.linspace(0.4, -0.4, 295)])
    matrix = (basis * values) @ basis.T
    start = eigen.pseudo_random(300)[None]
    found = eigen.leading_pairs(lambda y: matrix @ y, start, basis[:, 0], 2, 1e-10)
    assert found.values == pytest.approx([0.8, 0.8], abs=1e-10)


def test_sign_by_the_first_of_tied_entries():
    x = np.array([0.1, -1.0, 1.0 + 1e-12, 0.5])
    assert np.array_equal(ncut.with_sign(x), -x)
    assert np.array_equal(ncut.with_sign(-x), -x)
    assert np.array_equal(ncut.with_sign(np.array([0.5, -1.0])), [-0.5, 1.0])


def test_bipartition_ignores_round_off():
    assert not ncut.bipartition(np.full(7, 0.1) + 1e-17 * np.arange(7)).any()
    assert np.array_equal(ncut.bipartition(np.array([0.0, 1.0, 2.0])), [False, False, True])


def test_orient_reverses_a_foreground_with_three_corners():
    foreground = np.ones((4, 5), bool)
    foreground[1:3, 1:4] = False
    x = np.where(foreground, 0.5, -1.0).ravel()
    x[7] = -2.0
    cut = ncut.orient(x, Size(4, 5))
    assert np.array_equal(cut.foreground, ~foreground.ravel())
    assert np.array_equal(cut.vector, -x)
    assert cut.seed == 7


def test_orient_reverses_when_the_peak_is_outside():
    x = np.zeros((4, 4))
    x[0] = 1.0
    x[2, 2] = -9.0
    cut = ncut.orient(x.ravel(), Size(4, 4))
    assert cut.seed == 10
    assert cut.foreground.sum() == 1


def test_orient_keeps_what_is_right():
    x = np.zeros((4, 4))
    x[1:3, 1] = 1.0
    x[1, 2] = 3.0
    cut = ncut.orient(x.ravel(), Size(4, 4))
    assert cut.seed == 6
    assert np.array_equal(cut.vector, x.ravel())
    assert np.array_equal(np.flatnonzero(cut.foreground), [5, 6, 9])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 500))
@settings(deadline=None)
def test_the_seed_is_foreground(height, width, seed):
    x = np.random.default_rng(seed).integers(-3, 4, height * width).astype(float)
    cut = ncut.orient(x, Size(height, width))
    if np.ptp(x) > 0:
        assert cut.foreground[cut.seed]
        assert 0 < cut.foreground.sum() < x.size
