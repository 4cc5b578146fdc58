"""OpenImages: JPEGs and one CSV of boxes in shares of the image."""

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.benchmarks import truth
from cleave.benchmarks.coco import CocoBenchmark
from cleave.datasets.openimages import OpenImages
from cleave.spec import ConfigError
from cleave.types import DataError, MaskSet, Size

SIZE = Size(30, 40)
HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def row(image, x0, x1, y0, y1, group=0):
    return f"{image},xclick,/m/01g317,1,{x0},{x1},{y0},{y1},0,1,{group},0,0\n"


@pytest.fixture
def make(tmp_path):
    """Writes three photos and the CSV, and gives the data set."""

    def make(*rows, header=HEADER, lines=None, **fields):
        (tmp_path / "validation").mkdir(exist_ok=True)
        for name in ("0a", "0b", "0c"):
            Pillow.new("RGB", (40, 30)).save(tmp_path / f"validation/{name}.jpg", comment=name)
        (tmp_path / "boxes.csv").write_text(header + "".join(rows))
        if lines is not None:
            (tmp_path / "list.txt").write_text(lines)
            fields["list_file"] = str(tmp_path / "list.txt")
        images, boxes = str(tmp_path / "validation"), str(tmp_path / "boxes.csv")
        return OpenImages(images=images, annotations=boxes, **fields)

    return make


def load(dataset):
    return truth.load(dataset.list(0))


def test_boxes_are_shares_of_the_image_and_groups_are_ignored(make):
    rows = row("0a", 0.25, 0.5, 0.1, 0.4), row("0a", 0, 1, 0, 1, 1), row("0b", 0, 0.5, 0, 1, -1)
    found = load(make(*rows))
    assert set(found) == {"0a", "0b"}  # as the CSV names them
    np.testing.assert_allclose(found["0a"].boxes, [[10, 3, 20, 12], [0, 0, 40, 30]])
    np.testing.assert_allclose(found["0a"].areas, [90, 1200])
    assert found["0a"].crowd.tolist() == [False, True]
    assert found["0b"].crowd.tolist() == [False]  # -1: not known
    assert found["0a"].categories == ("/m/01g317", "/m/01g317")
    assert found["0a"].segmentations is None


def test_what_lies_in_a_group_is_no_error(make):
    found = load(make(row("0a", 0, 0.25, 0, 0.5), row("0a", 0.5, 1, 0, 1, 1)))
    masks = np.zeros((2, *SIZE), bool)
    masks[0, :10, 25:35] = masks[1, :15, :10] = True
    predicted = {"0a": MaskSet(SIZE, masks, np.array([0.9, 0.8]))}
    scores = CocoBenchmark(iou_types=("box",), bootstrap=0)(found, predicted)
    assert scores["box_AP"] == 100
    assert scores["objects"] == 1


def test_a_list_may_name_images_without_a_box(make):
    found = load(make(row("0a", 0, 1, 0, 1), lines="0a\n0c.jpg\n"))
    assert {image: len(labels) for image, labels in found.items()} == {"0a": 1, "0c": 0}
    with pytest.raises(DataError, match="a box of none of the images, of '0c' for instance"):
        load(make(row("0a", 0, 1, 0, 1), lines="0c\n"))


def test_boxes_beyond_the_image_and_without_area(make, caplog):
    found = load(make(row("0a", -0.1, 0.5, 0.5, 1.2), row("0a", 0.3, 0.3, 0, 1)))["0a"]
    np.testing.assert_allclose(found.boxes, [[0, 15, 20, 30]])
    assert "image '0a': 1 boxes without area" in caplog.text


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (row("0a", 0, "x", 0, 1), "boxes.csv:2: expected numbers, got .*'XMax': 'x'"),
        ("0a,xclick\n", "boxes.csv:2: expected numbers"),
        (row("0a", 10, 20, 3, 12), "boxes.csv:2: .*no shares of the image; expected 0 to 1"),
        (row("0a", "nan", 1, 0, 1), "no shares of the image"),
        (row("0a", 0.5, 0.2, 0, 1), "image '0a': the box .* ends before it begins"),
    ],
)
def test_rows_that_cannot_be_used(make, rows, error):
    with pytest.raises(DataError, match=error):
        load(make(rows))


def test_files_that_cannot_be_used(make, tmp_path):
    with pytest.raises(DataError, match="lacks the columns IsGroupOf, LabelName, XMax"):
        load(make("0a,1\n", header="ImageID,XMin\n"))
    with pytest.raises(DataError, match="has no column ImageID"):
        make("0a,1\n", header="id,XMin\n").list(0)
    dataset = make(row("0a", 0, 1, 0, 1))
    shard = dataset.list(0)
    (tmp_path / "boxes.csv").write_bytes(b"ImageID\n\xff\xff\n")
    with pytest.raises(DataError, match="not a readable CSV file"):
        dataset.list(0)
    (tmp_path / "boxes.csv").unlink()
    with pytest.raises(DataError, match="no such annotation file; check the key 'annotations'"):
        truth.load(shard)
    with pytest.raises(ConfigError, match="there is no file"):
        dataset.fingerprints()


def test_photos_that_are_not_there_are_named(make):
    found = make(row("0a", 0, 1, 0, 1), row("gone", 0, 1, 0, 1)).list(0)
    assert [record.id for record in found.records] == ["0a"]
    assert [item.path for item in found.broken] == ["gone.jpg"]


def test_fingerprints_change_with_the_csv_and_the_list(make):
    prints = make(row("0a", 0, 1, 0, 1)).fingerprints()
    assert make(row("0a", 0, 1, 0, 1), row("0b", 0, 1, 0, 1)).fingerprints() != prints
    listed = make(row("0a", 0, 1, 0, 1), lines="0a\n").fingerprints()
    assert make(row("0a", 0, 1, 0, 1), lines="0b\n").fingerprints() != listed
