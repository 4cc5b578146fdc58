"""The conquer stage gives the regions and masks of UnSAM's code (goldens/README.md says how)."""

import numpy as np
import pytest
from record_unsam import SEEDS, SIDE, THRESHOLDS, ours, same_masks
from recording import GOLDENS

from cleave.ops.hierarchy import levels, merge_regions

GOLDEN = np.load(GOLDENS / "unsam.npz")
FEATURES = GOLDEN["features"]
GIVEN = np.unpackbits(GOLDEN["given"], axis=-1, count=SIDE).astype(bool)
MASKS = np.split(
    np.unpackbits(GOLDEN["masks"], axis=-1, count=SIDE).astype(bool),
    np.cumsum(GOLDEN["counts"])[:-1],
)
CASES = range(len(SEEDS))


@pytest.mark.parametrize("case", CASES)
def test_regions_are_unsams(case):
    """The reference leaves out a threshold without a region; the golden has it as the last."""
    found = levels(merge_regions(FEATURES[case], lowest=THRESHOLDS[-1]), THRESHOLDS)
    found = [labels for labels in found if labels.any()]
    expected = GOLDEN["labels"][case]
    np.testing.assert_array_equal(found, expected[: len(found)])
    assert not expected[len(found) :].any()


@pytest.mark.parametrize("case", CASES)
def test_masks_are_unsams(case):
    """Up to the order among equal areas, which the reference takes from a set."""
    assert len(MASKS[case]) > 4
    assert same_masks(ours(FEATURES[case], GIVEN[case]), MASKS[case])


@pytest.mark.parametrize(
    "changed",
    [
        {"minimum_patches": 5},
        {"coverage": 0.8},
        {"overlap": 0.7},
        {"window": None},
        {"within": "mask"},
        {"thresholds": (0.6, 0.5, 0.4, 0.3, 0.2)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_goldens_would_notice_a_changed_rule(changed):
    found = [ours(FEATURES[case], GIVEN[case], **changed) for case in CASES]
    assert not all(map(same_masks, found, MASKS))
