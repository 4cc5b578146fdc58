"""What stages hand on through shards comes back as it was, to within the bits it is kept in."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cleave.io.artifacts import (
    pack_depth,
    pack_features,
    pack_graph,
    unpack_depth,
    unpack_features,
    unpack_graph,
)
from cleave.io.store import read_shard, write_shard
from cleave.ops import bits
from cleave.types import DataError, DepthMap, FeatureMap, PatchGraph, Size


def through_a_shard(path, packed):
    """Arrays and attributes as a later stage finds them."""
    with write_shard(path, spec={}, version=1) as writer:
        writer.add("a/1", *packed, compress=frozenset({"edges"}))
    with read_shard(path) as reader:
        return reader.get("a/1")


def some_features(scale=1.0, **changes):
    rng = np.random.default_rng(0)
    facets = {
        "key": (rng.standard_normal((3, 4, 5)) * scale).astype(np.float32),
        "token": rng.standard_normal((3, 4, 7)).astype(np.float32),
    }
    given = {"facets": facets, "size": Size(31, 40), "input_size": Size(24, 32), "stride": 8}
    return FeatureMap(**given | changes)


@pytest.mark.parametrize("whole", [False, True])
def test_features_come_back_as_float16(tmp_path, whole):
    rng = np.random.default_rng(1)
    extra = {}
    if whole:
        attention = rng.random((2, 3, 4)).astype(np.float32)
        extra = {"cls": rng.random(5).astype(np.float32), "attention": attention, "heads": 2}
        extra["cls_query"] = rng.random(4).astype(np.float32)
    features = some_features(**extra)
    packed = pack_features(features)
    assert {array.dtype for array in packed[0].values()} == {np.dtype(np.float16)}
    found = unpack_features(*through_a_shard(tmp_path / "a.h5", packed))
    assert found.facets.keys() == features.facets.keys()
    for name, facet in features.facets.items():
        assert found.facets[name].dtype == np.float32
        np.testing.assert_array_equal(found.facets[name], facet.astype(np.float16))
    for name in ("cls", "attention", "cls_query"):
        value = getattr(features, name)
        expected = None if value is None else value.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(getattr(found, name), expected)
    for name in ("size", "input_size", "stride", "heads", "grid"):
        assert getattr(found, name) == getattr(features, name)
    assert isinstance(found.size, Size)


def test_features_that_float16_cannot_hold_are_refused():
    features = some_features(scale=1e5)
    with pytest.raises(DataError, match=r"key: reaches .* more than the 65504 of float16"):
        pack_features(features)


DEPTHS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(0, 1, width=32).filter(lambda v: v == 0 or v > 2**-14),
)


@given(DEPTHS, st.sampled_from([1e-12, 1e-6, 0.01, 1.0, 7.3, 60000.0, 65504.0, 1e6, 1e12, 1e30]))
def test_depth_keeps_eleven_bits_of_any_range(values, factor):
    depth = DepthMap(values * np.float32(factor), "metre", 0.25)
    arrays, attributes = pack_depth(depth)
    assert arrays["values"].dtype == np.float16
    found = unpack_depth(arrays, attributes)
    np.testing.assert_allclose(found.values, depth.values, rtol=2**-11)
    assert found.values.dtype == np.float32
    assert (found.unit, found.filled) == ("metre", 0.25)


def test_depth_in_metres_is_kept_as_it_is(tmp_path):
    values = np.linspace(0.5, 80, 24, dtype=np.float32).reshape(4, 6)
    packed = pack_depth(DepthMap(values))
    assert packed[1]["scale"] == 1
    found = unpack_depth(*through_a_shard(tmp_path / "a.h5", packed))
    np.testing.assert_array_equal(found.values, values.astype(np.float16))
    assert (found.unit, found.filled) == ("relative", 0.0)


@pytest.mark.parametrize("value", [0.0, 1e-30, 70000.0, -70000.0, 3e38])
def test_depth_of_one_value(value):
    found = unpack_depth(*pack_depth(DepthMap(np.full((2, 2), value, np.float32))))
    np.testing.assert_allclose(found.values, value, rtol=2**-11)


def some_graph(grid, seed, share, **extra):
    rng = np.random.default_rng(seed)
    n = grid.height * grid.width
    edges = rng.random((n, n)) < share
    edges |= edges.T
    return PatchGraph(bits.pack(edges), grid, Size(8 * grid.height, 8 * grid.width), **extra)


@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 999),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
)
def test_edges_come_back_whatever_the_grid(height, width, seed, share):
    """One patch, fewer than eight, one more than a multiple of eight: 1 to 49 patches."""
    graph = some_graph(Size(height, width), seed, share, floor=0.01, threshold=0.2)
    arrays, attributes = pack_graph(graph)
    n = height * width
    assert arrays["edges"].size <= n * (n + 15) // 16 + n  # half of the bytes, and the diagonal's
    found = unpack_graph(arrays, attributes)
    np.testing.assert_array_equal(found.edges, graph.edges)
    assert found.edges.dtype == np.uint8
    assert (found.grid, found.size) == (graph.grid, graph.size)
    assert (found.floor, found.threshold) == (0.01, 0.2)
    assert found.eigenvectors is found.importance is None


def test_edges_of_a_photo_come_back_through_a_shard(tmp_path):
    """3,600 patches at 480 px and 8 px a patch, with diagonal entries missing here and there."""
    grid = Size(60, 60)
    rng = np.random.default_rng(3)
    near = np.abs(np.subtract.outer(np.arange(3600), np.arange(3600))) < rng.integers(1, 60, 3600)
    near &= near.T
    np.fill_diagonal(near, rng.random(3600) < 0.9)
    graph = PatchGraph(
        bits.pack(near),
        grid,
        Size(480, 480),
        importance=rng.random((60, 60)).astype(np.float32),
        eigenvalues=np.array([0.1, 0.2]),
        eigenvectors=rng.standard_normal((2, 3600)),
        residuals=np.array([1e-9, 1e-8]),
    )
    found = unpack_graph(*through_a_shard(tmp_path / "a.h5", pack_graph(graph)))
    for each in dataclasses.fields(PatchGraph):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(graph, each.name))
    assert found.importance.dtype == np.float32
    assert found.eigenvectors.dtype == np.float64
    assert (tmp_path / "a.h5").stat().st_size < 500_000
