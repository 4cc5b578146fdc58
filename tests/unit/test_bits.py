import numpy as np
import pytest
import scipy.sparse.csgraph
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import bits, native


def graph(n: int, density: float, seed: int) -> np.ndarray:
    edges = np.random.default_rng(seed).random((n, n)) < density
    return edges | edges.T


sizes = st.integers(1, 40)
densities = st.floats(0, 1)
seeds = st.integers(0, 1000)


@given(sizes, densities, seeds)
@settings(deadline=None)
def test_packing_round_trip(n, density, seed):
    edges = graph(n, density, seed)
    packed = bits.pack(edges)
    assert packed.shape == (n, (n + 7) // 8)
    assert packed.dtype == np.uint8
    assert np.array_equal(bits.unpack(packed, n), edges)
    assert np.array_equal(bits.degrees(packed), edges.sum(1))
    assert np.array_equal(bits.diagonal(packed), edges.diagonal())


@given(sizes, densities, seeds)
@settings(deadline=None)
def test_clear_is_zeroing_rows_and_columns(n, density, seed):
    edges = graph(n, density, seed)
    nodes = np.random.default_rng(seed + 1).random(n) < 0.5
    packed = bits.pack(edges)
    kept = packed.copy()
    cleared = bits.clear(packed, nodes)
    edges[nodes] = False
    edges[:, nodes] = False
    assert np.array_equal(cleared, bits.pack(edges))
    assert np.array_equal(packed, kept)


@pytest.fixture(params=["compiled", "portable"], scope="module")
def multiplier(request):
    if request.param == "portable":
        return bits.portable_multiplier
    if native.library() is None:
        pytest.skip("the kernels were not compiled at installation")
    return bits.multiplier


@given(sizes, densities, seeds)
@settings(deadline=None)
def test_product_equals_the_dense_one(multiplier, n, density, seed):
    edges = graph(n, density, seed)
    vector = np.random.default_rng(seed + 2).standard_normal(n)
    multiply = multiplier(bits.pack(edges), n)
    for factor in (1.0, -3.0):  # a second call must not see what the first left
        expected = edges @ (factor * vector)
        assert multiply(factor * vector) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("columns", [1, 8, 63, 64, 65, 101, 200])  # words and bytes, whole and not
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_product_with_a_rectangle(multiplier, density, columns):
    edges = np.random.default_rng(0).random((30, columns)) < density
    vector = np.random.default_rng(1).standard_normal(columns)
    product = multiplier(bits.pack(edges), columns)(vector)
    assert product == pytest.approx(edges @ vector, abs=1e-12)


def test_products_without_the_kernels_are_scipys(monkeypatch):
    edges = bits.pack(graph(40, 0.3, 0))
    vector = np.random.default_rng(0).standard_normal(40)
    monkeypatch.setattr(native, "library", lambda: None)
    expected = bits.portable_multiplier(edges, 40)(vector)
    np.testing.assert_array_equal(bits.multiplier(edges, 40)(vector), expected)


@given(sizes, st.floats(0, 0.2), seeds)
@settings(deadline=None)
def test_components_equal_scipys(n, density, seed):
    edges = graph(n, density, seed)
    labels, count = bits.components(bits.pack(edges))
    expected_count, expected = scipy.sparse.csgraph.connected_components(edges)
    assert count == expected_count
    firsts = np.unique(labels, return_index=True)[1]
    assert np.array_equal(firsts, np.sort(firsts))
    assert len(set(zip(labels, expected, strict=True))) == count


def test_components_of_some_rows():
    edges = np.zeros((20, 20), bool)
    for a, b in ((3, 9), (9, 17), (4, 12)):
        edges[a, b] = edges[b, a] = True
    nodes = np.array([3, 4, 5, 9, 12, 17])
    labels, count = bits.components(bits.pack(edges)[nodes], nodes)
    assert count == 3
    assert np.array_equal(labels, [0, 1, 2, 0, 1, 0])
