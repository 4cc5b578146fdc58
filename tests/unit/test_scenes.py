"""The `scenes` data set: records without rendering, shards, and the pixels of a record."""

import numpy as np
import pytest

from cleave.io.images import ImageRecord, read_image_shard, write_image_shard
from cleave.io.shards import shard_of
from cleave.ops.render import scene
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import DataError, Size


def scenes(**fields):
    return make("datasets", {"kind": "scenes", "flavour": "crowded", "count": 12, **fields})


def all_records(data):
    return [record for shard in range(data.shards) for record in data.list(shard).records]


def test_default_size_is_the_studys():
    (first, *_) = scenes().list(0).records
    assert first.size == Size(480, 480)
    assert (first.id, first.path) == ("crowded-000000", "")


def test_ids_count_from_the_first_seed():
    ids = [record.id for record in scenes(first_seed=998, count=4).list(0).records]
    assert ids == ["crowded-000998", "crowded-000999", "crowded-001000", "crowded-001001"]


def test_mixed_scenes_are_those_of_both_flavours_in_turn():
    ids = [record.id for record in scenes(flavour="mixed", first_seed=7, count=4).list(0).records]
    assert ids == ["crowded-000007", "control-000008", "crowded-000009", "control-000010"]


def test_listing_renders_nothing(monkeypatch):
    monkeypatch.setattr("cleave.datasets.scenes.scene", None)
    assert len(scenes(count=100_000).list(0).records) == 100_000


@pytest.mark.parametrize("shards", [1, 2, 5, 40])
def test_every_image_is_in_the_shard_of_its_id(shards):
    data = scenes(shards=shards)
    for shard in range(shards):
        listed = data.list(shard)
        assert {shard_of(record.id, shards) for record in listed.records} <= {shard}
        assert listed.spec["shards"] == shards
        assert listed.spec["kind"] == "scenes"
    whole = {record.id: record for record in all_records(scenes())}
    assert {record.id: record for record in all_records(data)} == whole


def test_records_tell_sizes_and_flavours_apart():
    variants = [scenes(), scenes(height=96), scenes(width=96), scenes(flavour="control")]
    digests = {record.digest for data in variants for record in all_records(data)}
    assert len(digests) == 4 * 12
    numbers = {record.number for record in all_records(variants[0])}
    assert len(numbers) == 12


def test_fingerprints_are_one_a_shard_and_constant():
    assert len(set(scenes(shards=3).fingerprints())) == 1
    assert len(scenes(shards=3).fingerprints()) == 3
    assert scenes(shards=3).fingerprints() == scenes(shards=3, count=5).fingerprints()


def test_read_gives_the_scenes_pixels():
    data = scenes(height=40, width=56, first_seed=7)
    record = data.list(0).records[2]
    image = data.read(record)
    assert image.id == record.id == "crowded-000009"
    assert image.size == record.size == Size(40, 56)
    assert (image.pixels == scene("crowded", 9, Size(40, 56)).pixels).all()


def test_a_shard_survives_its_file(tmp_path):
    shard = scenes(shards=2).list(1)
    write_image_shard(tmp_path / "shard.json", shard, version=1)
    again = read_image_shard(tmp_path / "shard.json")
    assert again.records == shard.records
    assert make("datasets", again.spec) == scenes(shards=2)


def test_reading_a_foreign_record():
    with pytest.raises(DataError, match="'holiday/beach' is no rendered scene"):
        scenes().read(ImageRecord("holiday/beach", "", 8, 8, 1, ""))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"flavour": "crowd"}, "flavour"),
        ({"count": 0}, "count"),
        ({"first_seed": -1}, "first_seed"),
        ({"height": 0}, "height"),
        ({"shards": 0}, "shards"),
        ({"seed": 1}, "unknown key 'seed'"),
    ],
)
def test_wrong_fields(fields, text):
    with pytest.raises(ConfigError, match=text):
        scenes(**fields)


def test_the_data_set_holds_no_truth():
    """Labels are for the benchmarks: an image carries its id and its pixels, a record no mask."""
    data = scenes(height=32, width=32)
    record = data.list(0).records[0]
    values = [*vars(data.read(record)).values(), *(getattr(record, n) for n in record.__slots__)]
    assert not any(isinstance(v, np.ndarray) and v.dtype == bool for v in values)
    assert not [name for name in dir(data) if "instance" in name or "mask" in name]
