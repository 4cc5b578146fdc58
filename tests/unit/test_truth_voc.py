"""Pascal VOC in its own layout: listed by its splits, boxes from XML, masks from instance PNGs."""

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.benchmarks import truth
from cleave.benchmarks.coco import CocoBenchmark
from cleave.datasets.voc import Voc
from cleave.spec import ConfigError
from cleave.types import DataError, MaskSet, Size

SIZE = Size(30, 40)
PERSON = """<object><name>person</name><pose>Left</pose><truncated>1</truncated>
  <difficult>{difficult}</difficult>
  <bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
  <part><name>head</name>
    <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part></object>"""


def thing(*corners, difficult=0):
    return PERSON.format(*corners, difficult=difficult)


def annotation(*objects, width=40, height=30):
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC2007</folder>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def year(tmp_path):
    """A folder like VOC2007 with three photos, in two splits."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "SegmentationObject").mkdir()
    for i in range(3):
        picture = Pillow.new("RGB", (40, 30), (80 * i, 0, 0))
        picture.save(tmp_path / f"JPEGImages/00000{i}.jpg")
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("000000\n000001\n")
    (tmp_path / "ImageSets/Main/test.txt").write_text("000002\n")
    (tmp_path / "ImageSets/Main/cat_trainval.txt").write_text("000000 -1\n000001  1\n")
    (tmp_path / "ImageSets/Segmentation/trainval.txt").write_text("000001\n")
    return tmp_path


def label(year, name, text):
    (year / f"Annotations/{name}.xml").write_text(text)


def truths(year, **fields):
    return truth.load(Voc(root=str(year), **fields).list(0))


def test_splits_are_joined_and_labels_are_not_needed_to_list(year):
    found = Voc(root=str(year), splits=("trainval", "test")).list(0)
    assert [record.id for record in found.records] == ["000000", "000001", "000002"]
    assert [r.id for r in Voc(root=str(year), splits=("test",)).list(0).records] == ["000002"]
    assert [r.id for r in Voc(root=str(year), truth="masks").list(0).records] == ["000001"]


def test_a_photo_that_is_not_there_is_named(year):
    (year / "JPEGImages/000001.jpg").unlink()
    found = Voc(root=str(year)).list(0)
    assert [(item.path, item.reason) for item in found.broken] == [
        ("000001.jpg", "no such file or directory")
    ]


def test_a_split_that_is_not_there(year):
    with pytest.raises(ConfigError, match=r"did you mean 'trainval'[?] valid: test, trainval"):
        Voc(root=str(year), splits=("trainvl",)).list(0)
    with pytest.raises(ConfigError, match="lists of single classes cannot be used"):
        Voc(root=str(year), splits=("cat_trainval",)).fingerprints()
    with pytest.raises(ConfigError, match="there is no folder"):
        Voc(root=str(year / "gone")).fingerprints()


def test_fingerprints_change_with_the_lists(year):
    before = Voc(root=str(year)).fingerprints()
    assert Voc(root=str(year)).fingerprints() == before
    (year / "ImageSets/Main/trainval.txt").write_text("000000\n")
    assert Voc(root=str(year)).fingerprints() != before


def test_pixels_are_counted_from_one_and_the_last_one_is_inside(year):
    label(year, "000000", annotation(thing(1, 1, 40, 30), thing("4.5", 6, "7.25", 9)))
    label(year, "000001", annotation())
    found = truths(year)
    np.testing.assert_array_equal(found["000000"].boxes, [[0, 0, 40, 30], [3.5, 5, 7.25, 9]])
    np.testing.assert_array_equal(found["000000"].areas, [1200, 15])
    assert found["000000"].categories == ("person", "person")  # heads are parts, not objects
    assert found["000000"].segmentations is None
    assert len(found["000001"]) == 0


def test_difficult_is_ignored_in_ap_and_counts_in_corloc(year):
    label(year, "000000", annotation(thing(1, 1, 10, 10), thing(21, 11, 30, 20, difficult=1)))
    label(year, "000001", annotation(thing(1, 1, 10, 10, difficult=1)))
    found = truths(year)
    assert found["000000"].crowd.tolist() == [False, True]
    assert found["000000"].difficult.tolist() == [False, True]
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:20, 20:30] = masks[1, :10, :10] = True
    predicted = {
        "000000": MaskSet(SIZE, masks, np.array([0.9, 0.8])),
        "000001": MaskSet(SIZE, masks[1:], np.ones(1)),
    }
    scores = CocoBenchmark(iou_types=("box",), bootstrap=0)(found, predicted)
    assert scores["objects"] == 1
    assert scores["box_AP"] == 100  # the two difficult ones were found, and do not matter
    assert scores["CorLoc"] == 100  # the best box of both images lies on a difficult one
    counted = CocoBenchmark(iou_types=("box",), bootstrap=0)(
        truths(year, difficult="count"), {"000000": predicted["000000"]}
    )
    assert counted["objects"] == 3
    assert counted["CorLoc"] == 50


def test_boxes_are_cut_at_the_border_and_empty_ones_are_named(year, caplog):
    label(year, "000000", annotation(thing(0, -3, 45, 31), thing(41, 5, 44, 9)))
    label(year, "000001", annotation())
    found = truths(year)["000000"]
    np.testing.assert_array_equal(found.boxes, [[0, 0, 40, 30]])
    assert "000000.xml: 1 boxes without area, like [40.0, 4.0, 44.0, 9.0]" in caplog.text


def test_another_size_in_the_file_is_named(year, caplog):
    label(year, "000000", annotation(thing(1, 1, 5, 5), width=30, height=40))
    label(year, "000001", annotation())
    assert len(truths(year)["000000"]) == 1
    assert "000000.xml: says 40 x 30 (height x width), the image is 30 x 40" in caplog.text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "000000.xml: no such annotation file, of image '000000'"),
        ("", "000000.xml: not a readable XML file"),
        ("<annotation><object></annotation>", "not a readable XML file [(]mismatched tag"),
        ("<html/>", "holds <html>; expected <annotation>"),
        (annotation(thing("a", 1, 2, 3)), "object 1: expected numbers for xmin"),
        (annotation(thing(1, 1, 2, 3), "<object/>"), "object 2: expected numbers"),
        (annotation(thing(1, 1, 2, 3, difficult="no")), "object 1: .*and 'no'"),
        (annotation(thing(9, 1, 2, 3)), "000000.xml: the box .* ends before it begins"),
        (annotation(thing("nan", 1, 2, 3)), "the box .* is no box at all"),
    ],
)
def test_annotations_that_cannot_be_used(year, text, error):
    label(year, "000001", annotation())
    if text is not None:
        label(year, "000000", text)
    with pytest.raises(DataError, match=error):
        truths(year)


def test_masks_are_the_indices_and_void_is_ignored(year):
    indices = np.zeros(SIZE, np.uint8)
    indices[2:12, 3:13], indices[2:12, 13], indices[20:25, 30:] = 1, 255, 7
    picture = Pillow.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0] * 255 + [224, 224, 192])
    picture.save(year / "SegmentationObject/000001.png")
    (found,) = truths(year, truth="masks").values()
    np.testing.assert_array_equal(found.masks, [indices == 1, indices == 7, indices == 255])
    assert found.crowd.tolist() == [False, False, True]
    assert not found.difficult.any()
    np.testing.assert_array_equal(found.boxes[1], [30, 20, 40, 25])
    np.testing.assert_array_equal(found.areas, [100, 50, 10])


def test_a_picture_of_background_has_no_object(year):
    Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(year / "SegmentationObject/000001.png")
    (found,) = truths(year, truth="masks").values()
    assert found.masks.shape == (0, *SIZE)


def test_mask_files_that_cannot_be_used(year):
    path = year / "SegmentationObject/000001.png"
    with pytest.raises(DataError, match=r"000001.png: no such mask file, of image '000001'"):
        truths(year, truth="masks")
    path.write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DataError, match=r"000001.png: not a readable PNG"):
        truths(year, truth="masks")
    Pillow.new("RGB", (40, 30)).save(path)
    with pytest.raises(DataError, match="mode RGB; expected palette indices"):
        truths(year, truth="masks")
    Pillow.new("L", (30, 40)).save(path)
    with pytest.raises(DataError, match=r"\(40, 30\) \(height, width\), the image is \(30, 40\)"):
        truths(year, truth="masks")


def test_the_labels_that_are_read_are_watched(year):
    boxes, masks = Voc(root=str(year)), Voc(root=str(year), truth="masks")
    before = boxes.label_fingerprint(), masks.label_fingerprint()
    label(year, "000000", annotation())
    assert boxes.label_fingerprint() != before[0]
    assert masks.label_fingerprint() == before[1]
