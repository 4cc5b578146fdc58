"""Images named by a COCO annotation file, and the parts of it that a list names."""

import json
import os

import pytest
from PIL import Image as Pillow

from cleave.datasets import coco
from cleave.datasets.coco import Coco, read_images
from cleave.spec import ConfigError
from cleave.types import DataError

WIDE, TALL = (4, 6), (6, 4)  # height, width


def photo(path, size=WIDE, value=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", size[::-1], (value, 0, 0)).save(path, **options)


def entry(number, name, size=WIDE):
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]}


@pytest.fixture
def make(tmp_path):
    """Writes an annotation file and gives the data set."""

    def make(images, text=None, lines=None, **fields):
        (tmp_path / "images").mkdir(exist_ok=True)
        value = {"info": {"images": "a trap"}, "images": images, "annotations": []}
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(value) if text is None else text)
        if lines is not None:
            (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
            fields["list_file"] = str(tmp_path / "list.txt")
        return Coco(images=str(tmp_path / "images"), annotations=str(path), **fields)

    return make


@pytest.fixture
def images(tmp_path):
    """Ten photos numbered 3, 10, 17, ..., named as in COCO 2014."""
    entries = []
    for i in range(10):
        number = 7 * i + 3
        entries.append(entry(number, f"COCO_train2014_{number:012d}.jpg"))
        photo(tmp_path / "images" / entries[-1]["file_name"], value=20 * i, quality=95)
    return entries


def records(dataset):
    return [record for i in range(dataset.shards) for record in dataset.list(i).records]


def test_ids_numbers_sizes_and_pixels(make, images):
    dataset = make(images)
    found = records(dataset)
    assert {r.id: r.number for r in found} == {e["file_name"][:-4]: e["id"] for e in images}
    assert {r.size for r in found} == {WIDE}
    image = dataset.read(found[0])
    assert abs(int(image.pixels[0, 0, 0]) - 0) < 6
    assert image.id == found[0].id
    assert dataset.list(0).spec["kind"] == "coco"


def test_shards_together_are_the_whole(make, images):
    one = records(make(images))
    for shards in (2, 7):
        assert sorted(records(make(images, shards=shards)), key=lambda r: r.id) == one


def test_folders_and_equal_stems(make, tmp_path):
    names = ["a/1.png", "b/1.png", "c.png", "c.jpg"]
    for name in names:
        photo(tmp_path / "images" / name)
    found = records(make([entry(i, name) for i, name in enumerate(names)], shards=3))
    ids = {"a/1": 0, "b/1": 1, "c.png": 2, "c.jpg": 3}
    assert {r.id: r.number for r in found} == ids


def test_lvis_names_its_images_by_url(make, tmp_path):
    photo(tmp_path / "images" / "train2017" / "000000000042.png")
    url = "http://images.cocodataset.org/train2017/000000000042.png"
    (found,) = records(make([{"id": 42, "coco_url": url, "height": 4, "width": 6}]))
    assert (found.id, found.number) == ("train2017/000000000042", 42)


def test_missing_and_misfitting_images_are_broken(make, images, tmp_path):
    (tmp_path / "images" / images[0]["file_name"]).unlink()
    photo(tmp_path / "images" / images[1]["file_name"], TALL)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "images" / images[2]["file_name"], exif=exif)
    shard = make(images).list(0)
    assert len(shard.records) == 7
    reasons = {item.path: item.reason for item in shard.broken}
    assert reasons == {
        images[0]["file_name"]: "no such file or directory",
        images[1]["file_name"]: "annotated at 4 x 6 (height x width), the file is 6 x 4 "
        "after EXIF rotation",
        images[2]["file_name"]: "annotated at 4 x 6 (height x width), the file is 6 x 4 "
        "after EXIF rotation",
    }


def test_too_many_missing(make):
    with pytest.raises(DataError, match="11 of 11 photos cannot be read"):
        make([entry(i, f"{i}.jpg") for i in range(11)]).list(0)


@pytest.mark.parametrize(
    "line",
    [
        "COCO_train2014_000000000017.jpg",
        "train2014/COCO_train2014_000000000017.jpg",
        "000000000017.jpg",
        "000000000017",
        "17",
    ],
)
def test_a_list_names_images_in_any_usual_way(make, images, line):
    (found,) = records(make(images, lines=[line]))
    assert found.number == 17


def test_a_list_keeps_the_rest_out(make, images):
    found = records(make(images, lines=["3", "000000000066.jpg", "3", ""], shards=4))
    assert sorted(r.number for r in found) == [3, 66]


def test_a_list_with_unknown_images(make, images):
    with pytest.raises(DataError, match=r"list\.txt: 2 lines name no image .* instance '4'"):
        make(images, lines=["3", "4", "elephant.jpg"]).list(0)


def test_a_file_name_that_is_not_unique_does_not_pick_one(make, tmp_path):
    for name in ("a/x.png", "b/x.png"):
        photo(tmp_path / "images" / name)
    entries = [entry(1, "a/x.png"), entry(2, "b/x.png")]
    assert [r.number for r in records(make(entries, lines=["b/x.png"]))] == [2]
    with pytest.raises(DataError, match="1 lines name no image"):
        make(entries, lines=["x.png"]).list(0)


def test_fingerprints_change_with_annotations_list_and_folder(make, images, tmp_path):
    dataset = make(images, lines=["3", "10"], shards=3)
    before = dataset.fingerprints()
    assert before == dataset.fingerprints()
    assert len(before) == 3
    (tmp_path / "list.txt").write_text("3\n17\n")
    second = dataset.fingerprints()
    os.utime(dataset.annotations, ns=(1, 1))
    third = dataset.fingerprints()
    photo(tmp_path / "images" / "new.png")
    os.utime(tmp_path / "images", ns=(5, 5))
    fourth = dataset.fingerprints()
    assert len({before[0], second[0], third[0], fourth[0]}) == 4


def test_fingerprints_parse_nothing(make, images, monkeypatch):
    monkeypatch.setattr(coco, "read_images", None)
    make(images).fingerprints()


def test_paths_that_cannot_be(make, images, tmp_path):
    dataset = make(images)
    missing = str(tmp_path / "missing")
    for question in (Coco.fingerprints, lambda d: d.list(0)):
        with pytest.raises(ConfigError, match="images: there is no folder"):
            question(Coco(images=missing, annotations=dataset.annotations))
    with pytest.raises(ConfigError, match=r"annotations: there is no file .*missing"):
        Coco(images=dataset.images, annotations=missing).fingerprints()
    with pytest.raises(DataError, match=r"missing: not a readable COCO file"):
        Coco(images=dataset.images, annotations=missing).list(0)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([{"id": "7", "file_name": "a.jpg"}], "image id '7'; expected an integer"),
        ([{"id": True, "file_name": "a.jpg"}], "image id True; expected an integer"),
        ([{"id": 7}], "image 7 has no file_name"),
        ([entry(1, "a.jpg"), entry(2, "a.jpg")], r"image 2 repeats the file 'a\.jpg'"),
        ([entry(1, "a.jpg"), entry(1, "b.jpg")], "two images have the same id"),
        ([], "names no image"),
        ({"id": 7}, "expected a list of mappings"),
        ([7], "expected a list of mappings"),
    ],
)
def test_annotations_that_cannot_be(make, images, reason):
    with pytest.raises(DataError, match=reason):
        make(images).list(0)


TEXTS = {
    "images first": '{"images": [{"id": 1}], "annotations": [{}]}',
    "images last": '{"notes": [{"images": [9]}, "]}", "\\"images\\":[3]"], "images":[{"id":1}]}',
    "spaces": ' \n{ "a" : 1.5e3 ,\r\n\t"images" :\n[ {"id": 1} ]\n} \n',
    "other values first": '{"a":null,"b":true,"c":"}","d":{"images":[]},"images":[{"id":1}]}',
    "mark": "\ufeff" + '{"images":[{"id":1}]}',
}


@pytest.mark.parametrize("name", TEXTS)
def test_reading_only_the_images(tmp_path, name):
    (tmp_path / "a.json").write_text(TEXTS[name])
    expected = json.loads(TEXTS[name].removeprefix("\ufeff"))["images"]
    assert read_images(tmp_path / "a.json") == expected == [{"id": 1}]


def test_what_follows_the_images_is_not_parsed(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [{"id": 1}], "annotations": [cut off')
    assert read_images(tmp_path / "a.json") == [{"id": 1}]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"images"', '{"images":', '{"images": [{"id": 1}', '{"a": 1 "images": []}',
     '{"a": 1}', "{}", '{"a": 1, }', "\x00", '{images: []}', '{1: 2}'],
)  # fmt: skip
def test_files_without_images(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_images(tmp_path / "a.json")


def test_a_changed_photo_is_refused(make, images, tmp_path):
    dataset = make(images)
    record = records(dataset)[0]
    photo(tmp_path / "images" / record.path, value=255)
    with pytest.raises(DataError, match="changed since it was listed"):
        dataset.read(record)
