"""Deep Spectral Methods give the regions of the authors' code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_deep_spectral import GOLDEN, PAIRS, WEIGHTS, ours, partition, scene_of
from record_reference import CHANNELS, GRID, unpack
from recording import GOLDENS

from cleave.masks.deep_spectral import DeepSpectral
from cleave.ops.laplacian import laplacian_pairs

RECORDED = np.load(GOLDEN)
SIGNS = np.unpackbits(np.load(GOLDENS / "cuts.npz")["signs"], axis=-1, count=CHANNELS)
SIGNS = SIGNS.astype(np.int8) * 2 - 1


@pytest.mark.parametrize("case", range(0, len(SIGNS), 2))
@pytest.mark.parametrize("weight", range(len(WEIGHTS)))
def test_regions_and_boxes_are_the_authors(weight, case):
    found = ours(SIGNS[case], RECORDED["pixels"], WEIGHTS[weight])
    single = unpack(RECORDED["single"][weight], (GRID, GRID))[case]
    np.testing.assert_array_equal(found["single"], single)
    np.testing.assert_array_equal(found["box"], RECORDED["box"][weight, case])
    for name in ("adaptive", "four"):
        assert found[name] == partition(RECORDED[name][weight, case])


@pytest.mark.parametrize("case", range(0, len(SIGNS), 4))
@pytest.mark.parametrize("weight", range(len(WEIGHTS)))
def test_eigenvalues_are_the_authors(weight, case):
    shown = scene_of(SIGNS[case], RECORDED["pixels"])
    weights = DeepSpectral(colour_weight=WEIGHTS[weight])._weights(shown)
    values = laplacian_pairs(weights, PAIRS - 1).values
    np.testing.assert_allclose(values, RECORDED["values"][weight, case, 1:], atol=1e-5)
