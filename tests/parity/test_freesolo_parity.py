"""Free Mask and Matrix NMS give what FreeSOLO's code gives (goldens/README.md says how)."""

import numpy as np
import pytest

pytest.importorskip("torch")

from record_freesolo import CASES, GOLDEN, HEIGHT, WIDTH, ours, overlapping

from cleave.ops.matrix_nms import matrix_nms

RECORDED = np.load(GOLDEN)


@pytest.mark.parametrize("case", range(CASES))
def test_the_masks_are_freesolos(case):
    masks = RECORDED[f"masks{case}"]
    expected = np.unpackbits(masks, axis=-1, count=WIDTH).astype(bool)
    assert expected.shape[1:] == (HEIGHT, WIDTH)
    assert len(expected) > 0
    found = ours(RECORDED[f"features{case}"])
    np.testing.assert_array_equal(found.masks, expected)
    np.testing.assert_allclose(found.scores, RECORDED[f"scores{case}"], atol=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_the_scores_are_those_of_their_matrix_nms(kernel):
    masks, scores, labels = overlapping()
    lowered = matrix_nms(masks, scores, labels, kernel=kernel)
    np.testing.assert_allclose(lowered, RECORDED[kernel], atol=1e-6)
    assert (lowered < 0.9 * scores).sum() > 5
