"""MaskDistill's initial mask is that of the authors' code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_maskdistill import CHANNELS, GRID, VARIANTS, ours
from record_reference import unpack
from recording import GOLDENS

RECORDED = np.load(GOLDENS / "maskdistill.npz")
SIGNS = np.unpackbits(RECORDED["signs"], axis=-1, count=CHANNELS).astype(np.int8) * 2 - 1


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("case", range(len(SIGNS)))
def test_the_mask_is_maskdistills(case, name):
    expected = unpack(RECORDED[name], (GRID, GRID))[case]
    found = ours(SIGNS[case], RECORDED["queries"][case], *VARIANTS[name])
    np.testing.assert_array_equal(found, [expected])


def test_the_codes_choices_change_masks():
    paper, code = (RECORDED[name] for name in VARIANTS)
    assert (paper != code).any(1).sum() >= 3
