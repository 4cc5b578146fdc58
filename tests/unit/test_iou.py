import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.ops import iou


def mask_iou_naive(a, b):
    out = np.zeros((len(a), len(b)))
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            union = np.logical_or(first, second).sum()
            out[i, j] = np.logical_and(first, second).sum() / union if union else 0
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_mask_iou_is_the_naive_twins(count_a, count_b, height, width, density, seed):
    rng = np.random.default_rng(seed)
    a = rng.random((count_a, height, width)) < density
    b = rng.random((count_b, height, width)) < density
    np.testing.assert_array_equal(iou.mask_iou(a, b), mask_iou_naive(a, b))


@pytest.mark.parametrize("pixels", [1, 7, 8, 63, 64, 65, 640])
def test_spare_bits_are_not_counted(pixels):
    masks = np.ones((2, 1, pixels), bool)
    assert (iou.mask_intersection(masks, masks) == pixels).all()


def test_masks_that_are_no_contiguous_array():
    masks = np.random.default_rng(0).random((20, 31, 4)) < 0.5
    a, b = np.moveaxis(masks, -1, 0), np.moveaxis(masks, -1, 0)[::-2]
    np.testing.assert_array_equal(iou.mask_iou(a, b), mask_iou_naive(a, b))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=5))
def test_box_iou_is_that_of_the_filled_boxes(corners):
    corners = np.array(corners)
    boxes = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
    )
    filled = np.zeros((len(boxes), 12, 12), bool)
    for mask, (x0, y0, x1, y1) in zip(filled, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    np.testing.assert_allclose(iou.box_iou(boxes, boxes), mask_iou_naive(filled, filled))


def test_box_iou_of_no_boxes():
    assert iou.box_iou(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6)])
def test_mask_iou_without_masks_or_pixels(shape):
    masks = np.zeros(shape, bool)
    assert iou.mask_iou(masks, masks).shape == (shape[0], shape[0])
