import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mask_twins import above_mean, exact_ties, patches_of, peak_naive, random_scene, scene_of
from scipy import linalg, ndimage

from cleave.masks.tokencut import TokenCut
from cleave.ops import bits


def tokencut_naive(scene):
    """TokenCut (object_discovery.py:40-90) with the sign that LAPACK happens to give."""
    n = scene.graph.edges.shape[0]
    weights = np.where(bits.unpack(scene.graph.edges, n), 1.0, scene.graph.floor)
    degree = np.diag(weights.sum(1))
    values, vectors = linalg.eigh(degree - weights, degree)
    assume(values[2] - values[1] > 1e-6)  # else any vector of a plane is as good
    v = exact_ties(vectors[:, 1])
    seed = peak_naive(np.abs(v))
    inside = above_mean(v)
    if not inside[seed]:
        inside = above_mean(-v)  # but for patches at the mean, the rest
    labels, _ = ndimage.label(inside.reshape(scene.graph.grid))
    return labels == labels.flat[seed]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9))
def test_the_mask_is_the_naive_twins(seed, h, w):
    scene = random_scene(seed, h + 2, w + 2)
    assume(bits.degrees(scene.graph.edges).min() < scene.graph.edges.shape[0])  # not all joined
    found = patches_of(TokenCut()(scene), scene.graph.grid)
    np.testing.assert_array_equal(found, tokencut_naive(scene)[None])


def test_the_object_is_found_in_a_corner_where_maskcut_would_reverse():
    features = np.zeros((8, 8, 2))
    features[..., 0] = 1
    features[:2, :2] = 0, 1
    found = patches_of(TokenCut()(scene_of(features, np.zeros((8, 8)))), (8, 8))
    expected = np.zeros((1, 8, 8), bool)
    expected[0, :2, :2] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5)])
def test_no_mask_where_all_patches_are_alike(shape):
    assert len(TokenCut()(scene_of(np.ones((*shape, 2)), np.zeros(shape)))) == 0
