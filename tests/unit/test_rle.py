import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from cleave.ops import rle
from cleave.types import DataError


def runs_naive(mask):
    """Run lengths down the columns, background first."""
    lengths, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


def random_mask(height, width, block, density, seed):
    coarse = np.random.default_rng(seed).random((height, width)) < density
    return coarse.repeat(block, 0).repeat(block, 1)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.integers(0, 999)
)
@example(1, 1, 1, 0.0, 0)
@example(1, 1, 1, 1.0, 0)
def test_masks_come_back(height, width, block, density, seed):
    mask = random_mask(height, width, block, density, seed)
    packed = rle.encode(mask)
    assert packed["size"] == list(mask.shape)
    assert rle.runs(packed["counts"]).tolist() == runs_naive(mask)
    np.testing.assert_array_equal(rle.decode(packed), mask)
    expected = coco.decode({**packed, "counts": packed["counts"].encode()})
    np.testing.assert_array_equal(rle.decode(packed), expected)


def test_a_run_as_long_as_an_image():
    mask = np.zeros((5000, 4000), bool)
    mask[4999, 3999] = True
    assert rle.runs(rle.encode(mask)["counts"]).tolist() == [5000 * 4000 - 1, 1]


def test_every_text_that_was_cut_short_is_refused():
    packed = rle.encode(random_mask(9, 7, 5, 0.5, 3))
    for length in range(len(packed["counts"])):
        with pytest.raises(DataError, match="RLE"):
            rle.decode({**packed, "counts": packed["counts"][:length]})


@pytest.mark.parametrize(
    "counts", ["", "~~", " 1", "o" * 20 + "0", "0é", "01O1", [3, 2], b"05", None], ids=repr
)
def test_garbage_is_refused(counts):
    with pytest.raises(DataError, match="RLE"):
        rle.decode({"size": [5, 5], "counts": counts})


@pytest.mark.parametrize("broken", [{"counts": "05"}, {"size": [5], "counts": "05"}, {"size": 3}])
def test_a_mapping_that_is_no_rle_is_refused(broken):
    with pytest.raises(DataError, match="RLE"):
        rle.decode(broken)
