"""benchmarks.baselines: guesses that look at nothing, ceilings that know the truth."""

import json

import numpy as np
import pytest

from cleave.benchmarks import baselines, truth
from cleave.benchmarks.coco import CocoBenchmark
from cleave.config import BASELINES
from cleave.datasets.scenes import Scenes
from cleave.io.images import ImageRecord, ImageShard
from cleave.ops import rle
from cleave.spec import ConfigError
from cleave.types import Size

GRID = Size(12, 16)
SHARD = Scenes(flavour="control", count=3, first_seed=40, height=96, width=128).list(0)


@pytest.fixture
def squares(tmp_path):
    """One photo of four boxes on the patch grid, and a crowd that covers the rest."""
    masks = np.zeros((5, 96, 128), bool)
    corners = [(8, 8, 32), (8, 88, 24), (56, 8, 24), (56, 80, 40)]
    for mask, (y, x, width) in zip(masks[:4], corners, strict=True):
        mask[y : y + 32, x : x + width] = True
    masks[4] = ~masks[:4].any(0)
    annotations = [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": rle.encode(mask),
            "bbox": [0, 0, 1, 1],
            "area": int(mask.sum()),
            "iscrowd": int(i == 4),
        }
        for i, mask in enumerate(masks)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": 96, "width": 128}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": [image], "annotations": annotations}))
    record = ImageRecord("a", "a.jpg", 96, 128, 1, "")
    return ImageShard({"kind": "coco", "annotations": str(path)}, (record,)), masks


def test_the_config_offers_exactly_these():
    assert sorted(BASELINES) == sorted(baselines.DESCRIPTIONS)
    assert set(CocoBenchmark().baselines) == set(baselines.DESCRIPTIONS)


@pytest.mark.parametrize("size", [Size(480, 640), Size(1, 1), Size(3, 200), Size(101, 77)])
def test_boxes_have_the_share_and_the_middle(size):
    whole = baselines.centre_box(size, 1.0)
    assert whole.masks.all()
    found = baselines.centre_box(size, 0.5)
    (x0, y0, x1, y1) = found.boxes[0]
    assert abs((x0 + x1) - size.width) <= 1
    assert abs((y0 + y1) - size.height) <= 1
    assert found.areas[0] == (x1 - x0) * (y1 - y0)
    # each side is off by half a pixel at most
    assert abs(found.areas[0] - 0.5 * size.height * size.width) <= 0.5 * sum(size) + 1


def test_guesses_need_no_truth():
    records = (ImageRecord("a", "a.jpg", 6, 8, 1, ""),)
    shard = ImageShard({"kind": "folder", "root": "x"}, records)
    for name in ("centre_box", "whole_image"):
        ((image_id, found),) = baselines.predict(name, shard)
        assert (image_id, found.size, len(found)) == ("a", (6, 8), 1)
    with pytest.raises(ConfigError, match="no ground truth"):
        list(baselines.predict("patch_truth", shard))


def test_truth_on_a_fine_grid_is_the_truth(squares):
    shard, masks = squares
    ((_, found),) = baselines.predict("patch_truth", shard, grid=GRID)
    np.testing.assert_array_equal(found.masks, masks[:4])  # and no crowd


def test_truth_on_a_coarse_grid_loses_what_covers_less_than_half_a_patch(squares):
    shard, _ = squares
    ((_, found),) = baselines.predict("patch_truth", shard, grid=Size(2, 2))
    assert len(found) == 0
    ((_, found),) = baselines.predict("patch_truth", shard, grid=Size(3, 4))
    labels = truth.load(shard)["a"]
    for mask in found.masks:
        share = mask.reshape(3, 32, 4, 32).mean((1, 3))
        assert set(np.unique(share)) <= {0.0, 1.0}
    assert len(found) == sum(
        (mask.reshape(3, 32, 4, 32).mean((1, 3)) >= 0.5).any() for mask in labels.masks[:4]
    )


def test_one_hot_names_the_object_that_covers_most(squares):
    shard, masks = squares
    found = baselines.one_hot(truth.load(shard)["a"], GRID)
    assert found.shape == (12, 16, 5)
    np.testing.assert_array_equal(found.sum(2), 1)
    shares = masks.reshape(5, 12, 8, 16, 8).mean((2, 4))
    names = np.concatenate([shares[4:], shares[:4]]).argmax(0)  # the crowd is background
    np.testing.assert_array_equal(found.argmax(2), names)


def test_ideal_features_give_the_truth_as_far_as_the_method_goes(squares):
    """MaskCut makes three cuts: three of the four boxes, patch for patch."""
    shard, masks = squares
    ((_, found),) = baselines.predict("ideal_features", shard, grid=GRID)
    boxes = {mask.tobytes() for mask in masks[:4]}
    assert len(found) == 3
    assert len({mask.tobytes() for mask in found.masks} & boxes) == 3


def test_ceilings_lie_above_guesses_on_scenes():
    truths = truth.load(SHARD)
    benchmark = CocoBenchmark(bootstrap=0)
    best = {
        name: benchmark(truths, dict(baselines.predict(name, SHARD, grid=GRID)))
        for name in baselines.DESCRIPTIONS
    }
    for metric in ("mask_best_iou", "mask_AR100"):
        guesses = max(best[name][metric] for name in ("whole_image", "centre_box"))
        assert best["patch_truth"][metric] > best["ideal_features"][metric] > guesses


def test_ideal_features_do_not_depend_on_the_turn():
    whole = dict(baselines.predict("ideal_features", SHARD, grid=GRID))
    last = ImageShard(SHARD.spec, SHARD.records[-1:])
    for image_id, found in baselines.predict("ideal_features", last, grid=GRID):
        np.testing.assert_array_equal(found.masks, whole[image_id].masks)


def test_refuses_what_it_cannot_feed():
    with pytest.raises(ConfigError, match="did you mean 'centre_box'"):
        list(baselines.predict("center_box", SHARD))
    with pytest.raises(ConfigError, match="needs depth, graph"):
        list(baselines.predict("ideal_features", SHARD, masks={"kind": "cleave3d"}))
    with pytest.raises(ConfigError, match="refine must be none"):
        list(baselines.predict("ideal_features", SHARD, masks={"kind": "maskcut"}))


@pytest.mark.parametrize("name", ["patch_truth", "ideal_features"])
def test_ceilings_of_boxes_alone_are_refused(squares, name):
    shard, _ = squares
    boxes = ImageShard({**shard.spec, "truth": "boxes"}, shard.records)
    with pytest.raises(ConfigError, match=f"baselines: {name} needs masks, .* boxes only"):
        list(baselines.predict(name, boxes))
    assert len(list(baselines.predict("centre_box", boxes))) == 1
