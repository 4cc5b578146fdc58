"""CutLER's relabelling against a slow twin and in the cases that matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops.relabel import relabel
from cleave.types import MaskSet, Size

SIZE = Size(6, 8)


def masks_of(seed: int, count: int, trust: bool = False) -> MaskSet:
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SIZE), bool)
    for mask in masks:
        y, x = rng.integers(0, 5), rng.integers(0, 7)
        mask[y : y + rng.integers(1, 4), x : x + rng.integers(1, 5)] = True
    scores = np.round(rng.random(count), 1)  # ties are part of it
    maps = rng.random((count, 3, 4)).astype(np.float16) if trust else None
    return MaskSet(SIZE, masks, scores, trust=maps)


def twin(predicted, old, threshold, detections, overlap):
    """The rule in the words of the paper's code: lists, one pair at a time."""
    order = sorted(range(len(predicted)), key=lambda i: (-predicted.scores[i], i))[:detections]
    sure = [i for i in order if predicted.scores[i] >= threshold]
    kept = []
    for j in range(len(old)):
        best = 0.0
        for i in sure:
            both = (predicted.masks[i] & old.masks[j]).sum()
            either = (predicted.masks[i] | old.masks[j]).sum()
            best = max(best, both / either)
        if not sure or best < overlap:
            kept.append(j)
    return sure, kept


@given(
    st.integers(0, 2**31),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([0, 0.3, 0.5, 1]),
    st.integers(1, 5),
    st.sampled_from([0.2, 0.5, 1]),
)
@settings(max_examples=150, deadline=None)
def test_against_the_slow_twin(seed, new, before, threshold, detections, overlap):
    predicted, old = masks_of(seed, new), masks_of(seed + 1, before, trust=True)
    labels, count = relabel(
        predicted, old, threshold=threshold, detections=detections, overlap=overlap
    )
    sure, kept = twin(predicted, old, threshold, detections, overlap)
    assert count == len(sure)
    np.testing.assert_array_equal(labels.masks[:count], predicted.masks[sure])
    np.testing.assert_array_equal(labels.masks[count:], old.masks[kept])
    np.testing.assert_array_equal(labels.scores[:count], predicted.scores[sure])
    if len(old):
        assert (labels.trust[:count] == 1).all()
        np.testing.assert_array_equal(labels.trust[count:], old.trust[kept])


def test_without_a_sure_prediction_all_old_masks_stay():
    old = masks_of(3, 4)
    labels, count = relabel(masks_of(1, 5), old, threshold=1.1, detections=30, overlap=0.5)
    assert count == 0
    np.testing.assert_array_equal(labels.masks, old.masks)


def test_a_prediction_that_is_no_pixel_is_no_label():
    predicted = MaskSet(SIZE, np.zeros((1, *SIZE), bool), np.ones(1))
    labels, count = relabel(predicted, masks_of(0, 2), threshold=0.5, detections=9, overlap=0.5)
    assert (count, len(labels)) == (0, 2)


@pytest.mark.parametrize("overlap", [0.5, 1.0])
def test_the_same_mask_is_not_kept_twice(overlap):
    old = masks_of(5, 1)
    labels, _ = relabel(
        MaskSet(SIZE, old.masks, np.ones(1)), old, threshold=0.5, detections=9, overlap=overlap
    )
    assert len(labels) == 1


def test_labels_have_no_parents():
    """Predictions were learned one by one: their masks and old ones are no hierarchy together."""
    old = masks_of(1, 4)
    old = replace(old, parents=np.array([-1, 0, 1, 0]))
    labels, _ = relabel(masks_of(2, 3), old, threshold=0.0, detections=3, overlap=1.1)
    assert len(labels) > 3
    assert labels.parents is None
