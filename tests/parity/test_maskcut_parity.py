"""MaskCut and the dense CRF give the masks of CutLER's code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_reference import CHANNELS, GRID, TAU, scene_of, unpack
from recording import GOLDENS

from cleave.masks.maskcut import MaskCut
from cleave.ops.refine import dense_crf

CUTS = np.load(GOLDENS / "cuts.npz")
SIGNS = np.unpackbits(CUTS["signs"], axis=-1, count=CHANNELS).astype(np.int8) * 2 - 1


def masks_of(method, signs):
    return method(scene_of(signs, TAU["maskcut"])).masks


@pytest.mark.parametrize("case", range(len(SIGNS)))
def test_masks_are_cutlers(case):
    expected = unpack(CUTS["maskcut"][case], (GRID, GRID))
    ours = masks_of(MaskCut(refine="none"), SIGNS[case])
    np.testing.assert_array_equal(ours, expected[expected.any((1, 2))])


@pytest.mark.parametrize(
    "changed",
    [{"small": 0.0}, {"overlap": 1.0}, {"compare": "all"}, {"max_masks": 2}],
    ids=lambda changed: next(iter(changed)),
)
def test_the_goldens_would_notice_a_changed_rule(changed):
    changed_masks = [masks_of(MaskCut(refine="none", **changed), signs) for signs in SIGNS]
    published = [masks_of(MaskCut(refine="none"), signs) for signs in SIGNS]
    assert not all(map(np.array_equal, changed_masks, published))


def test_dense_crf_is_cutlers():
    pytest.importorskip("pydensecrf", reason="the CRF is an extra: pip install pydensecrf2")
    golden = np.load(GOLDENS / "crf.npz")
    shape = golden["pixels"].shape[:2]
    infer = dense_crf(golden["pixels"])
    ours = np.stack([infer(mask) for mask in unpack(golden["before"], shape)])
    expected = unpack(golden["after"], shape)
    assert (expected != unpack(golden["before"], shape)).any((1, 2)).all()
    np.testing.assert_array_equal(ours, expected)
