"""Dealing images to shards, and the names of shards."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.io.shards import name, names, parse, shard_of
from cleave.types import DataError


def test_names_carry_the_total_and_count_from_one():
    assert name(1, 16) == "0002-of-0016"
    assert names(3) == ["0001-of-0003", "0002-of-0003", "0003-of-0003"]
    assert name(9999, 12000) == "10000-of-12000"


@given(st.integers(1, 20000), st.data())
def test_parse_undoes_name(total, data):
    index = data.draw(st.integers(0, total - 1))
    assert parse(name(index, total)) == (index, total)


@pytest.mark.parametrize(
    "text", ["", "2-of-16", "0000-of-0016", "0017-of-0016", "0001-of-0016.json", "00001-of-0016"]
)
def test_other_names_are_refused(text):
    with pytest.raises(DataError, match="0002-of-0016"):
        parse(text)


@pytest.mark.parametrize(("index", "total"), [(-1, 3), (3, 3), (0, 0)])
def test_a_shard_outside_its_total_is_refused(index, total):
    with pytest.raises(DataError, match=f"shard {index} of {total}"):
        name(index, total)


@given(st.text(), st.integers(1, 5000))
def test_shard_is_a_hash_of_the_id_alone(image_id, shards):
    if any("\ud800" <= c <= "\udfff" for c in image_id):
        return
    digest = hashlib.sha256(image_id.encode()).digest()
    assert shard_of(image_id, shards) == int(digest[:8].hex(), 16) % shards


def test_shard_is_the_same_on_every_machine():
    assert [shard_of(text, 1000) for text in ("a", "b/c d", "\udcff")] == [250, 505, 296]


def test_shards_are_about_even():
    counts = [0] * 10
    for i in range(5000):
        counts[shard_of(f"photo {i}", 10)] += 1
    assert min(counts) > 400
