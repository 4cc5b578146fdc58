"""io.results: a COCO results list read an image at a time, against reading all of it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleave.io import results
from cleave.io.coco import encode_annotations
from cleave.io.images import ImageRecord
from cleave.io.results import ResultFile
from cleave.types import DataError, MaskSet, Size

SIZE = Size(6, 8)
RECORDS = [ImageRecord(name, f"{name}.jpg", *SIZE, number, "") for number, name in enumerate("abc")]


def result(rng, image, **more):
    masks = MaskSet(SIZE, rng.random((1, *SIZE)) < 0.5, rng.random(1))
    return encode_annotations(masks)[0] | {"image_id": image} | more


def slow(path):
    """All of the list, by image number."""
    found = {number: [] for number in range(3)}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        found[entry["image_id"]].append(entry)
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=8),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([1, 7, 64, 1 << 22]),
)
def test_equals_reading_all_of_it(tmp_path_factory, images, indent, block):
    rng = np.random.default_rng(len(images))
    path = tmp_path_factory.mktemp("results") / "results.json"
    listed = [result(rng, image, note="Größe ]{,") for image in images]
    path.write_text(json.dumps(listed, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_BLOCK", block)
        found = ResultFile(path, RECORDS)
    assert list(found) == ["a", "b", "c"]
    for number, name in enumerate(found):
        assert found.annotations(name) == slow(path)[number]
        assert len(found[name]) == images.count(number)


def test_asking_for_an_image_decodes_nothing(tmp_path, monkeypatch):
    (tmp_path / "r.json").write_text("[ ]\n")
    found = ResultFile(tmp_path / "r.json", RECORDS)
    monkeypatch.setattr(ResultFile, "__getitem__", None)
    assert "a" in found
    assert "d" not in found
    assert len(found) == 3


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "{}", "[1]", "[{}]", '{"annotations": []}', '[{"image_id": 1}', "null"),
        '[{"image_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}]',  # boxes alone
        '[{"image_id": [], "score": 1, "segmentation": {}}]',
        '[{"image_id": 1, "score": 1, "segmentation": {}} {}]',
    ],
)
def test_what_is_no_list_of_results(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match="not a list of COCO results"):
        ResultFile(tmp_path / "r.json", RECORDS)


def test_results_of_a_stranger_and_no_file(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([result(np.random.default_rng(0), 9)]))
    with pytest.raises(DataError, match="results for image 9, not in the data set"):
        ResultFile(tmp_path / "r.json", RECORDS)
    with pytest.raises(DataError, match="not a list of COCO results"):
        ResultFile(tmp_path / "gone.json", RECORDS)
