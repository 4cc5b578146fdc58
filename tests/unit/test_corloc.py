"""CorLoc as LOST counts it."""

import numpy as np
import pytest

from cleave.benchmarks import corloc
from cleave.benchmarks.coco import CocoBenchmark
from cleave.benchmarks.truth import Truth
from cleave.types import MaskSet, Size

SIZE = Size(40, 40)


def truth(boxes, crowd=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    flags = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd)
    return Truth(SIZE, boxes, np.ones(len(boxes)), flags, ("",) * len(boxes), None)


def detection(x0, y0, x1, y1, score=1.0):
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}


def test_half_overlap_is_enough():
    labels = truth([[0, 0, 10, 10]])
    assert corloc.correct(labels, [detection(0, 0, 10, 5)])  # IoU .5 exactly
    assert not corloc.correct(labels, [detection(0, 0, 10, 4.99)])


def test_any_object_will_do_but_no_crowd():
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30]]
    assert corloc.correct(truth(boxes), [detection(20, 20, 30, 30)])
    assert not corloc.correct(truth(boxes, [False, True]), [detection(20, 20, 30, 30)])


def test_only_the_best_score_counts_and_the_first_of_equals():
    labels = truth([[0, 0, 10, 10]])
    hit, miss = detection(0, 0, 10, 10, 0.5), detection(20, 20, 30, 30, 0.6)
    assert not corloc.correct(labels, [hit, miss])
    miss["score"] = 0.5
    assert corloc.correct(labels, [hit, miss])
    assert not corloc.correct(labels, [miss, hit])


def test_no_detection_is_wrong_and_no_object_is_left_out():
    assert not corloc.correct(truth([[0, 0, 10, 10]]), [])
    assert corloc.counts(truth([[0, 0, 10, 10]]))
    assert not corloc.counts(truth([]))
    assert not corloc.counts(truth([[0, 0, 10, 10]], [True]))


def test_truth_is_rounded_to_whole_pixels():
    # unrounded: IoU 5.4 / 10.8 against 5.2 / 10.8
    assert corloc.correct(truth([[0.4, 0, 10.4, 10.4]]), [detection(0, 0, 10, 5)])
    assert not corloc.correct(truth([[0.6, 0, 10.6, 10.6]]), [detection(0, 0, 10, 5)])


@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_does_not_depend_on_the_scale_of_scores(scale):
    rng = np.random.default_rng(0)
    truths, predicted, scaled = {}, {}, {}
    for image in "abcdefgh":
        masks = np.zeros((3, *SIZE), bool)
        for mask in masks:
            y, x, height, width = rng.integers(1, 20, 4)
            mask[y : y + height, x : x + width] = True
        truths[image] = Truth.of_masks(SIZE, masks[:2], [""] * 2)
        predicted[image] = MaskSet(SIZE, masks, rng.random(3))
        scaled[image] = MaskSet(SIZE, masks, predicted[image].scores * scale)
    benchmark = CocoBenchmark(bootstrap=0)
    found = benchmark(truths, predicted)["CorLoc"]
    assert 0 < found < 100
    assert benchmark(truths, scaled)["CorLoc"] == found
