"""LOST and DINO-seg give the masks of the authors' code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_lost import GOLDEN, HEADS, MASS, SHAPE, scene_of
from record_reference import CHANNELS, GRID, unpack
from recording import GOLDENS

from cleave.masks.dino_seg import DinoSeg
from cleave.masks.lost import Lost
from cleave.ops.attention import keep_mass

RECORDED = np.load(GOLDEN)
SIGNS = np.unpackbits(np.load(GOLDENS / "cuts.npz")["signs"], axis=-1, count=CHANNELS)
SIGNS = SIGNS.astype(np.int8) * 2 - 1
ALL_ALIKE = 4  # of this set every patch resembles every other: the whole image, and no mask of ours


@pytest.mark.parametrize("case", range(len(SIGNS)))
def test_the_mask_and_its_box_are_losts(case):
    expected = unpack(RECORDED["lost"], (GRID, GRID))[case]
    ours = Lost()(scene_of(SIGNS[case]))
    assert expected.all() == (case == ALL_ALIKE)
    if case == ALL_ALIKE:
        assert len(ours) == 0
    else:
        np.testing.assert_array_equal(ours.masks, expected[None])
        np.testing.assert_array_equal(ours.boxes[0], RECORDED["boxes"][case])


@pytest.mark.parametrize("case", range(len(RECORDED["attention"])))
def test_the_attention_that_is_kept_is_dinos(case):
    attention = RECORDED["attention"][case].astype(np.float32)
    expected = unpack(RECORDED["whole"][case], SHAPE)
    np.testing.assert_array_equal(keep_mass(attention, MASS), expected)


@pytest.mark.parametrize("case", range(len(RECORDED["attention"])))
def test_the_box_of_each_head_is_losts(case):
    shown = scene_of(np.zeros((*SHAPE, 1)), RECORDED["attention"][case].astype(np.float32))
    for head in range(HEADS):
        ours = DinoSeg(head=head)(shown)
        np.testing.assert_array_equal(ours.boxes, RECORDED["largest"][case, head][None])
