"""Agreement of methods on one image, against a loop over masks."""

import numpy as np
import pytest

from cleave.ops.agreement import agreement, disagreement


def naive(found):
    """Mask by mask."""

    def iou(a, b):
        union = (a | b).sum()
        return (a & b).sum() / union if union else 0.0

    def pair(one, other):
        if not len(one) and not len(other):
            return 1.0
        if not len(one) or not len(other):
            return 0.0
        best = [max(iou(a, b) for b in other) for a in one]
        best += [max(iou(a, b) for a in one) for b in other]
        return sum(best) / len(best)

    return np.array([[1.0 if a is b else pair(a, b) for b in found] for a in found])


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_naive_twin(seed):
    rng = np.random.default_rng(seed)
    found = [rng.random((count, 9, 11)) < 0.4 for count in (3, 0, 5, 1, 0)]
    np.testing.assert_allclose(agreement(found), naive(found))


def test_equal_masks_agree_whatever_their_order():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 3] = True, True
    both = agreement([masks, masks[::-1]])
    np.testing.assert_array_equal(both, np.ones((2, 2)))
    assert disagreement(both) == 0.0


def test_disjoint_masks_and_missing_ones_disagree():
    left, right = np.zeros((2, 1, 2, 2), bool)
    left[..., 0], right[..., 1] = True, True
    found = agreement([left, right, left[:0]])
    np.testing.assert_array_equal(found, np.eye(3))
    assert disagreement(found) == 1.0
    assert disagreement(found[:1, :1]) == 0.0
