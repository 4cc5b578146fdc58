import numpy as np
import pytest

from cleave.ops.nms import greedy_nms


def nms_naive(masks, overlap, window=None):
    sets = [{tuple(p) for p in np.argwhere(mask).tolist()} for mask in masks]
    kept = []
    for i, mask in enumerate(sets):
        rivals = [sets[j] for j in kept if window is None or i - j < window]
        if all(len(mask & r) <= overlap * len(mask | r) for r in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("window", [None, 2, 4])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 1.0])
def test_what_stays_is_the_naive_twins(seed, window, overlap):
    rng = np.random.default_rng(seed)
    masks = np.zeros((rng.integers(0, 15), 5, 6), bool)
    for mask in masks[1:]:  # the first is empty
        top, left, height, width = *rng.integers(0, 4, 2), *rng.integers(1, 4, 2)
        mask[top : top + height, left : left + width] = True
    assert greedy_nms(masks, overlap, window).tolist() == nms_naive(masks, overlap, window)


def test_a_mask_that_went_suppresses_nothing():
    masks = np.zeros((3, 1, 9), bool)
    masks[0, 0, :4] = masks[1, 0, 1:5] = masks[2, 0, 2:6] = True  # IoU .6, .6 and 1/3
    assert greedy_nms(masks, 0.5).tolist() == [0, 2]


def test_just_the_overlap_stays():
    masks = np.zeros((2, 1, 50), bool)
    masks[0] = True
    masks[1, 0, :29] = True  # .58 * 50 is less than 29 in floats
    assert greedy_nms(masks, 0.58).tolist() == [0, 1]
