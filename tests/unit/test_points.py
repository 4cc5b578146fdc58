"""ops.points against loops over pixels and over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import points
from cleave.types import Size


def pool_naive(depth, grid, how):
    """Each patch by a fine sampling of the plane: a multiple of both grids' resolutions."""
    (height, width), (h, w) = depth.shape, grid
    out = np.zeros(grid)
    for i in range(h):
        for j in range(w):
            if how == "area":  # height * width samples a patch axis split every border exactly
                rows = [(i * height + s) // h for s in range(height)]
                columns = [(j * width + s) // w for s in range(width)]
            else:
                a = 1 if how == "nearest" else int(np.ceil(height / h))
                b = 1 if how == "nearest" else int(np.ceil(width / w))
                rows = [int((i + (s + 0.5) / a) * height / h) for s in range(a)]
                columns = [int((j + (s + 0.5) / b) * width / w) for s in range(b)]
            cell = np.array([[depth[r, c] for c in columns] for r in rows], float)
            out[i, j] = {"median": np.median, "min": np.min}.get(how, np.mean)(cell)
    return out


@given(
    st.integers(1, 17),
    st.integers(1, 17),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["area", "median", "min", "nearest"]),
)
@settings(max_examples=150, deadline=None)
def test_pooling_equals_the_loop_for_finer_coarser_and_odd_sizes(height, width, h, w, how):
    depth = np.random.default_rng(height * 100 + width).random((height, width)).astype(np.float32)
    pooled = points.pool_depth(depth, Size(h, w), how)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, pool_naive(depth, (h, w), how), rtol=1e-6)


def test_pooling_by_hand():
    depth = np.array([[1, 2, 7, 7], [3, 10, 7, 7]], np.float32)
    grid = Size(1, 2)
    assert points.pool_depth(depth, grid, "area").tolist() == [[4, 7]]
    assert points.pool_depth(depth, grid, "median").tolist() == [[2.5, 7]]
    assert points.pool_depth(depth, grid, "min").tolist() == [[1, 7]]
    assert points.pool_depth(depth, grid, "nearest").tolist() == [[10, 7]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_no_pixel_escapes_the_minimum(height, width, h, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    depth = np.ones((height, width), np.float32)
    depth[row, column] = 0
    assert points.pool_depth(depth, Size(min(h, height), min(7, width)), "min").min() == 0


def test_normalised_depth_spans_the_unit_interval():
    depth = np.random.default_rng(0).random((20, 30)) * 7 - 2
    z = points.normalise_depth(depth)
    assert (z.min(), z.max()) == (0, 1)
    np.testing.assert_allclose(z, points.normalise_depth(depth * 3 + 5), atol=1e-12)


def test_clipping_keeps_one_outlier_from_flattening_the_scene():
    depth = np.linspace(0, 1, 200).reshape(10, 20)
    depth[0, 0] = 1000
    assert np.median(points.normalise_depth(depth)) < 0.01
    assert 0.4 < np.median(points.normalise_depth(depth, clip=1.0)) < 0.6


@pytest.mark.parametrize("depth", [np.full((4, 5), 3.7), np.zeros((1, 1)), np.full((2, 2), -1e-9)])
def test_a_flat_map_is_zero(depth):
    assert not points.normalise_depth(depth).any()
    noisy = depth + np.spacing(depth.max()) * np.arange(depth.size).reshape(depth.shape)
    assert not points.normalise_depth(noisy).any()


def test_unprojection_spans_the_cube():
    depth = np.array([[0.0, 0.5, 1.0]] * 3)
    cloud = points.unproject(depth, 2.3)
    assert cloud[:3].tolist() == [[0, 0, 0], [1.15, 0, 1.15], [2.3, 0, 2.3]]
    assert cloud.min(0).tolist() == [0, 0, 0]
    assert cloud.max(0).tolist() == [2.3, 2.3, 2.3]


def test_the_step_is_the_same_along_both_axes_of_a_long_grid():
    cloud = points.unproject(np.zeros((3, 21)), 2.0).reshape(3, 21, 3)
    step = points.patch_step(Size(3, 21), 2.0)
    assert step == 0.1
    np.testing.assert_allclose(np.diff(cloud[0, :, 0]), step)
    np.testing.assert_allclose(np.diff(cloud[:, 0, 1]), step)


def test_one_patch_is_one_point():
    assert points.unproject(np.zeros((1, 1)), 2.3).tolist() == [[0, 0, 0]]


def knn_naive(cloud, k):
    n = len(cloud)
    edges = set()
    for i in range(n):
        d = np.linalg.norm(cloud - cloud[i], axis=1)
        others = sorted(d[j] for j in range(n) if j != i)
        if others:
            reach = others[min(k, n - 1) - 1] * (1 + 1e-9)
            edges |= {(min(i, j), max(i, j)) for j in range(n) if j != i and d[j] <= reach}
    return np.array(sorted(edges)).reshape(-1, 2)


@given(st.integers(1, 80), st.integers(1, 14), st.integers(0, 10**6), st.sampled_from([2, 4, 999]))
@settings(max_examples=100, deadline=None)
def test_knn_graph_equals_all_pairs_with_ties_and_duplicates(n, k, seed, levels):
    cloud = np.random.default_rng(seed).integers(0, levels, (n, 3)) / 7.0
    edges, lengths = points.knn_graph(cloud, k)
    np.testing.assert_array_equal(edges, knn_naive(cloud, k))
    np.testing.assert_allclose(
        lengths, [np.linalg.norm(cloud[a] - cloud[b]) for a, b in edges], atol=1e-15
    )


def test_knn_graph_of_a_flat_grid_is_symmetric_under_flips():
    """No scan order shows: the tied neighbours at rank k come in all together."""
    grid = Size(9, 9)
    edges, _ = points.knn_graph(points.unproject(np.zeros(grid), 2.3), 10)
    degree = np.bincount(edges.ravel(), minlength=81).reshape(grid)
    assert degree[4, 4] == 12
    np.testing.assert_array_equal(degree, degree[::-1])
    np.testing.assert_array_equal(degree, degree.T)


def test_identical_points_form_a_complete_graph():
    edges, lengths = points.knn_graph(np.ones((40, 3)), 3)
    assert len(edges) == 40 * 39 // 2
    assert not lengths.any()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_points_have_no_edges(n):
    edges, lengths = points.knn_graph(np.zeros((n, 3)), 10)
    assert edges.shape == (0, 2)
    assert len(lengths) == 0
