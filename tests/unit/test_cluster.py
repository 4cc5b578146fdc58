"""k-means on a line against trying every partition, and in the plane against Lloyd written out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops.cluster import kmeans, kmeans_1d


def cost(points, labels):
    """Sum of squares inside the clusters."""
    parts = (points[labels == number] for number in np.unique(labels))
    return sum(np.square(part - part.mean(0)).sum() for part in parts)


def best_naive(values, k):
    """The cost of the best of all partitions of the sorted distinct values into stretches."""
    distinct = np.unique(values)
    k = min(k, len(distinct))
    costs = []
    for cuts in itertools.combinations(range(1, len(distinct)), k - 1):
        labels = np.zeros(len(distinct), int)
        for cut in cuts:
            labels[cut:] += 1
        costs.append(cost(values, labels[np.searchsorted(distinct, values)]))
    return min(costs)


def of_any_partition(values, k):
    """The same over all partitions, stretches or not."""
    labellings = itertools.product(range(k), repeat=len(values))
    return min(cost(values, np.array(labels)) for labels in labellings)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 5), st.integers(0, 3))
def test_the_clusters_of_numbers_are_the_best_there_are(seed, n, k, digits):
    values = np.round(np.random.default_rng(seed).normal(0, 2, n), digits)  # ties at few digits
    labels = kmeans_1d(values, k)
    assert cost(values, labels) == pytest.approx(best_naive(values, k), abs=1e-9)
    assert len(np.unique(labels)) == min(k, len(np.unique(values)))
    order = np.argsort(values, kind="stable")
    assert (np.diff(labels[order]) >= 0).all()
    assert labels.min() == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_other_partition_is_better_than_stretches(seed):
    values = np.random.default_rng(seed).normal(size=7)
    assert cost(values, kmeans_1d(values, 3)) == pytest.approx(of_any_partition(values, 3))


def test_equal_numbers_share_a_cluster_and_few_numbers_make_few():
    np.testing.assert_array_equal(kmeans_1d(np.array([2.0, 1, 2, 1]), 4), [1, 0, 1, 0])
    np.testing.assert_array_equal(kmeans_1d(np.full(5, 0.3), 3), np.zeros(5))


def test_far_from_zero_nothing_cancels():
    values = np.random.default_rng(0).normal(size=200)
    np.testing.assert_array_equal(kmeans_1d(values, 4), kmeans_1d(values + 2.0**20, 4))


def lloyd_naive(points, centres):
    """From given centres until the labels stay; one point and one centre at a time."""
    labels = [-1] * len(points)
    while True:
        before = list(labels)
        for i, point in enumerate(points):
            labels[i] = int(np.argmin([np.square(point - centre).sum() for centre in centres]))
        if labels == before:
            return np.array(labels)
        for c in range(len(centres)):
            members = [point for point, label in zip(points, labels, strict=True) if label == c]
            if members:
                centres[c] = np.mean(members, axis=0)


def blobs(seed, centres=4, channels=2, each=12, noise=0.15):
    rng = np.random.default_rng(seed)
    means = 3 * rng.normal(size=(centres, channels))
    return np.repeat(means, each, 0) + noise * rng.normal(size=(centres * each, channels))


@pytest.mark.parametrize("seed", range(8))
def test_the_result_is_a_fixed_point_of_lloyd(seed):
    points = np.random.default_rng(seed).normal(size=(60, 3))
    labels = kmeans(points, 5)
    centres = [points[labels == number].mean(0) for number in range(5)]
    np.testing.assert_array_equal(lloyd_naive(points, centres), labels)


@pytest.mark.parametrize("seed", range(8))
def test_several_starts_are_no_worse_than_lloyd_from_the_first_points(seed):
    points = blobs(seed, noise=0.6)
    naive = cost(points, lloyd_naive(points, list(points[:4].copy())))
    assert cost(points, kmeans(points, 4)) <= naive + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_blobs_are_found_and_numbered_in_order(seed):
    np.testing.assert_array_equal(kmeans(blobs(seed), 4), np.repeat(np.arange(4), 12))


@pytest.mark.parametrize("seed", range(5))
def test_on_a_line_many_starts_come_near_the_optimum(seed):
    values = np.random.default_rng(seed).normal(size=40)
    many = kmeans(values[:, None], 3, starts=30)  # a local optimum, but not a bad one
    assert 1 - 1e-9 <= cost(values, many) / cost(values, kmeans_1d(values, 3)) < 1.01


def test_the_same_points_give_the_same_labels_wherever_they_lie():
    points = np.random.default_rng(3).normal(size=(80, 4))
    np.testing.assert_array_equal(kmeans(points, 6), kmeans(points.copy(), 6))
    np.testing.assert_array_equal(kmeans(points, 6), kmeans(points + 2.0**10, 6))


def test_more_clusters_than_points_are_not_invented():
    points = np.array([[0.0, 0], [1, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(kmeans(points, 3), [0, 1, 0, 1])
    np.testing.assert_array_equal(kmeans(np.zeros((1, 2)), 3), [0])


def test_iterations_stop_when_told():
    points = np.random.default_rng(0).normal(size=(300, 2))
    once = kmeans(points, 8, starts=1, iterations=1)
    assert cost(points, kmeans(points, 8, starts=1)) < cost(points, once)
