"""TokenCut gives the mask of the authors' code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_reference import CHANNELS, GRID, TAU, scene_of, unpack
from recording import GOLDENS

from cleave.masks.tokencut import TokenCut

CUTS = np.load(GOLDENS / "cuts.npz")
SIGNS = np.unpackbits(CUTS["signs"], axis=-1, count=CHANNELS).astype(np.int8) * 2 - 1


@pytest.mark.parametrize("case", range(len(SIGNS)))
def test_the_mask_is_tokencuts(case):
    expected = unpack(CUTS["tokencut"][case], (GRID, GRID))
    ours = TokenCut()(scene_of(SIGNS[case], TAU["tokencut"])).masks
    np.testing.assert_array_equal(ours, expected)
