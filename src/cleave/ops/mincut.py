"""Minimum s-t cut of a small undirected graph, with one convention for nodes on neither side."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow

from cleave.spec import ConfigError

Capacity = Literal["distance", "unit", "hinge", "exp"]
Solver = Literal["boykov_kolmogorov", "dinic"]

_UNITS = 10_000  # integer units per 1.0: SciPy's solver takes integers, and integers tie exactly


def edge_capacities(lengths: np.ndarray, bandwidth: float, form: Capacity) -> np.ndarray:
    """What it costs to cut edges of these lengths.

    "distance" is the paper's text read literally: long edges are dear, so the cut avoids the gap
    between two objects. "hinge" is bandwidth - length, "exp" exp(-(2 length / bandwidth)^2):
    short edges are dear. "unit" counts edges.

    Args:
        lengths: (E,) float.
        bandwidth: the nominal length threshold, for "hinge" and "exp".
        form: the formula.

    Returns:
        (E,) float64, not negative.
    """
    if form == "unit":
        return np.ones(len(lengths))
    if form == "hinge":
        return np.maximum(bandwidth - lengths, 0.0)
    if form == "exp":
        return np.exp(-((2 * lengths / bandwidth) ** 2))
    return np.asarray(lengths, np.float64)


def min_cut(
    n: int,
    edges: np.ndarray,
    capacities: np.ndarray,
    source: np.ndarray | int,
    sink: np.ndarray | int,
    solver: Solver = "boykov_kolmogorov",
) -> np.ndarray:
    """The minimal source set: the nodes that the source still reaches when the flow is maximal.

    A minimum cut need not be unique: nodes that a maximal flow cuts off from both terminals (all
    that hang on neither, when the terminals are disconnected) can go to either side. They go to
    the sink side here. This set is the intersection of the source sides of all minimum cuts, so
    it does not depend on the flow and every exact solver finds it. PyMaxflow's Boykov-Kolmogorov
    gives free nodes to its source, so it is run with the terminals swapped.

    Args:
        n: number of nodes.
        edges: (E, 2) int, undirected, each pair once.
        capacities: (E,) float, capacity both ways; rounded to multiples of 1e-4 and at least one.
        source: node or nodes tied to the source.
        sink: node or nodes tied to the sink.
        solver: "boykov_kolmogorov" (PyMaxflow, GPL) or "dinic" (SciPy).

    Returns:
        (n,) bool.

    Raises:
        ValueError: source and sink share a node, or one of them is empty.
        ConfigError: PyMaxflow is asked for but not installed.
    """
    source, sink = np.unique(np.atleast_1d(source)), np.unique(np.atleast_1d(sink))
    if not len(source) or not len(sink) or np.intersect1d(source, sink).size:
        raise ValueError(f"source {source} and sink {sink} must be disjoint and not empty")
    whole = np.maximum(1, np.rint(np.asarray(capacities) * _UNITS)).astype(np.int64)
    solve = _dinic if solver == "dinic" else _boykov_kolmogorov
    return solve(n, np.asarray(edges, np.int64).reshape(-1, 2), whole, source, sink)


def component(n: int, edges: np.ndarray, node: int) -> np.ndarray:
    """The nodes joined to `node` by `edges` (E, 2): (n,) bool. What a cut without a sink keeps."""
    graph = coo_array((np.ones(len(edges), bool), edges.T), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    return labels == labels[node]


def _boykov_kolmogorov(n, edges, capacities, source, sink):
    try:
        import maxflow
    except ImportError:
        raise ConfigError(
            "solver 'boykov_kolmogorov' needs PyMaxflow, which is not installed; "
            "install it or write `solver: dinic` (SciPy, same result)"
        ) from None
    graph = maxflow.GraphInt(n, len(edges))
    graph.add_nodes(n)
    graph.add_edges(edges[:, 0], edges[:, 1], capacities, capacities)
    endless = int(capacities.sum()) + 1
    for node in sink.tolist():
        graph.add_tedge(node, endless, 0)
    for node in source.tolist():
        graph.add_tedge(node, 0, endless)
    graph.maxflow()
    return np.asarray(graph.get_grid_segments(np.arange(n)), bool)


def _dinic(n, edges, capacities, source, sink):
    s, t = n, n + 1
    ends = np.arange(n)
    ends[source], ends[sink] = s, t  # terminals swallow their nodes: no infinite capacities
    a, b = ends[edges].T
    a, b, c = a[a != b], b[a != b], capacities[a != b]
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    graph = coo_array((np.concatenate([c, c]), (rows, columns)), shape=(n + 2, n + 2)).tocsr()
    graph.sum_duplicates()
    flow = maximum_flow(graph.astype(np.int32), s, t, method="dinic").flow
    residual = (graph - flow).tocsr()
    residual.eliminate_zeros()
    reached = np.zeros(n + 2, bool)
    reached[breadth_first_order(residual, s, return_predecessors=False)] = True
    return reached[ends]
