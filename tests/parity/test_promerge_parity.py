"""ProMerge gives the masks of the authors' code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_promerge import CHANNELS, GRID, SETS, ours
from record_reference import unpack
from recording import GOLDENS

RECORDED = np.load(GOLDENS / "promerge.npz")
SIGNS = np.unpackbits(RECORDED["signs"], axis=-1, count=CHANNELS).astype(np.int8) * 2 - 1


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("case", range(len(SIGNS)))
def test_the_masks_are_promerges(case, name):
    counts = RECORDED[f"{name}_counts"]
    masks = unpack(RECORDED[name], (GRID, GRID))
    expected = np.split(masks, np.cumsum(counts)[:-1])[case]
    np.testing.assert_array_equal(ours(SIGNS[case], SETS[name]), expected)


def test_there_is_something_to_compare():
    assert RECORDED["published_counts"].sum() > 30
    assert (RECORDED["published_counts"] == 0).any()  # the background is all there is
    assert (RECORDED["published_counts"] != RECORDED["other_counts"]).any()
