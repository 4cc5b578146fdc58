"""benchmarks.truth: COCO annotations in all their forms, and the objects of rendered scenes."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cleave.benchmarks.truth import Truth, load
from cleave.datasets.scenes import Scenes
from cleave.io.images import ImageRecord, ImageShard
from cleave.ops import rle
from cleave.ops.render import CLASSES, parse_id, scene
from cleave.spec import ConfigError
from cleave.types import DataError, Size

SIZE = Size(30, 40)
POLYGON = [[3.5, 2.2, 20.0, 4.0, 18.3, 17.1], [25.0, 20.0, 35.0, 20.0, 35.0, 28.0, 25.0, 28.0]]


def blob(seed):
    return np.random.default_rng(seed).random(SIZE) < 0.3


def annotation(number, image, segmentation, **more):
    box = {"bbox": [1.0, 2.0, 10.5, 8.0], "area": 77.5, "iscrowd": 0, "category_id": 3}
    return box | {"id": number, "image_id": image, "segmentation": segmentation} | more


def uncompressed(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


@pytest.fixture
def files(tmp_path):
    """An annotation file with every form of mask, and the shard of its images."""
    content = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 30, "width": 40},
            {"id": 9, "file_name": "b.jpg", "height": 30, "width": 40},
        ],
        "categories": [{"id": 3, "name": "bowl"}, {"id": 4, "name": "cat"}],
        "annotations": [
            annotation(1, 7, POLYGON),
            annotation(2, 7, uncompressed(blob(0)), category_id=4),
            annotation(3, 7, rle.encode(blob(1)), category="own name"),
            annotation(4, 7, uncompressed(blob(2)), iscrowd=1),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    records = (
        ImageRecord("a", "a.jpg", *SIZE, 7, ""),
        ImageRecord("b", "b.jpg", *SIZE, 9, ""),
    )
    return content, path, ImageShard({"kind": "coco", "annotations": str(path)}, records)


def rewrite(path, content):
    path.write_text(json.dumps(content) + " " * len(path.read_text()))  # another size: read anew


def test_every_form_of_mask_is_read_like_pycocotools(files):
    content, path, shard = files
    found = load(shard)["a"]
    coco = COCO(str(path))
    for mask, entry in zip(found.masks, content["annotations"], strict=True):
        np.testing.assert_array_equal(mask, coco.annToMask(entry).astype(bool))
    assert found.masks.any((1, 2)).all()
    assert found.crowd.tolist() == [False, False, False, True]
    assert found.categories == ("bowl", "cat", "own name", "bowl")
    np.testing.assert_array_equal(found.boxes, [[1, 2, 11.5, 10]] * 4)
    np.testing.assert_array_equal(found.areas, [77.5] * 4)  # as annotated, not as drawn


def test_an_image_without_annotations_has_no_objects(files):
    found = load(files[2])["b"]
    assert len(found) == 0
    assert found.masks.shape == (0, *SIZE)


def test_boxes_without_masks(files):
    content, path, shard = files
    for entry in content["annotations"]:
        del entry["segmentation"]
    rewrite(path, content)
    found = load(shard)["a"]
    assert found.boxes.shape == (4, 4)
    with pytest.raises(DataError, match="boxes only"):
        _ = found.masks


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda c: c["images"].pop(), "no image number 9"),
        (lambda c: c["images"][0].update(height=40, width=30), "after EXIF rotation"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[2, 2]), "RLE of size"),
        (lambda c: c["annotations"][0].pop("bbox"), "image 'a'.*bbox"),
        (lambda c: c.pop("annotations"), "not a readable COCO annotation file"),
    ],
)
def test_annotations_that_do_not_fit(files, break_it, error):
    content, path, shard = files
    break_it(content)
    rewrite(path, content)
    with pytest.raises(DataError, match=error):
        load(shard)


def test_a_file_that_is_not_there(files):
    shard = ImageShard({"kind": "coco", "annotations": "nowhere.json"}, files[2].records)
    with pytest.raises(DataError, match="check the key 'annotations'"):
        load(shard)


def test_folders_have_no_truth():
    with pytest.raises(ConfigError, match=r"'folder' has no ground truth.*coco, kitti"):
        load(ImageShard({"kind": "folder"}, ()))


def test_scenes():
    shard = Scenes(flavour="crowded", count=2, first_seed=5, height=96, width=128).list(0)
    truths = load(shard)
    assert set(truths) == {"crowded-000005", "crowded-000006"}
    for image_id, found in truths.items():
        rendered = scene(*parse_id(image_id), Size(96, 128))
        np.testing.assert_array_equal(found.masks[~found.crowd], rendered.instances)
        np.testing.assert_array_equal(found.masks[found.crowd], rendered.ignored)
        names = [CLASSES[number] for number in rendered.classes]
        assert [
            n for n, crowd in zip(found.categories, found.crowd, strict=True) if not crowd
        ] == names
        assert len(rendered.instances) > 1


def test_boxes_and_areas_of_masks():
    masks = np.stack([blob(i) for i in range(5)])
    masks[:, :4], masks[:, :, 30:] = False, False
    found = Truth.of_masks(SIZE, masks, ["x"] * 5)
    for i, segmentation in enumerate(found.segmentations):
        x, y, width, height = coco_mask.toBbox(segmentation)
        assert found.boxes[i].tolist() == [x, y, x + width, y + height]
        assert found.areas[i] == coco_mask.area(segmentation)
    assert not found.crowd.any()
