import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import matrix_nms as module
from cleave.ops.matrix_nms import matrix_nms


def matrix_nms_naive(masks, scores, labels=None, *, kernel="gaussian", sigma=2.0):
    """The formula of SOLOv2, pair by pair; None: the pair says nothing."""
    masks, count = np.asarray(masks, np.float64), len(scores)
    labels = np.zeros(count) if labels is None else labels
    order = np.argsort(-np.asarray(scores), kind="stable")

    def iou(a, b):
        inside = (masks[a] * masks[b]).sum()
        union = masks[a].sum() + masks[b].sum() - inside
        return inside / union if union > 0 else 0.0

    def f(overlap):
        return np.exp(-sigma * overlap**2) if kernel == "gaussian" else 1 - overlap

    def better(j):
        return [i for i in order[: list(order).index(j)] if labels[i] == labels[j]]

    lowered = np.zeros(count)
    for j in range(count):
        quotients = [1.0]
        for i in better(j):
            own = max((iou(k, i) for k in better(i)), default=0.0)
            if f(own) > 0:
                quotients.append(f(iou(i, j)) / f(own))
        lowered[j] = scores[j] * min(quotients)
    return lowered


def random_masks(rng, count, pixels, soft):
    """Some of them twice, some empty, some scores equal."""
    masks = rng.random((count, pixels)) < rng.random((count, 1))
    masks = masks[rng.integers(0, count, count)]
    masks[rng.random(count) < 0.1] = False
    scores = rng.integers(1, 8, count) / 8
    return (masks * rng.random(masks.shape) if soft else masks), scores


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from(["gaussian", "linear"]),
    st.booleans(),
)
def test_the_scores_are_the_naive_twins(seed, count, classes, kernel, soft):
    rng = np.random.default_rng(seed)
    masks, scores = random_masks(rng, count, 30, soft)
    labels = rng.integers(0, classes, count)
    sigma = rng.uniform(0.5, 3)
    np.testing.assert_allclose(
        matrix_nms(masks, scores, labels, kernel=kernel, sigma=sigma),
        matrix_nms_naive(masks, scores, labels, kernel=kernel, sigma=sigma),
        rtol=2e-5,
        atol=1e-6,
    )


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.sampled_from(["gaussian", "linear"]),
    st.floats(0.0, 1.0),
)
def test_scores_that_reach_the_least_are_the_same_and_others_are_none(seed, count, kernel, least):
    """In blocks so small that most masks are given up before they are looked at."""
    rng = np.random.default_rng(seed)
    masks, scores = random_masks(rng, count, 12, soft=False)
    labels = rng.integers(0, 2, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", 3)
        found = matrix_nms(masks, scores, labels, kernel=kernel, least=least)
    every = matrix_nms(masks, scores, labels, kernel=kernel)
    np.testing.assert_array_equal(found, np.where(every >= least, every, 0))


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_the_order_of_the_masks_does_not_matter(kernel):
    rng = np.random.default_rng(0)
    masks, _ = random_masks(rng, 20, 50, soft=False)
    scores, shuffle = rng.permutation(20) / 20 + 0.01, rng.permutation(20)
    lowered = matrix_nms(masks, scores, kernel=kernel)
    np.testing.assert_array_equal(
        lowered[shuffle], matrix_nms(masks[shuffle], scores[shuffle], kernel=kernel)
    )


def test_numbers_by_hand():
    """Three masks of four pixels: the second shares half its union with the first, the third
    repeats the second."""
    masks = np.array([[1, 1, 1, 0], [0, 1, 1, 1], [0, 1, 1, 1]], bool)
    scores = np.array([1.0, 0.9, 0.8])
    half = np.exp(-2 * 0.25)
    # the third: by the first half, by the second exp(-2) / half, which is less
    np.testing.assert_allclose(
        matrix_nms(masks, scores), [1, 0.9 * half, 0.8 * np.exp(-2) / half], rtol=1e-6
    )
    np.testing.assert_allclose(matrix_nms(masks, scores, kernel="linear"), [1, 0.45, 0], rtol=1e-6)


def test_three_equal_masks_leave_one_and_no_nan_with_the_linear_kernel():
    lowered = matrix_nms(np.ones((3, 5), bool), np.array([0.7, 0.8, 0.9]), kernel="linear")
    np.testing.assert_array_equal(lowered, [0, 0, 0.9])


def test_masks_of_other_labels_have_no_say():
    masks, scores = np.ones((2, 5), bool), np.array([0.9, 0.8])
    np.testing.assert_array_equal(matrix_nms(masks, scores, np.array([0, 1])), scores)
    assert matrix_nms(masks, scores, np.array([1, 1]))[1] < 0.2


def test_no_masks():
    assert matrix_nms(np.zeros((0, 5), bool), np.zeros(0)).shape == (0,)


def test_masks_that_are_not_flat_are_refused():
    with pytest.raises(ValueError, match=r"expected \(M, N\)"):
        matrix_nms(np.ones((2, 3, 3), bool), np.ones(2))
