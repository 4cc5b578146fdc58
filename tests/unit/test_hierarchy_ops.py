"""Merging, levels, windowed NMS and parents against slow twins written from the paper's words."""

import numpy as np
import pytest
from hierarchy_twins import cosine, merge_naive, nms_naive, parents_naive, random_features
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops.hierarchy import depths, levels, merge_regions, parents_of, window_nms
from cleave.types import DataError


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 5),
    st.booleans(),
)
def test_regions_are_the_naive_twins(seed, h, w, minimum, everywhere):
    features = random_features(seed, h, w)
    rng = np.random.default_rng(seed + 1)
    inside = np.ones((h, w), bool) if everywhere else rng.random((h, w)) < 0.7
    thresholds = (0.8, 0.5, 0.1)
    merges = merge_regions(features, inside=None if everywhere else inside, lowest=0.1)
    labels, similarities = merge_naive(features, inside, thresholds, minimum)
    np.testing.assert_array_equal(levels(merges, thresholds, minimum), labels)
    np.testing.assert_allclose(merges.similarities, similarities, atol=1e-12)


def test_raw_features_are_summed_not_their_directions():
    """The second and third merge at 45 degrees; the long feature pulls their direction its way."""
    angles, lengths = np.deg2rad([0, 50, 95]), np.array([1, 4, 1])
    features = (lengths * np.stack([np.cos(angles), np.sin(angles)])).T[None]
    merges = merge_regions(features)
    assert merges.pairs.tolist() == [[1, 2], [0, 3]]
    assert merges.similarities[0] == pytest.approx(np.cos(np.deg2rad(45)))
    both = features[0, 1] + features[0, 2]
    assert merges.similarities[1] == pytest.approx(cosine(features[0, 0], both))


def test_a_merge_may_raise_a_similarity_above_its_own():
    """Two directions at .6 are both at .59 from a third, but what they make is at .66 from it."""
    gram = np.array([[1, 0.6, 0.59], [0.6, 1, 0.59], [0.59, 0.59, 1]])
    features = np.linalg.cholesky(gram)[[0, 1, 2]][None]
    merges = merge_regions(features)
    assert merges.similarities.tolist() == pytest.approx([0.6, 1.18 / np.sqrt(3.2)])
    labels = levels(merges, (0.61, 0.595), 1)
    assert labels[0].tolist() == [[1, 2, 3]]
    assert not labels[1].any()  # all in one: it says nothing


def test_patches_without_a_feature_and_grids_without_a_pair():
    zero = merge_regions(np.zeros((2, 3, 4)), lowest=0.1)
    assert len(zero.pairs) == 0
    assert levels(zero, (0.5, 0.1), 1)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    single = merge_regions(np.ones((1, 1, 4)))
    assert levels(single, (0.5,), 1).tolist() == [[[0]]]
    nothing = merge_regions(np.ones((2, 2, 4)), inside=np.zeros((2, 2), bool))
    assert levels(nothing, (0.5,), 1).sum() == 0


def test_equal_patches_become_one_region_and_ties_are_stable():
    kinds = np.eye(3)[np.array([[0, 0, 1], [0, 2, 1], [2, 2, 1]])]
    merges = merge_regions(kinds, lowest=0.1)
    assert levels(merges, (0.6,), 2)[0].tolist() == [[1, 1, 2], [1, 3, 2], [3, 3, 2]]
    assert np.array_equal(merges.pairs, merge_regions(kinds.copy(), lowest=0.1).pairs)


def test_thresholds_must_fall():
    with pytest.raises(ValueError, match="falling"):
        levels(merge_regions(np.ones((2, 2, 3))), (0.1, 0.5))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 14),
    st.sampled_from([2, 3, 5, None]),
    st.sampled_from([0.3, 0.5, 0.9]),
)
def test_nms_is_the_naive_twins(seed, count, window, overlap):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 6, 7), bool)
    for mask in masks:
        y, x, h, w = rng.integers(0, 4), rng.integers(0, 4), *rng.integers(1, 4, 2)
        mask[y : y + h, x : x + w] = True
    assert window_nms(masks, overlap, window).tolist() == nms_naive(masks, overlap, window)


def test_a_copy_beyond_the_window_stays():
    """Five masks of one size: the copy of the first is the fifth after it, out of reach of 5."""
    masks = np.zeros((6, 6, 2), bool)
    for i, row in enumerate((0, 1, 2, 3, 4, 0)):
        masks[i, row] = True
    assert window_nms(masks, 0.9, 5).tolist() == [0, 1, 2, 3, 4, 5]
    assert window_nms(masks, 0.9, 6).tolist() == [0, 1, 2, 3, 4]
    assert window_nms(masks, 0.9, None).tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.sampled_from([0.5, 0.9, 1.0 - 1e-9]))
def test_parents_are_the_naive_twins(seed, count, coverage):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 9, 70), bool)
    for mask in masks:
        (y, x), (h, w) = rng.integers(0, (6, 50)), rng.integers(0, (6, 40))
        mask[y : y + h, x : x + w] = True
    parents = parents_of(masks, coverage)
    assert parents.tolist() == parents_naive(masks, coverage)
    assert depths(parents).min(initial=0) >= 0  # no ring


def test_depths_count_what_holds_a_mask():
    assert depths(np.array([-1, 0, 1, 1, -1, 3])).tolist() == [0, 1, 2, 2, 0, 3]
    assert depths(np.array([2, -1, 1])).tolist() == [2, 0, 1]  # in any order
    assert depths(np.zeros(0, int)).tolist() == []
    with pytest.raises(DataError, match="in a ring"):
        depths(np.array([1, 2, 0]))
    for wrong in (5, -2):
        with pytest.raises(DataError, match=str(wrong)):
            depths(np.array([-1, wrong]))
