"""KITTI's object benchmark: PNGs beside label files."""

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.benchmarks import truth
from cleave.benchmarks.coco import CocoBenchmark
from cleave.datasets.kitti import Kitti
from cleave.spec import ConfigError
from cleave.types import DataError, MaskSet, Size

SIZE = Size(30, 100)
CAR = "Car 0.00 0 1.85 {} {} {} {} 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
DONT_CARE = "DontCare -1 -1 -10 {} {} {} {} -1 -1 -1 -1000 -1000 -1000 -10\n"


@pytest.fixture
def training(tmp_path):
    for name in ("image_2", "label_2"):
        (tmp_path / name).mkdir()
    for i in range(2):
        Pillow.new("RGB", (100, 30), (90 * i, 0, 0)).save(tmp_path / f"image_2/00000{i}.png")
        (tmp_path / f"label_2/00000{i}.txt").touch()
    return tmp_path


def dataset(training, **fields):
    images, labels = str(training / "image_2"), str(training / "label_2")
    return Kitti(images=images, annotations=labels, **fields)


def load(training, text):
    (training / "label_2/000000.txt").write_text(text)
    return truth.load(dataset(training).list(0))


def test_every_class_counts_and_dont_care_is_ignored(training):
    text = CAR.format(10.25, 5, 20, 15) + DONT_CARE.format(50, 0, 80, 30) + "\n"
    found = load(training, text + CAR.replace("Car", "Misc").format(0, 0, 4, 4))
    assert found["000000"].categories == ("Car", "DontCare", "Misc")
    assert found["000000"].crowd.tolist() == [False, True, False]
    assert not found["000000"].difficult.any()
    np.testing.assert_array_equal(found["000000"].boxes[0], [10.25, 5, 20, 15])
    np.testing.assert_array_equal(found["000000"].areas, [97.5, 900, 16])
    assert found["000000"].segmentations is None
    assert len(found["000001"]) == 0  # an empty file


def test_a_detection_in_a_dont_care_region_is_no_error(training):
    found = load(training, CAR.format(10, 5, 20, 15) + DONT_CARE.format(50, 0, 80, 30))
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 5:15, 55:65] = masks[1, 5:15, 10:20] = True
    predicted = {"000000": MaskSet(SIZE, masks, np.array([0.9, 0.8]))}
    scores = CocoBenchmark(iou_types=("box",), bootstrap=0)(found, predicted)
    assert scores["box_AP"] == 100
    assert scores["objects"] == 1
    assert scores["CorLoc"] == 0  # the best one is in the region, which is no object


def test_boxes_beyond_the_image_are_cut_off(training):
    found = load(training, CAR.format(-3, 20, 12, 40))["000000"]
    np.testing.assert_array_equal(found.boxes, [[0, 20, 12, 30]])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (CAR.format(1, 2, 3, 4) + "Car 0 0\n", r"000000.txt:2: expected 15 columns.*got 'Car 0 0'"),
        (CAR.format(1, 2, "x", 4), "000000.txt:1: expected 15 columns"),
        (CAR.format(1, 2, 3, 4)[:-1] + " 0.9\n", "a type and 14 numbers"),  # results, no labels
        (CAR.format(5, 2, 3, 4), "ends before it begins"),
    ],
)
def test_labels_that_cannot_be_used(training, text, error):
    with pytest.raises(DataError, match=error):
        load(training, text)


def test_a_label_file_that_is_not_there_or_no_text(training):
    (training / "label_2/000001.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"000001.txt: not a readable label file"):
        load(training, "")
    (training / "label_2/000001.txt").unlink()
    with pytest.raises(DataError, match=r"000001.txt: no such label file, of image '000001'"):
        load(training, "")


def test_listing_looks_at_no_label(training):
    for path in (training / "label_2").iterdir():
        path.unlink()
    (training / "image_2/notes.txt").touch()
    found = dataset(training).list(0)
    assert [record.id for record in found.records] == ["000000", "000001"]
    assert [item.path for item in found.ignored] == ["notes.txt"]


def test_a_list_names_a_part(training, tmp_path):
    (tmp_path / "list.txt").write_text("000001\n\n000001.png\n")
    part = dataset(training, list_file=str(tmp_path / "list.txt"))
    assert [record.id for record in part.list(0).records] == ["000001"]
    assert part.fingerprints() != dataset(training).fingerprints()


def test_folders_that_are_empty_or_not_there(training):
    for path in (training / "image_2").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="names no photo"):
        dataset(training).list(0)
    (training / "image_2").rmdir()
    with pytest.raises(ConfigError, match="there is no folder"):
        dataset(training).fingerprints()


def test_a_label_that_changes_is_noticed_without_being_read(training):
    before = dataset(training).label_fingerprint()
    assert dataset(training).label_fingerprint() == before
    (training / "label_2/000001.txt").write_text("not even a label")
    changed = dataset(training).label_fingerprint()
    (training / "label_2/000002.txt").touch()
    assert len({before, changed, dataset(training).label_fingerprint()}) == 3
    missing = Kitti(images="image_2", annotations=str(training / "gone"))
    with pytest.raises(ConfigError, match="annotations: there is no folder"):
        missing.label_fingerprint()
