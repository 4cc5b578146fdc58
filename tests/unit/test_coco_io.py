"""io.coco: what goes in comes out, other tools can read it, and sharding leaves no trace."""

import contextlib
import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from cleave.io.atomic import write_json
from cleave.io.coco import (
    _image,
    encode_annotations,
    merge,
    read_masks,
    write_masks,
    write_predictions,
    write_results,
)
from cleave.io.images import ImageRecord
from cleave.io.results import ResultFile
from cleave.types import DataError, MaskSet, Size

MADE_BY = {"spec": {"kind": "maskcut"}, "version": 1, "dataset": {"kind": "folder", "shards": 2}}


def record(image_id, size, number=None):
    number = len(image_id) * 1000 + sum(map(ord, image_id)) if number is None else number
    return ImageRecord(image_id, f"{image_id}.jpg", size.height, size.width, number, "d" * 8)


def random_masks(rng, size, count, trust=False):
    return MaskSet(
        size,
        rng.random((count, *size)) < rng.random((count, 1, 1)),
        rng.random(count),
        labels=rng.integers(0, 9, count),
        parents=rng.integers(-1, count, count) if count else np.zeros(0, np.int64),
        trust=(rng.integers(0, 256, (count, 3, 4)) / 255).astype(np.float16) if trust else None,
        notes={"cuts": float(count)},
    )


def assert_same(a, b):
    assert a.size == b.size
    assert a.notes == b.notes
    for name in ("masks", "scores", "labels", "parents", "trust"):
        one, other = getattr(a, name), getattr(b, name)
        if len(a) == 0:
            assert other is None or len(other) == 0
        elif one is None:
            assert other is None
        else:
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


@pytest.fixture
def written(tmp_path):
    """Five images of unequal sizes in two shard files, one of them without a mask."""
    rng = np.random.default_rng(0)
    records = [record(name, Size(5 + i, 9 - i)) for i, name in enumerate("edcab")]
    masksets = {
        r.id: random_masks(rng, Size(r.height, r.width), i, trust=True)
        for i, r in enumerate(records)
    }
    paths = [tmp_path / "0001.json", tmp_path / "0002.json"]
    write_masks(paths[0], records[:2], {r.id: masksets[r.id] for r in records[:2]}, **MADE_BY)
    write_masks(paths[1], records[2:], {r.id: masksets[r.id] for r in records[2:]}, **MADE_BY)
    return paths, records, masksets


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 4), st.integers(0, 99))
def test_round_trip(tmp_path_factory, height, width, count, seed):
    size = Size(height, width)
    masks = random_masks(np.random.default_rng(seed), size, count, trust=True)
    path = tmp_path_factory.mktemp("coco") / "masks.json"
    write_masks(path, [record("a/b c", size)], {"a/b c": masks}, **MADE_BY)
    records, found = read_masks(path)
    assert records == [record("a/b c", size)]
    assert list(found) == ["a/b c"]
    assert_same(masks, found["a/b c"])


def test_trust_is_kept_to_half_a_level(tmp_path):
    size = Size(4, 4)
    trust = np.linspace(0, 1, 35, dtype=np.float16).reshape(1, 5, 7)
    masks = MaskSet(size, np.ones((1, 4, 4), bool), np.ones(1), trust=trust)
    write_masks(tmp_path / "m.json", [record("a", size)], {"a": masks}, **MADE_BY)
    found = read_masks(tmp_path / "m.json")[1]["a"].trust
    # half a level, and half a unit in the last place of float16 below 1
    assert np.abs(found.astype(float) - trust.astype(float)).max() <= 0.5 / 255 + 2.0**-11


def test_pycocotools_reads_it(written):
    paths, records, masksets = written
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(paths[1]))
    assert sorted(coco.getImgIds()) == sorted(r.number for r in records[2:])
    for r in records[2:]:
        image = coco.loadImgs(r.number)[0]
        assert (image["height"], image["width"]) == (r.height, r.width)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=r.number))
        for annotation, mask in zip(annotations, masksets[r.id].masks, strict=True):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
            rows, columns = np.nonzero(mask)
            if len(rows):
                x, y, w, h = annotation["bbox"]
                assert (x, y) == (columns.min(), rows.min())
                assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == mask.sum()


def test_pycocotools_loads_the_results(written, tmp_path):
    paths, records, masksets = written
    merge(paths, tmp_path / "all.json")
    write_predictions(paths, tmp_path / "results.json")
    with contextlib.redirect_stdout(io.StringIO()):
        results = COCO(str(tmp_path / "all.json")).loadRes(str(tmp_path / "results.json"))
    for r in records:
        scores = [a["score"] for a in results.loadAnns(results.getAnnIds(imgIds=r.number))]
        assert scores == masksets[r.id].scores.tolist()


def test_results_come_back_as_masks(written, tmp_path):
    """Whether or not they name area and box, which other detectors need not."""
    paths, records, masksets = written
    write_predictions(paths, tmp_path / "results.json")
    results = json.loads((tmp_path / "results.json").read_text())
    unsaid = ("area", "bbox", "crc32")
    bare = [{k: v for k, v in r.items() if k not in unsaid} for r in results]
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    ours = ResultFile(tmp_path / "results.json", records)
    theirs = ResultFile(tmp_path / "bare.json", records)
    for image_id, masks in masksets.items():
        np.testing.assert_array_equal(ours[image_id].masks, masks.masks)
        np.testing.assert_array_equal(ours[image_id].scores, masks.scores)
        if len(masks):
            np.testing.assert_array_equal(ours[image_id].parents, masks.parents)
        for one, other in zip(
            ours.annotations(image_id), theirs.annotations(image_id), strict=True
        ):
            assert one["area"] == other["area"]
            if one["area"]:  # of an empty mask any box will do
                assert one["bbox"] == other["bbox"]
    with pytest.raises(DataError, match="not in the data set"):
        ResultFile(tmp_path / "results.json", records[:2])
    (tmp_path / "boxes.json").write_text('[{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]')
    for name in ("boxes.json", "missing.json"):
        with pytest.raises(DataError, match="not a list of COCO results"):
            ResultFile(tmp_path / name, records)


def test_results_say_nothing_of_parents_where_there_are_none(tmp_path):
    """As COCO results lists always were."""
    flat = MaskSet(Size(2, 2), np.ones((1, 2, 2), bool), np.ones(1))
    write_results(tmp_path / "flat.json", [record("a", flat.size)], [("a", flat)])
    (result,) = json.loads((tmp_path / "flat.json").read_text())
    del result["crc32"]  # of the file
    assert sorted(result) == ["area", "bbox", "category_id", "image_id", "score", "segmentation"]


def test_results_of_masks_equal_results_of_files(written, tmp_path):
    paths, records, masksets = written
    write_predictions(paths, tmp_path / "of_files.json")
    write_results(tmp_path / "of_masks.json", records, reversed(masksets.items()))
    assert (tmp_path / "of_masks.json").read_bytes() == (tmp_path / "of_files.json").read_bytes()


def test_bytes_depend_on_the_masks_alone(written, tmp_path):
    paths, records, masksets = written
    again = tmp_path / "again.json"
    pairs = ((r.id, masksets[r.id]) for r in reversed(records[2:]))
    write_masks(again, records[2:], pairs, **MADE_BY)
    assert again.read_bytes() == paths[1].read_bytes()


def test_merge_forgets_the_shards(written, tmp_path):
    paths, records, masksets = written
    one = tmp_path / "one.json"
    dataset = MADE_BY["dataset"] | {"shards": 1}
    write_masks(one, records, masksets, **MADE_BY | {"dataset": dataset})
    merge(paths[::-1], tmp_path / "two_shards.json")
    merge([one], tmp_path / "one_shard.json")
    assert (tmp_path / "two_shards.json").read_bytes() == (tmp_path / "one_shard.json").read_bytes()
    content = json.loads((tmp_path / "two_shards.json").read_text())
    count = sum(map(len, masksets.values()))
    assert [a["id"] for a in content["annotations"]] == list(range(1, count + 1))
    found_records, found = read_masks(tmp_path / "two_shards.json")
    assert [r.id for r in found_records] == sorted(masksets)
    for image_id, masks in masksets.items():
        assert_same(masks, found[image_id])


def test_merge_records_the_stage_that_asked_for_it(written, tmp_path):
    merge(written[0], tmp_path / "all.json", spec={"kind": "predict"}, version=7)
    info = read_masks(tmp_path / "all.json")[1].info
    assert (info["spec"], info["version"]) == ({"kind": "predict"}, 7)
    assert info["dataset"] == {"kind": "folder"}


@pytest.mark.parametrize("join", [merge, write_predictions])
def test_joining_holds_one_shard_and_some_bytes_of_each_image(tmp_path, join):
    """Of the images of 40 shards no more than of 5, but for a place and a number."""
    mask = np.random.default_rng(0).random((1, 30, 40)) < 0.5
    found = encode_annotations(MaskSet(Size(30, 40), mask, np.ones(1)))[0]
    paths = [tmp_path / f"{shard}.json" for shard in range(40)]
    for shard, path in enumerate(paths):
        numbers = range(shard, 4000, 40)
        records = [record(f"{number:06d}", Size(30, 40), number) for number in numbers]
        images = [_image(r, {}) for r in records]
        annotations = [found | {"id": number, "image_id": number} for number in numbers]
        write_json(path, {"info": MADE_BY, "images": images, "annotations": annotations})
    peaks, output = [], tmp_path / "all.json"
    for count in (5, 40):
        tracemalloc.start()
        join(paths[:count], output)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 40 * 3500 < output.stat().st_size / 10


def test_merge_refuses_a_shard_given_twice_and_strangers(written, tmp_path):
    paths, records, masksets = written
    with pytest.raises(DataError, match="occurs twice"):
        merge([paths[0], paths[0]], tmp_path / "all.json")
    other = tmp_path / "other.json"
    write_masks(
        other, records[2:], {r.id: masksets[r.id] for r in records[2:]}, **MADE_BY | {"version": 2}
    )
    with pytest.raises(DataError, match="another spec or version"):
        merge([paths[0], other], tmp_path / "all.json")
    with pytest.raises(DataError, match="no mask files"):
        merge([], tmp_path / "all.json")
    assert not (tmp_path / "all.json").exists()


def test_refuses_what_does_not_fit(tmp_path):
    size = Size(4, 6)
    path = tmp_path / "m.json"
    with pytest.raises(DataError, match="height, width"):
        write_masks(path, [record("a", size)], {"a": MaskSet.empty(Size(6, 4))}, **MADE_BY)
    empty = {"a": MaskSet.empty(size)}
    with pytest.raises(DataError, match="no masks for 1 images, first 'b'"):
        write_masks(path, [record("a", size), record("b", size)], empty, **MADE_BY)
    with pytest.raises(DataError, match="no image of this shard"):
        write_masks(path, [], {"a": MaskSet.empty(size)}, **MADE_BY)
    records = [record("a", size, 1), record("b", size, 1)]
    with pytest.raises(DataError, match="number 1 occurs twice"):
        write_masks(path, records, {i: MaskSet.empty(size) for i in "ab"}, **MADE_BY)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"info": {}, "images": [', "not readable as JSON"),
        ("[]", "no COCO file"),
        ('{"info": {}, "images": [{"id": 1}], "annotations": []}', "not of masks made by"),
    ],
)
def test_refuses_files_that_are_no_mask_files(tmp_path, text, error):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(DataError, match=error):
        read_masks(path)
    with pytest.raises(DataError, match="not readable"):
        read_masks(tmp_path / "missing.json")
