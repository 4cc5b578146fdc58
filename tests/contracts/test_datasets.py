"""What every data set must do, tested from the registry."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.io import shards
from cleave.io.images import ImageRecord, ImageShard, read_image_shard, write_image_shard
from cleave.io.shards import shard_of
from cleave.io.store import read_shard, write_shard
from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, canonical, to_mapping
from cleave.stages import images as stage
from cleave.stages.job import Job
from cleave.types import DataError, Image, Size

KINDS = sorted(PLUGINS["datasets"])
# Height and width: a plain photo, one patch, one pixel, and extreme aspect ratios.
SIZES = {"plain": (30, 40), "patch": (8, 8), "pixel": (1, 1), "tall": (400, 3), "wide": (3, 400)}


def photos(folder):
    """A constant photo of each size, in folders of their own, and noise."""
    rng = np.random.default_rng(0)
    for i, (name, size) in enumerate(SIZES.items()):
        path = folder / f"set {i % 2}" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.full((*size, 3), 40 * i, np.uint8)).save(path)
    Pillow.fromarray(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(folder / "noise.png")
    return folder


def folder_section(tmp_path):
    return {"root": str(photos(tmp_path / "photos"))}


def coco_section(tmp_path):
    root = photos(tmp_path / "photos")
    images = []
    for number, path in enumerate(sorted(root.rglob("*.png")), 1):
        height, width = np.asarray(Pillow.open(path)).shape[:2]
        name = path.relative_to(root).as_posix()
        images.append({"id": number, "file_name": name, "height": height, "width": width})
    value = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(value))
    return {"images": str(root), "annotations": str(tmp_path / "instances.json")}


def scenes_section(tmp_path):
    return {"flavour": "crowded", "count": 4, "height": 48, "width": 40}


def voc_section(tmp_path):
    root = photos(tmp_path / "JPEGImages")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    names = (path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names))
    return {"root": str(tmp_path)}


def kitti_section(tmp_path):
    return {"images": str(photos(tmp_path / "image_2")), "annotations": str(tmp_path / "label_2")}


def openimages_section(tmp_path):
    root = photos(tmp_path / "photos")
    lines = [path.relative_to(root).as_posix() for path in root.rglob("*.png")]
    (tmp_path / "boxes.csv").write_text("\n".join(["ImageID", *lines, *lines]))
    return {"images": str(root), "annotations": str(tmp_path / "boxes.csv")}


# The least that a section of this kind must say; a kind that is not named needs nothing.
SECTIONS = {
    "folder": folder_section,
    "coco": coco_section,
    "scenes": scenes_section,
    "voc": voc_section,
    "kitti": kitti_section,
    "openimages": openimages_section,
}


@pytest.fixture(params=KINDS)
def section(request, tmp_path):
    known = SECTIONS.get(request.param, lambda tmp_path: {})
    return {"kind": request.param, **known(tmp_path)}


def records(dataset):
    return [record for i in range(dataset.shards) for record in dataset.list(i).records]


def test_the_spec_comes_back(section):
    kind = section["kind"]
    plugin = make("datasets", section)
    fields = json.loads(canonical(to_mapping(plugin)))
    assert build(lookup("datasets", kind, kind), fields, kind) == plugin
    assert to_mapping(make("datasets", {"kind": kind, **fields})) == fields
    assert type(plugin).__doc__


def test_an_unknown_key_is_refused_with_the_nearest(section):
    kind = section["kind"]
    name = dataclasses.fields(lookup("datasets", kind, kind))[0].name
    with pytest.raises(ConfigError, match=f"unknown key '{name}x'; did you mean '{name}'"):
        make("datasets", {**section, f"{name}x": 1}, f"datasets.{kind}")


@pytest.mark.parametrize("value", [0, -1, 1.5, "2"])
def test_a_number_of_shards_that_cannot_be(section, value):
    with pytest.raises(ConfigError, match=r"mine\.shards"):
        make("datasets", {**section, "shards": value}, "datasets.mine")


def test_records_are_sound(section):
    found = records(make("datasets", section))
    assert found
    for record in found:
        assert isinstance(record, ImageRecord)
        assert record.id.encode("utf-8")
        assert not record.id.startswith("/")
        assert 0 <= record.number < 2**53
        assert type(record.number) is int
        assert record.digest
    for name in ("id", "number", "digest"):
        assert len({getattr(record, name) for record in found}) == len(found)


def test_listing_twice_gives_the_same(section):
    first, again = make("datasets", section), make("datasets", section)
    assert first.list(0) == again.list(0)
    assert first.fingerprints() == again.fingerprints()


def test_every_image_is_in_the_shard_of_its_id_whatever_their_number(section):
    whole = {record.id: record for record in records(make("datasets", section))}
    for total in (1, 2, 5):
        dataset = make("datasets", {**section, "shards": total})
        prints = dataset.fingerprints()
        assert len(prints) == total
        assert all(isinstance(text, str) and text for text in prints)
        found = {}
        for i in range(total):
            listed = dataset.list(i).records
            assert all(shard_of(record.id, total) == i for record in listed)
            assert [record.id for record in listed] == sorted(record.id for record in listed)
            found |= {record.id: record for record in listed}
        assert found == whole


def test_images_are_as_listed_and_the_same_every_time(section):
    dataset, again = make("datasets", section), make("datasets", section)
    for record in records(dataset):
        image = dataset.read(record)
        assert isinstance(image, Image)
        assert (image.id, image.size) == (record.id, record.size)
        assert image.pixels.tobytes() == again.read(record).pixels.tobytes()


def test_the_shard_says_how_to_read_it(section, tmp_path):
    dataset = make("datasets", {**section, "shards": 2})
    for i in range(2):
        shard = dataset.list(i)
        assert isinstance(shard, ImageShard)
        write_image_shard(tmp_path / "a.json", shard, 1)
        back = read_image_shard(tmp_path / "a.json")
        assert back == shard
        other = make("datasets", back.spec)
        assert other == dataset
        for record in back.records:
            assert other.read(record).size == record.size


def test_odd_sizes(section):
    """Every size that a data set can hold comes through; photos can have any."""
    if "height" in section:
        for height, width in SIZES.values():
            dataset = make("datasets", section | {"height": height, "width": width, "count": 1})
            (record,) = records(dataset)
            assert dataset.read(record).size == Size(height, width)
    else:
        found = {record.id.split("/")[-1]: record for record in records(make("datasets", section))}
        assert {name: tuple(found[name].size) for name in SIZES} == SIZES


def test_ids_can_be_names_in_a_shard(section, tmp_path):
    found = records(make("datasets", section))
    with write_shard(tmp_path / "a.h5", spec=section, version=1) as writer:
        for record in found:
            writer.add(record.id, {"size": np.array(record.size)})
    with read_shard(tmp_path / "a.h5") as reader:
        assert sorted(reader.ids()) == sorted(record.id for record in found)


def test_the_stage_logs_what_is_broken(tmp_path, caplog):
    (photos(tmp_path / "photos") / "torn.jpg").touch()
    spec = {"kind": "folder", "root": str(tmp_path / "photos")}
    with caplog.at_level("INFO", "cleave"):
        stage.run(Job("images", spec, 1, {}, tmp_path / "0001-of-0001.json"))
    assert "torn.jpg: the file is empty" in caplog.text
    assert "6 images, 1 broken, 0 ignored" in caplog.text


def test_the_stage_writes_the_same_bytes_and_refuses_another_total(section, tmp_path):
    spec = json.loads(canonical({**section, "shards": 2}))
    for folder in ("a", "b"):
        for name in shards.names(2):
            stage.run(Job("images", spec, 1, {}, tmp_path / folder / f"{name}.json"))
    for name in shards.names(2):
        assert (tmp_path / "a" / f"{name}.json").read_bytes() == (
            tmp_path / "b" / f"{name}.json"
        ).read_bytes()
    with pytest.raises(DataError, match="the data set has 2 shards, not 3"):
        stage.run(Job("images", spec, 1, {}, tmp_path / "0001-of-0003.json"))
    with pytest.raises(DataError, match="no shard"):
        stage.run(Job("images", spec, 1, {}, tmp_path / "images.json"))
