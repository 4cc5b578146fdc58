"""ops.components against flood fill and against merging written as the text reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import components as cc

STEPS = {
    4: [(0, 1), (1, 0), (0, -1), (-1, 0)],
    8: [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c],
}


def flood(mask, joined, steps):
    """Labels by depth-first search from each unlabelled patch in row-major order."""
    labels, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        labels[start] = count
        stack = [start]
        while stack:
            r, c = stack.pop()
            for dr, dc in steps:
                q = (r + dr, c + dc)
                inside = 0 <= q[0] < mask.shape[0] and 0 <= q[1] < mask.shape[1]
                if inside and mask[q] and not labels[q] and joined((r, c), q):
                    labels[q] = count
                    stack.append(q)
    return labels, count


def depth_components_naive(mask, depth, threshold, minimum, connectivity):
    """Section 7A of the study: cut at |dz|, then merge the small ones one by one."""
    steps = STEPS[connectivity]
    z = depth.astype(float)
    labels, _ = flood(mask, lambda p, q: abs(z[p] - z[q]) <= threshold, steps)
    w = mask.shape[1]
    while True:
        sizes = np.bincount(labels.ravel())
        borders = []
        for r, c in zip(*np.nonzero(mask), strict=True):
            for dr, dc in steps:
                q = (r + dr, c + dc)
                if not (0 <= q[0] < mask.shape[0] and 0 <= q[1] < w and mask[q]):
                    continue
                small = min(sizes[labels[r, c]], sizes[labels[q]]) < minimum
                if small and labels[q] != labels[r, c] and (r, c) < q:
                    borders.append((abs(z[r, c] - z[q]), r * w + c, q[0] * w + q[1]))
        if not borders:
            break
        _, p, q = min(borders)
        labels[labels == labels.flat[q]] = labels.flat[p]
    order = list(dict.fromkeys(labels[mask].tolist()))
    return sum((i + 1) * (labels == n) for i, n in enumerate(order)) * mask, len(order)


@st.composite
def scenes(draw):
    h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    mask = rng.random((h, w)) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    levels = draw(st.sampled_from([3, 10, 1000]))  # few levels make many ties
    depth = (rng.integers(0, levels, (h, w)) / levels).astype(np.float32)
    return mask, depth


@given(scenes())
@settings(max_examples=60, deadline=None)
def test_label_and_component_of_equal_flood_fill(scene):
    mask, _ = scene
    expected, count = flood(mask, lambda p, q: True, STEPS[4])
    labels, found = cc.label(mask)
    assert found == count
    np.testing.assert_array_equal(labels, expected)
    for seed in range(mask.size):
        part = cc.component_of(mask, seed)
        number = expected.flat[seed]
        np.testing.assert_array_equal(part, (expected == number) & mask)


@given(scenes(), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_components_are_sorted_by_size_then_first_patch(scene, minimum):
    mask, _ = scene
    labels, count = flood(mask, lambda p, q: True, STEPS[4])
    kept = [labels == i for i in range(1, count + 1) if (labels == i).sum() >= minimum]
    kept.sort(key=lambda m: (-m.sum(), np.flatnonzero(m)[0]))
    found = cc.components(mask, minimum)
    assert found.shape == (len(kept), *mask.shape)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, np.array(kept).reshape(found.shape))


@given(
    scenes(),
    st.sampled_from([0.0, 0.1, 0.34, 2.0]),
    st.integers(1, 6),
    st.sampled_from([4, 8]),
)
@settings(max_examples=150, deadline=None)
def test_depth_components_equal_the_text(scene, threshold, minimum, connectivity):
    mask, depth = scene
    expected, count = depth_components_naive(mask, depth, threshold, minimum, connectivity)
    labels, found = cc.depth_components(mask, depth, threshold, minimum, connectivity)
    assert found == count
    np.testing.assert_array_equal(labels, expected)


def test_a_step_of_exactly_the_threshold_does_not_cut():
    depth = np.array([[0.0, 0.5, 1.0]])
    mask = np.ones((1, 3), bool)
    assert cc.depth_components(mask, depth, 0.5)[1] == 1
    assert cc.depth_components(mask, depth, 0.4999)[1] == 3


def test_a_speck_joins_the_side_that_is_nearer_in_depth():
    depth = np.array([[0.0] * 5 + [0.3] + [1.0] * 5])
    labels, count = cc.depth_components(np.ones((1, 11), bool), depth, 0.1, minimum=2)
    assert count == 2
    assert labels[0].tolist() == [1] * 6 + [2] * 5


def test_a_speck_without_neighbours_stays():
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[3:, 3:] = True
    labels, count = cc.depth_components(mask, np.zeros((5, 5)), 0.1, minimum=4)
    assert count == 2
    assert labels[0, 0] == 1


@pytest.mark.parametrize(("connectivity", "count"), [(4, 2), (8, 1)])
def test_corners_touch_under_eight_neighbours_alone(connectivity, count):
    mask = np.eye(2, dtype=bool)
    found = cc.depth_components(mask, np.zeros((2, 2)), 0.1, 1, connectivity)
    assert found[1] == count


def test_an_empty_mask_has_no_components():
    mask = np.zeros((3, 4), bool)
    assert cc.label(mask)[1] == 0
    assert cc.depth_components(mask, np.zeros((3, 4)), 0.1, 5)[1] == 0
    assert cc.components(mask).shape == (0, 3, 4)
    assert not cc.component_of(mask, 3).any()
