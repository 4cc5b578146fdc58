"""ops.mincut: both solvers against each other and against every cut of tiny graphs."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops.mincut import edge_capacities, min_cut
from cleave.spec import ConfigError

SOLVERS = ["boykov_kolmogorov", "dinic"]


def minimal_source_set(n, edges, whole, source, sink):
    """The intersection of the source sides of all minimum cuts, by listing every cut."""
    best, sides = None, []
    for bits in itertools.product([False, True], repeat=n):
        side = np.array(bits)
        if not side[source].all() or side[sink].any():
            continue
        cost = whole[side[edges[:, 0]] != side[edges[:, 1]]].sum() if len(edges) else 0
        if best is None or cost < best:
            best, sides = cost, []
        if cost == best:
            sides.append(side)
    return np.logical_and.reduce(sides)


@st.composite
def graphs(draw, most):
    n = draw(st.integers(2, most))
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kept = rng.random(len(pairs)) < draw(st.sampled_from([0.15, 0.4, 0.8]))
    edges = pairs[kept]
    capacities = rng.integers(1, draw(st.sampled_from([2, 4, 1000])), len(edges)) / 10_000
    nodes = rng.permutation(n)
    s, t = draw(st.integers(1, max(1, n // 3))), draw(st.integers(1, max(1, n // 3)))
    return n, edges, capacities, nodes[:s], nodes[s : s + t]


@given(graphs(most=9))
@settings(max_examples=80, deadline=None)
def test_both_solvers_find_the_minimal_source_set_of_tiny_graphs(graph):
    n, edges, capacities, source, sink = graph
    whole = np.rint(capacities * 10_000).astype(int)
    expected = minimal_source_set(n, edges, whole, source, sink)
    for solver in SOLVERS:
        np.testing.assert_array_equal(min_cut(*graph, solver), expected, err_msg=solver)


@given(graphs(most=60))
@settings(max_examples=150, deadline=None)
def test_both_solvers_agree_on_larger_graphs(graph):
    np.testing.assert_array_equal(min_cut(*graph, SOLVERS[0]), min_cut(*graph, SOLVERS[1]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_disconnected_terminals_give_the_component_of_the_source(solver):
    """0-1-2 holds the source, 3-4 the sink, 5-6 hangs on neither and goes to the sink side."""
    edges = np.array([[0, 1], [1, 2], [3, 4], [5, 6]])
    side = min_cut(7, edges, np.ones(4), 0, 3, solver)
    assert side.tolist() == [True, True, True, False, False, False, False]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_free_node_behind_two_saturated_edges_goes_to_the_sink_side(solver):
    """0 -1- 1 -1- 2: both edges saturate, so node 1 is reached from neither terminal."""
    side = min_cut(3, np.array([[0, 1], [1, 2]]), np.ones(2), 0, 2, solver)
    assert side.tolist() == [True, False, False]


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_edges_at_all(solver):
    assert min_cut(3, np.zeros((0, 2), int), np.zeros(0), 1, 2, solver).tolist() == [0, 1, 0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_terminals_that_share_a_node_are_refused(solver):
    with pytest.raises(ValueError, match="disjoint"):
        min_cut(3, np.array([[0, 1]]), np.ones(1), [0, 1], [1, 2], solver)
    with pytest.raises(ValueError, match="not empty"):
        min_cut(3, np.array([[0, 1]]), np.ones(1), [], 2, solver)


def test_a_missing_pymaxflow_names_the_other_solver(monkeypatch):
    monkeypatch.setitem(sys.modules, "maxflow", None)
    with pytest.raises(ConfigError, match="solver: dinic"):
        min_cut(2, np.array([[0, 1]]), np.ones(1), 0, 1)


def test_capacities_by_hand():
    lengths = np.array([0.0, 0.05, 0.1, 0.2])
    assert edge_capacities(lengths, 0.1, "distance").tolist() == lengths.tolist()
    assert edge_capacities(lengths, 0.1, "unit").tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(edge_capacities(lengths, 0.1, "hinge"), [0.1, 0.05, 0, 0])
    np.testing.assert_allclose(
        edge_capacities(lengths, 0.1, "exp"), np.exp([0.0, -1.0, -4.0, -16.0])
    )
