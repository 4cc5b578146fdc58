"""The COCO format as LVIS, Objects365 and UVO write it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as coco_mask

from cleave.benchmarks import truth
from cleave.benchmarks.coco import CocoBenchmark
from cleave.datasets.coco import Coco
from cleave.types import MaskSet, Size

SIZE = Size(30, 40)


def write(tmp_path, images, annotations, **fields):
    """A data set of photos and annotations; the path of a photo is what its entry says."""
    for i, image in enumerate(images):
        name = image.get("file_name") or "/".join(image["coco_url"].split("/")[-2:])
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.new("RGB", (40, 30), (50 * i, 0, 0)).save(path)
    entries = [image | {"height": 30, "width": 40} for image in images]
    content = {"images": entries, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "a"}, {"id": 1203, "name": "zucchini"}]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return Coco(images=str(tmp_path / "images"), annotations=str(tmp_path / "truth.json"), **fields)


def lvis(number, image, polygon, category=1203):
    x, y = polygon[0::2], polygon[1::2]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": [polygon],
        "bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)],
        "area": (max(x) - min(x)) * (max(y) - min(y)),
    }


SQUARE = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]
OTHER = [20.0, 10.0, 35.0, 10.0, 35.0, 25.0, 20.0, 25.0]


def test_lvis_names_its_photos_by_url_and_spreads_them_over_two_folders(tmp_path):
    images = [
        {"id": 30, "coco_url": "http://images.cocodataset.org/train2017/000000000030.jpg"},
        {"id": 285, "coco_url": "http://images.cocodataset.org/val2017/000000000285.jpg"},
    ]
    partly = {"not_exhaustive_category_ids": [1203], "neg_category_ids": [1]}
    dataset = write(tmp_path, [image | partly for image in images], [lvis(1, 30, SQUARE)])
    shard = dataset.list(0)
    assert [record.path for record in shard.records] == [
        "train2017/000000000030.jpg",
        "val2017/000000000285.jpg",
    ]
    found = truth.load(shard)
    assert [len(labels) for labels in found.values()] == [1, 0]
    assert not found["train2017/000000000030"].crowd.any()  # LVIS has no crowds
    assert found["train2017/000000000030"].categories == ("zucchini",)


def test_lvis_is_not_scored_as_federated(tmp_path):
    """What nobody labelled is wrong, also where the labels of its class are not exhaustive."""
    url = "http://images.cocodataset.org/val2017/000000000285.jpg"
    image = {"id": 285, "coco_url": url, "not_exhaustive_category_ids": [1203]}
    found = truth.load(write(tmp_path, [image], [lvis(1, 285, SQUARE)]).list(0))
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:25, 20:35] = masks[1, 5:15, 5:15] = True
    predicted = {"val2017/000000000285": MaskSet(SIZE, masks, np.array([0.9, 0.8]))}
    scores = CocoBenchmark(bootstrap=0)(found, predicted)
    assert scores["box_AP50"] == scores["mask_AP50"] == pytest.approx(50)
    assert scores["mask_AR100"] == 100


def test_no_more_than_a_hundred_detections_count(tmp_path):
    url = "http://images.cocodataset.org/val2017/000000000285.jpg"
    found = truth.load(
        write(tmp_path, [{"id": 285, "coco_url": url}], [lvis(1, 285, SQUARE)]).list(0)
    )
    masks = np.zeros((101, *SIZE), bool)
    masks[:100, 10:25, 20:35] = masks[100, 5:15, 5:15] = True
    predicted = {"val2017/000000000285": MaskSet(SIZE, masks, np.linspace(1, 0.1, 101))}
    scores = CocoBenchmark(bootstrap=0)(found, predicted)
    assert scores["box_AP"] == scores["mask_AR100"] == 0
    assert scores["mask_AR1000"] == 100


def test_objects365_has_patches_boxes_and_crowds(tmp_path):
    images = [
        {"id": 908726, "file_name": "images/v2/patch16/objects365_v2_00908726.jpg"},
        {"id": 420917, "file_name": "images/v1/patch8/objects365_v1_00420917.jpg"},
    ]
    box = {"category_id": 1, "bbox": [5.5, 5.25, 10.0, 8.0], "area": 80.0, "isfake": 0}
    annotations = [
        box | {"id": 1, "image_id": 908726, "iscrowd": 0},
        box | {"id": 2, "image_id": 908726, "iscrowd": 1},
    ]
    dataset = write(tmp_path, images, annotations, truth="boxes")
    found = truth.load(dataset.list(0))
    labels = found["images/v2/patch16/objects365_v2_00908726"]
    np.testing.assert_array_equal(labels.boxes, [[5.5, 5.25, 15.5, 13.25]] * 2)
    assert labels.crowd.tolist() == [False, True]
    assert [t.segmentations for t in found.values()] == [None, None]  # also without any box
    scores = CocoBenchmark(iou_types=("box",), bootstrap=0)(found, {})
    assert scores["box_AP"] == 0
    assert scores["objects"] == 1


def test_objects365_in_folders_of_patches_alone(tmp_path):
    names = ("images/v2/patch16/a.jpg", "images/v1/patch8/b.jpg", "c.jpg")
    dataset = write(tmp_path, [{"id": i, "file_name": name} for i, name in enumerate(names)], [])
    for version in ("v1", "v2"):
        for patch in (tmp_path / "images/images" / version).iterdir():
            patch.rename(tmp_path / "images" / patch.name)
    assert [item.path for item in dataset.list(0).broken] == sorted(names[:2])
    found = replace(dataset, name_parts=2).list(0)
    assert {r.path: r.number for r in found.records} == {
        "patch16/a.jpg": 0,
        "patch8/b.jpg": 1,
        "c.jpg": 2,
    }
    assert not found.broken


def test_uvo_frames_lie_in_a_folder_a_video_and_masks_are_encoded(tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[3:20, 4:30] = True
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    annotation = {
        **{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(mask.sum())},
        "bbox": coco_mask.toBbox(encoded).tolist(),
        "segmentation": {"size": [30, 40], "counts": encoded["counts"].decode()},
    }
    found = truth.load(
        write(tmp_path, [{"id": 1, "file_name": "aB_-3/12.png"}], [annotation]).list(0)
    )
    np.testing.assert_array_equal(found["aB_-3/12"].masks, mask[None])


def test_masks_are_left_aside_where_only_boxes_are_asked_for(tmp_path):
    dataset = write(
        tmp_path, [{"id": 1, "file_name": "a.png"}], [lvis(1, 1, SQUARE)], truth="boxes"
    )
    assert truth.load(dataset.list(0))["a"].segmentations is None
