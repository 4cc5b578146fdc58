"""The bilateral solver gives the masks of TokenCut's code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_bilateral import GOLDEN, SIDES, inputs
from record_reference import unpack

from cleave.ops.bilateral import bilateral_grid, bilateral_solver, bilateral_system, solve

RECORDED = np.load(GOLDEN)


@pytest.mark.parametrize("case", range(len(SIDES)))
def test_soft_and_binary_masks_are_tokencuts(case):
    pixels, masks = inputs()
    spatial, luma, chroma = SIDES[case]
    grid = bilateral_grid(pixels, spatial, luma, chroma)
    system = bilateral_system(grid, smoothness=256, confidence=0.999)
    filtered = bilateral_solver(pixels, spatial=spatial, luma=luma, chroma=chroma)
    after = unpack(RECORDED["after"][case], masks.shape[1:])
    for index, mask in enumerate(masks):
        soft = solve(grid, system, 0.999 * mask, 0.999)
        np.testing.assert_allclose(soft, RECORDED["soft"][case, index], atol=1e-3)
        np.testing.assert_array_equal(filtered(mask), after[index])
        assert not np.array_equal(after[index], mask)
