"""The benchmark of instance-ness against a slow twin, and on images made by hand."""

import itertools
import logging

import numpy as np
import pytest

from cleave.benchmarks.instanceness import Instanceness
from cleave.benchmarks.truth import Truth
from cleave.io.coco import write_results
from cleave.io.images import ImageRecord
from cleave.io.results import ResultFile
from cleave.spec import ConfigError
from cleave.types import DataError, MaskSet, Size

SIZE = Size(20, 30)


def block(top, left, height=4, width=4):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def truth(masks, names, crowd=None):
    return Truth.of_masks(SIZE, np.array(masks).reshape(-1, *SIZE), names, crowd)


def found(masks, labels=None, scores=None):
    masks = np.array(masks, bool).reshape(-1, *SIZE)
    return MaskSet(
        SIZE,
        masks,
        np.ones(len(masks)) if scores is None else np.array(scores, float),
        labels=None if labels is None else np.array(labels),
    )


def scores_of(truths, predicted, **fields):
    return Instanceness(bootstrap=0, **fields)(truths, predicted)


DOGS = [block(2, 2), block(2, 10), block(10, 10)]


def test_objects_are_split_by_how_many_of_their_class_there_are():
    truths = {"a": truth(DOGS, ["dog", "dog", "cat"])}
    scores = scores_of(truths, {"a": found([DOGS[0], DOGS[2]], [3, 3])})
    assert (scores["objects_single"], scores["objects_multi"], scores["objects"]) == (1, 2, 3)
    assert scores["recall50_single_k3"] == 100
    assert scores["recall50_multi_k3"] == 50


def test_a_crowd_of_the_class_is_company_but_no_object():
    crowd = np.array([False, True])
    scores = scores_of({"a": truth(DOGS[:2], ["dog", "dog"], crowd)}, {"a": found(DOGS[:1])})
    assert (scores["objects_single"], scores["objects_multi"]) == (0, 1)
    assert scores["recall50_multi"] == 100
    assert "recall50_single" not in scores  # of nothing there is no recall
    other = scores_of({"a": truth(DOGS[:2], ["dog", ""], crowd)}, {"a": found(DOGS[:1])})
    assert other["objects_single"] == 1


def test_one_segment_over_two_of_a_class_is_a_merge_and_over_two_classes_is_not():
    both = [DOGS[0] | DOGS[1]]
    merged = scores_of({"a": truth(DOGS[:2], ["dog", "dog"])}, {"a": found(both, [2])})
    assert merged["merge_error_k2"] == 100
    apart = scores_of({"a": truth(DOGS[:2], ["dog", "dog"])}, {"a": found(DOGS[:2], [2, 2])})
    assert apart["merge_error_k2"] == 0
    classes = scores_of({"a": truth(DOGS[:2], ["dog", "cat"])}, {"a": found(both, [2])})
    assert "merge_error_k2" not in classes


def test_pairs_that_no_mask_meets_say_nothing_about_merging():
    dogs = {"a": truth(DOGS[:2], ["dog", "dog"])}
    far = scores_of(dogs, {"a": found([block(16, 20)], [2])})
    assert "merge_error_k2" not in far
    # The pair that begins with the other is out.
    one = scores_of(dogs, {"a": found([DOGS[0]], [2])})
    assert one["merge_error_k2"] == 0


def test_half_of_the_second_object_is_covered():
    half = [DOGS[0] | block(2, 10, 2, 4)]
    dogs = {"a": truth(DOGS[:2], ["dog", "dog"])}
    assert scores_of(dogs, {"a": found(half, [2])})["merge_error_k2"] == 100
    strict = scores_of(dogs, {"a": found(half, [2])}, covered=0.51)
    # Of the second, whose best mask it is too, all of the first.
    assert strict["merge_error_k2"] == 50


def test_the_best_k_is_chosen_on_the_data_set_and_the_merge_error_is_that_of_it():
    truths = {"a": truth(DOGS[:2], ["dog", "dog"]), "b": truth(DOGS[:2], ["dog", "dog"])}
    whole = DOGS[0] | DOGS[1]
    first = found([whole, DOGS[0], DOGS[1]], [2, 5, 5])
    second = found([DOGS[0], whole], [2, 5])
    scores = scores_of(truths, {"a": first, "b": second})
    assert scores["recall50_multi_k2"] == 75  # the whole holds half of itself of either dog
    assert scores["recall50_multi_k5"] == 100
    assert scores["recall50_multi"] == 100
    assert scores["merge_error"] == scores["merge_error_k5"] == 50


def test_without_labels_all_masks_are_one_set():
    scores = scores_of({"a": truth(DOGS[:2], ["dog", "dog"])}, {"a": found(DOGS[:2])})
    assert scores["recall50_multi"] == 100
    assert scores["merge_error"] == 0
    assert not [name for name in scores if "_k" in name]


def two_animals():
    return {"a": truth([block(2, 2, 8, 8), block(12, 20)], ["dog", "cat"])}


class TestSaliency:
    def test_it_is_the_union_of_what_scores_above_a_half_at_two_clusters(self):
        parts = [block(2, 2, 4, 8), block(6, 2, 4, 8), block(0, 0, 20, 30), block(12, 20)]
        masks = found(parts, [2, 2, 2, 3], [0.9, 0.9, 0.1, 1.0])
        scores = scores_of(two_animals(), {"a": masks})
        assert scores["saliency_iou"] == 100
        assert scores["saliency_CorLoc"] == 100

    def test_it_is_compared_with_the_largest_object_and_its_box_with_any(self):
        scores = scores_of(two_animals(), {"a": found([block(12, 20)], [2], [0.9])})
        assert scores["saliency_iou"] == 0
        assert scores["saliency_CorLoc"] == 100

    def test_without_masks_of_that_k_it_is_not_defined(self):
        scores = scores_of(two_animals(), {"a": found([block(2, 2)], [3])})
        assert not [name for name in scores if name.startswith("saliency")]
        assert scores_of(two_animals(), {"a": found([block(2, 2, 8, 8)], [3])}, saliency_k=3)[
            "saliency_iou"
        ]

    def test_without_labels_it_is_the_best_mask(self):
        masks = found([block(12, 20), block(2, 2, 8, 8)], None, [0.4, 0.6])
        assert scores_of(two_animals(), {"a": masks})["saliency_iou"] == 100

    def test_nothing_salient_is_a_miss(self):
        masks = found([block(2, 2, 8, 8)], [2], [0.5])
        assert scores_of(two_animals(), {"a": masks})["saliency_iou"] == 0


def naive(truths, predicted, k):
    """Hits by split, their averages over thresholds, and merges: pixel by pixel."""
    hits = {name: [] for name in ("single", "multi")}
    pairs = []
    for image, labelled in truths.items():
        masks = [
            mask
            for mask, label in zip(predicted[image].masks, predicted[image].labels, strict=True)
            if label == k
        ]
        things = [
            (mask, name)
            for mask, name, crowd in zip(
                labelled.masks, labelled.categories, labelled.crowd, strict=True
            )
            if not crowd
        ]
        best = []
        for mask, name in things:
            ious = [(m & mask).sum() / (m | mask).sum() for m in masks]
            best.append((max(ious, default=0), masks[int(np.argmax(ious))] if masks else None))
            alone = sum(other == name for other in labelled.categories) == 1
            hits["single" if alone else "multi"].append(best[-1][0])
        for (i, (_, one)), (_, (second, other)) in itertools.permutations(enumerate(things), 2):
            if one == other and best[i][0] > 0:
                pairs.append((best[i][1] & second).sum() / second.sum() >= 0.5)
    return hits, pairs


def random_images(seed, count=6):
    rng = np.random.default_rng(seed)

    def blocks(number):
        return [block(*rng.integers(0, 14, 2), *rng.integers(2, 9, 2)) for _ in range(number)]

    truths, predicted = {}, {}
    for image in map(str, range(count)):
        number = int(rng.integers(0, 6))
        names = rng.choice(["dog", "cat", "cow"], number).tolist()
        things = blocks(number)
        truths[image] = truth(things, names, rng.random(number) < 0.2)
        near = [np.roll(thing, rng.integers(-1, 2, 2), (0, 1)) for thing in things] + blocks(3)
        predicted[image] = found(near, rng.choice([2, 3, 7], len(near)))
    return truths, predicted


@pytest.mark.parametrize("seed", range(6))
def test_every_k_is_the_naive_twin(seed):
    truths, predicted = random_images(seed)
    scores = scores_of(truths, predicted)
    thresholds = np.linspace(0.5, 0.95, 10)
    for k in (2, 3, 7):
        hits, pairs = naive(truths, predicted, k)
        for split, best in hits.items():
            best = np.array(best)
            assert scores[f"recall50_{split}_k{k}"] == pytest.approx(100 * (best >= 0.5).mean())
            mean = 100 * (best[:, None] >= thresholds).mean()
            assert scores[f"recall_{split}_k{k}"] == pytest.approx(mean)
        if pairs:
            assert scores[f"merge_error_k{k}"] == pytest.approx(100 * np.mean(pairs))
    for name in ("recall50_single", "recall50_multi", "recall_multi"):
        assert scores[name] == max(scores[f"{name}_k{k}"] for k in (2, 3, 7))


def test_intervals_come_with_every_metric():
    truths, predicted = random_images(1, 20)
    scores = Instanceness(bootstrap=200)(truths, predicted)
    for name in ("recall50_multi_k2", "merge_error_k3", "recall50_multi", "saliency_iou"):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]


def test_the_quality_of_an_image_is_that_of_all_its_masks():
    truths = {"a": truth(DOGS[:2], ["dog", "dog"]), "b": truth([], [])}
    result = Instanceness(bootstrap=0).evaluate(truths, {"a": found(DOGS[:2], [2, 3])})
    assert result.quality == {"a": 100.0}


def test_a_data_set_of_boxes_is_refused_with_what_would_do():
    with pytest.raises(ConfigError, match=r"boxes only.*with masks"):
        Instanceness().check_truth("boxes")


def test_masks_of_another_size_are_refused():
    wrong = MaskSet(Size(5, 5), np.ones((1, 5, 5), bool), np.ones(1))
    with pytest.raises(DataError, match="size"):
        scores_of({"a": truth(DOGS, ["dog"] * 3)}, {"a": wrong})


def test_predictions_keep_the_number_of_clusters(tmp_path):
    path, record = tmp_path / "predictions.json", ImageRecord("a", "a.png", 20, 30, 7, "")
    masks = found(DOGS, [2, 3, 3])
    write_results(path, [record], [("a", masks)])
    read = ResultFile(path, [record])
    np.testing.assert_array_equal(read["a"].labels, masks.labels)
    truths = {"a": truth(DOGS, ["dog"] * 3)}
    assert scores_of(truths, read) == scores_of(truths, {"a": masks})


def test_one_class_for_all_is_said(caplog):
    with caplog.at_level(logging.WARNING, "cleave"):
        scores_of({"a": truth(DOGS[:2], ["fg", "fg"])}, {"a": found(DOGS[:2])})
        assert "one class ('fg')" in caplog.text
        caplog.clear()
        scores_of({"a": truth(DOGS[:2], ["dog", "cat"])}, {"a": found(DOGS[:2])})
        assert not caplog.text
