"""CocoBenchmark against pycocotools and self-tests of the protocol."""

from dataclasses import replace

import numpy as np
import pytest
from coco_twins import expected_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.benchmarks.coco import AP_CAP, CocoBenchmark
from cleave.benchmarks.matches import average_precision, average_recall, match
from cleave.benchmarks.truth import Truth
from cleave.io.coco import encode_annotations, read_masks, write_masks
from cleave.io.images import ImageRecord
from cleave.spec import ConfigError
from cleave.types import DataError, MaskSet, Size

SIZE = Size(120, 160)  # large enough for objects in all three size bins


def rectangles(rng, count, size=SIZE):
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        height, width = rng.integers(1, size.height + 1), rng.integers(1, size.width + 1)
        height, width = max(1, int(height * rng.random())), max(1, int(width * rng.random()))
        y, x = rng.integers(size.height - height + 1), rng.integers(size.width - width + 1)
        mask[y : y + height, x : x + width] = True
        mask[y, x] = rng.random() < 0.5 or height * width == 1
    return masks


def truth_of(masks, crowd=None):
    return Truth.of_masks(Size(*masks.shape[1:]), masks, ["thing"] * len(masks), crowd)


def shifted(rng, masks):
    """Detections near some of the objects, so that every IoU threshold decides something."""
    moved = [np.roll(mask, rng.integers(-9, 10, 2), (0, 1)) for mask in masks for _ in range(2)]
    return np.array(moved, bool).reshape(-1, *masks.shape[1:])


def random_case(seed, images=6, ties=False):
    """Truths and predictions with crowds, empty images on both sides, and all sizes."""
    rng = np.random.default_rng(seed)
    truths, predicted = {}, {}
    for i in range(images):
        masks = rectangles(rng, rng.integers(0, 6) if i else 4)
        truths[f"{i:03d}"] = truth_of(masks, rng.random(len(masks)) < 0.2)
        found = np.concatenate([shifted(rng, masks), rectangles(rng, 2)])
        found = found[rng.random(len(found)) < 0.7]
        if i == 1:
            continue  # an image that the method says nothing about
        scores = rng.integers(0, 4, len(found)) / 4 if ties else rng.random(len(found))
        predicted[f"{i:03d}"] = MaskSet(SIZE, found, scores.astype(float))
    return truths, predicted


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(seed, ties):
    truths, predicted = random_case(seed, ties=ties)
    found = CocoBenchmark(bootstrap=0)(truths, predicted)
    for kind in ("box", "mask"):
        expected = expected_scores(truths, predicted, kind)
        assert max(value or 0 for value in expected.values()) > 0
        for name, value in expected.items():
            if value is None:
                assert name not in found
            else:
                assert found[name] == pytest.approx(value, abs=1e-9)


def test_ap_stays_at_100_detections_when_more_are_asked_for():
    rng = np.random.default_rng(0)
    object_mask = np.zeros((1, *SIZE), bool)
    object_mask[:, 10:60, 10:60] = True
    noise = np.zeros((150, *SIZE), bool)
    noise[np.arange(150), 100, np.arange(150)] = True
    masks = np.concatenate([noise, object_mask])
    scores = np.append(1 + rng.random(150), 0.5)  # the only hit is the 151st of its image
    found = CocoBenchmark(bootstrap=0)(
        {"a": truth_of(object_mask)}, {"a": MaskSet(SIZE, masks, scores)}
    )
    assert (found["mask_AP"], found["mask_AR100"], found["mask_AR_M"]) == (0, 0, 0)
    assert found["mask_AR1000"] == 100


def test_perfect_predictions():
    """Section 7, 1: AP = AP50 = AR100 = 1, and a crowd-only image contributes nothing."""
    rng = np.random.default_rng(3)
    truths = {f"{i}": truth_of(rectangles(rng, 5)) for i in range(4)}
    predicted = {k: MaskSet(SIZE, t.masks, rng.random(5)) for k, t in truths.items()}
    found = CocoBenchmark(bootstrap=20)(truths, predicted)
    for name in ("AP", "AP50", "AR100", "best_iou"):
        for kind in ("box", "mask"):
            assert found[f"{kind}_{name}"] == pytest.approx(100)
            assert found[f"{kind}_{name}_low"] == pytest.approx(100)
    crowd = rectangles(rng, 1)
    truths["crowd"] = truth_of(crowd, [True])
    predicted["crowd"] = MaskSet(SIZE, crowd, np.ones(1))
    with_crowd = CocoBenchmark(bootstrap=0)(truths, predicted)
    for name in ("mask_AP", "box_AP50", "mask_AR100", "CorLoc", "objects", "mask_best_iou"):
        assert with_crowd[name] == pytest.approx(found[name])


def test_duplicates_of_lower_score_do_not_hurt():
    """Section 7, 2: one object and two duplicates ranked lower: AP50 = 1; ranked higher: 1/3."""
    mask = np.zeros((1, *SIZE), bool)
    mask[:, 10:50, 10:50] = True
    off = np.roll(mask, 39, 2)  # overlaps too little to hit
    truths = {"a": truth_of(mask)}
    three = np.concatenate([mask, mask, mask])
    found = CocoBenchmark(bootstrap=0)(
        truths, {"a": MaskSet(SIZE, three, np.array([0.9, 0.2, 0.1]))}
    )
    assert found["mask_AP50"] == pytest.approx(100)
    three = np.concatenate([mask, off, off])
    found = CocoBenchmark(bootstrap=0)(
        truths, {"a": MaskSet(SIZE, three, np.array([0.1, 0.2, 0.3]))}
    )
    assert found["mask_AP50"] == pytest.approx(100 / 3)


def test_150_objects_in_one_image():
    """Section 7, 3: AR100 = 100/150, AR1000 = 1."""
    masks = np.zeros((150, *SIZE), bool)
    for i in range(150):
        y, x = 8 * (i // 15), 10 * (i % 15)
        masks[i, y : y + 6, x : x + 8] = True
    found = CocoBenchmark(bootstrap=0)(
        {"a": truth_of(masks)}, {"a": MaskSet(SIZE, masks, np.linspace(1, 0, 150))}
    )
    for kind in ("box", "mask"):
        assert found[f"{kind}_AR100"] == pytest.approx(100 * 100 / 150)
        assert found[f"{kind}_AR1000"] == pytest.approx(100)
        assert found[f"{kind}_AR3"] == pytest.approx(100 * 3 / 150)
    assert found["masks_per_image"] == 150


def test_empty_predictions_score_zero():
    truths, _ = random_case(1)
    for predicted in ({}, {image: MaskSet.empty(SIZE) for image in truths}):
        found = CocoBenchmark(bootstrap=5)(truths, predicted)
        assert found["objects"] > 0
        for name, value in found.items():
            assert value == 0 or name in ("images", "objects"), name


def test_images_without_objects_cost_precision_and_images_without_masks_cost_recall():
    rng = np.random.default_rng(5)
    masks = rectangles(rng, 3)
    truths, predicted = {"a": truth_of(masks)}, {"a": MaskSet(SIZE, masks, np.full(3, 0.5))}
    alone = CocoBenchmark(bootstrap=0)(truths, predicted)
    empty = truth_of(np.zeros((0, *SIZE), bool))
    false_alarm = {**predicted, "b": MaskSet(SIZE, rectangles(rng, 2), np.full(2, 0.9))}
    noisy = CocoBenchmark(bootstrap=0)({**truths, "b": empty}, false_alarm)
    assert noisy["mask_AR100"] == alone["mask_AR100"]
    assert noisy["mask_AP"] < alone["mask_AP"]
    missed = CocoBenchmark(bootstrap=0)({**truths, "b": truths["a"]}, predicted)
    assert missed["mask_AR100"] == pytest.approx(alone["mask_AR100"] / 2)
    assert missed["CorLoc"] == pytest.approx(alone["CorLoc"] / 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_best_iou_equals_the_slow_way(seed):
    truths, predicted = random_case(seed, images=3)
    sums = {0.0: [], 0.01: []}
    for image, truth in truths.items():
        masks = predicted[image].masks if image in predicted else np.zeros((0, *SIZE), bool)
        for object_mask, crowd in zip(truth.masks, truth.crowd, strict=True):
            overlap = [(m & object_mask).sum() / (m | object_mask).sum() for m in masks]
            for share, values in sums.items():
                if not crowd and object_mask.mean() > share:
                    values.append(max(overlap, default=0.0))
    found = CocoBenchmark(bootstrap=0, iou_types=("mask",))(truths, predicted)
    for name, values in zip(("mask_best_iou", "mask_best_iou_1pct"), sums.values(), strict=True):
        if values:
            assert found[name] == pytest.approx(100 * np.mean(values))
        else:
            assert name not in found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_recall_of_large_objects_equals_the_slow_way(seed):
    truths, predicted = random_case(seed, images=3)
    hits, objects = 0, 0
    for image, truth in truths.items():
        large = [
            m for m, c in zip(truth.masks, truth.crowd, strict=True) if m.mean() > 0.01 and not c
        ]
        objects += len(large)
        if image not in predicted:
            continue
        order = np.argsort(-predicted[image].scores, kind="stable")[:3]
        for threshold in np.linspace(0.5, 0.95, 10):
            left = dict(enumerate(large))
            for mask in predicted[image].masks[order]:
                overlap = {k: (mask & m).sum() / (mask | m).sum() for k, m in left.items()}
                best = max(overlap, key=overlap.get, default=None)
                if best is not None and overlap[best] >= threshold:
                    del left[best]
                    hits += 1
    found = CocoBenchmark(bootstrap=0, iou_types=("mask",))(truths, predicted)
    if objects:
        assert found["mask_AR3_1pct"] == pytest.approx(100 * hits / 10 / objects)
    else:
        assert "mask_AR3_1pct" not in found


def test_what_is_small_takes_no_detection_from_a_large_object():
    """A mask that covers both is the large one's, also where it fits the small one better."""
    small, large = np.zeros((2, *SIZE), bool)
    small[0, 0] = True
    large[:4] = True
    truths = {"a": truth_of(np.stack([small, large]))}
    predicted = {"a": MaskSet(SIZE, np.stack([small, large]), np.array([0.9, 0.8]))}
    found = CocoBenchmark(bootstrap=0, iou_types=("mask",))(truths, predicted)
    assert small.mean() <= 0.01 < large.mean()
    assert found["mask_AR3_1pct"] == 100


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["box", "mask"]))
def test_weights_equal_a_written_out_resample(seed, kind):
    """AP and AR of counts are those of a data set in which images stand several times."""
    truths, predicted = random_case(seed)
    images = sorted(truths)
    weights = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6))
    copies = {f"{i}-{c}": i for i, count in zip(images, weights, strict=True) for c in range(count)}
    written = {copy: truths[image] for copy, image in copies.items()}
    found = {copy: predicted[image] for copy, image in copies.items() if image in predicted}
    expected = CocoBenchmark(bootstrap=0, iou_types=(kind,))(written, found)
    labels = [truths[image] for image in images]
    detections = [
        encode_annotations(predicted[image]) if image in predicted else [] for image in images
    ]
    matches = match(labels, detections, kind, 1000)
    precision = 100 * average_precision(matches, weights[None], AP_CAP)[0].mean(-1)
    recall = 100 * average_recall(matches, weights[None], 10)[0, 0].mean()
    for value, name in zip(
        [*precision, recall], ("AP", "AP_S", "AP_M", "AP_L", "AR10"), strict=True
    ):
        if np.isnan(value):
            assert f"{kind}_{name}" not in expected
        else:
            assert value == pytest.approx(expected[f"{kind}_{name}"], abs=1e-9)


def test_a_mask_file_scores_like_its_masks_without_decoding(tmp_path, monkeypatch):
    truths, predicted = random_case(2)
    predicted = {image: predicted.get(image, MaskSet.empty(SIZE)) for image in truths}
    records = [ImageRecord(i, "", *SIZE, n, "") for n, i in enumerate(truths)]
    made_by = {"spec": {}, "version": 1, "dataset": {}}
    write_masks(tmp_path / "masks.json", records, predicted, **made_by)
    file = read_masks(tmp_path / "masks.json")[1]
    expected = CocoBenchmark(bootstrap=9)(truths, predicted)
    monkeypatch.setattr("cleave.io.coco.decode_annotations", None)
    assert CocoBenchmark(bootstrap=9)(truths, file) == expected


def test_intervals_hold_the_value_and_depend_on_the_seed_alone():
    truths, predicted = random_case(4, images=12)
    benchmark = CocoBenchmark(bootstrap=200)
    found = benchmark(truths, predicted)
    for name in ("mask_AP50", "box_AR100", "mask_best_iou", "CorLoc", "masks_per_image"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    reordered = dict(sorted(truths.items(), reverse=True))
    assert benchmark(reordered, predicted) == found
    assert CocoBenchmark(bootstrap=200, seed=1)(truths, predicted) != found


def test_paired_differences():
    truths, predicted = random_case(4, images=12)
    worse = {image: masks[: len(masks) // 2] for image, masks in predicted.items()}
    benchmark = CocoBenchmark(bootstrap=200)
    better, poorer = benchmark.evaluate(truths, predicted), benchmark.evaluate(truths, worse)
    difference = better.minus(poorer)
    assert difference["mask_AR100"] == pytest.approx(
        better.scores["mask_AR100"] - poorer.scores["mask_AR100"]
    )
    # recall can only fall on every resample, which two unpaired intervals would not show
    assert difference["mask_AR100_low"] >= 0
    assert better.scores["mask_AR100_low"] < poorer.scores["mask_AR100_high"]
    assert set(better.minus(better).values()) == {0.0}
    few = {image: truths[image] for image in list(truths)[:3]}
    with pytest.raises(DataError, match="same images"):
        better.minus(benchmark.evaluate(few, {}))
    with pytest.raises(DataError, match="resamples"):
        better.minus(CocoBenchmark(bootstrap=7).evaluate(truths, worse))


def test_quality_names_the_images_with_objects():
    truths, predicted = random_case(0)
    result = CocoBenchmark(bootstrap=0).evaluate(truths, predicted)
    with_objects = {image for image, truth in truths.items() if not truth.crowd.all()}
    assert set(result.quality) == with_objects
    assert result.quality.get("001", 0.0) == 0.0  # nothing was predicted there


def test_refuses_what_cannot_be_scored():
    truths, predicted = random_case(0)
    with pytest.raises(DataError, match="an image without truth"):
        CocoBenchmark()(truths, {"elsewhere": MaskSet.empty(SIZE)})
    wrong = {"000": MaskSet(Size(2, 2), np.ones((1, 2, 2), bool), np.ones(1))}
    with pytest.raises(DataError, match="the truth has"):
        CocoBenchmark()(truths, wrong)
    boxes_only = {image: replace(truth, segmentations=None) for image, truth in truths.items()}
    with pytest.raises(DataError, match=r"iou_types: \[box\]"):
        CocoBenchmark()(boxes_only, predicted)
    boxes = CocoBenchmark(iou_types=("box",), bootstrap=0)
    assert boxes(boxes_only, predicted) == boxes(truths, predicted)
    with pytest.raises(DataError, match="no images"):
        CocoBenchmark()({}, {})
    with pytest.raises(ConfigError, match="COCO val2017"):
        CocoBenchmark(published="COCO val 2017")


def test_is_not_defined_without_an_object_of_the_size():
    masks = np.zeros((1, *SIZE), bool)
    masks[:, :100, :100] = True  # 10,000 pixels: large
    found = CocoBenchmark(bootstrap=10)({"a": truth_of(masks)}, {})
    assert found["mask_AP_L"] == 0
    assert not {name for name in found if name.startswith(("mask_AP_S", "mask_AR_M"))}


def test_labels_that_a_data_set_lacks_are_refused_before_anything_is_computed():
    CocoBenchmark().check_truth("masks")
    CocoBenchmark(iou_types=("box",), baselines=("centre_box",)).check_truth("boxes")
    with pytest.raises(ConfigError, match="no ground truth"):
        CocoBenchmark().check_truth(None)
    needed = r"boxes only; write iou_types: \[box\] and baselines: \[whole_image, centre_box\]"
    with pytest.raises(ConfigError, match=needed):
        CocoBenchmark().check_truth("boxes")
    with pytest.raises(ConfigError, match=r"write baselines: \[\]$"):
        CocoBenchmark(iou_types=("box",), baselines=("patch_truth",)).check_truth("boxes")
    with pytest.raises(ConfigError, match=r"write iou_types: \[box\]$"):
        CocoBenchmark(iou_types=("mask",), baselines=()).check_truth("boxes")


def test_images_matched_and_resampled_a_few_at_a_time_score_the_same(monkeypatch):
    truths, predicted = random_case(5, images=7, ties=True)
    whole = CocoBenchmark(bootstrap=20)(truths, predicted)
    monkeypatch.setattr("cleave.benchmarks.coco._IMAGES", 2)
    monkeypatch.setattr("cleave.benchmarks.matches._CHUNK", 64)
    assert CocoBenchmark(bootstrap=20)(truths, predicted) == whole
