"""ops.boxes against a look at every place of the grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cleave.ops.boxes import CORNERS, bounds

GRIDS = array_shapes(min_dims=2, max_dims=2, max_side=7)
MASKS = arrays(bool, GRIDS)
NUMBERS = arrays(np.float64, GRIDS, elements=st.sampled_from([0.0, 0.25, 1.0]))


@given(st.one_of(MASKS, NUMBERS).filter(np.any))
def test_a_box_runs_from_the_first_to_the_last_place_along_either_axis(mask):
    places = [(r, c) for r in range(mask.shape[0]) for c in range(mask.shape[1]) if mask[r, c]]
    rows, columns = zip(*places, strict=True)
    assert bounds(mask) == (
        slice(min(rows), max(rows) + 1),
        slice(min(columns), max(columns) + 1),
    )
    assert mask[bounds(mask)].sum() == mask.sum()


def test_an_empty_mask_has_no_box():
    with pytest.raises(IndexError):
        bounds(np.zeros((3, 4), bool))


def test_corners_are_four_unless_the_grid_is_a_line():
    grid = np.arange(12).reshape(3, 4)
    assert grid[CORNERS].tolist() == [0, 3, 8, 11]
    assert grid[:1][CORNERS].tolist() == [0, 3, 0, 3]
