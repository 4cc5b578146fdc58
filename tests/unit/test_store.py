"""HDF5 shards: what goes in comes out, in the same bytes, or an error names the file."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cleave.io.store import read_shard, write_shard
from cleave.types import DataError

IDS = ["a", "a/b", "a/b/c", "/", ".", "..", "...", "./a", "%2F", "a%2Fb", "spa ce", "new\nline"]
IDS += ["tab\t", "grün/写真", "e\u0301", "quo'te\"", "\\xff", "x" * 300, "day.1/2.jpg", "-", "{}"]
ARRAYS = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int64, bool]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3),
)  # fmt: skip


def write(path, images, compress=frozenset()):
    with write_shard(path, spec={"kind": "x", "size": [1, 2]}, version=3) as writer:
        for image_id, (arrays, attributes) in images.items():
            writer.add(image_id, arrays, attributes, compress)


def read(path):
    with read_shard(path) as reader:
        return reader.spec, {image_id: reader.get(image_id) for image_id in reader.ids()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for image_id, (arrays, attributes) in expected.items():
        assert found[image_id][1] == attributes
        assert found[image_id][0].keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[image_id][0][name].dtype == array.dtype
            np.testing.assert_array_equal(found[image_id][0][name], array)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(IDS),
        st.tuples(
            st.dictionaries(st.sampled_from(["values", "edges", "facet_key"]), ARRAYS),
            st.dictionaries(st.sampled_from(["size", "scale"]), PLAIN),
        ),
        max_size=4,
    )
)
def test_round_trip(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("store") / "0001-of-0001.h5"
    write(path, images, frozenset({"edges"}))
    spec, found = read(path)
    assert spec == {"kind": "x", "size": [1, 2]}
    assert_equal(found, images)


def test_odd_ids(tmp_path):
    images = {image_id: ({"a": np.array([i])}, {"i": i}) for i, image_id in enumerate(IDS)}
    write(tmp_path / "a.h5", images)
    assert_equal(read(tmp_path / "a.h5")[1], images)


def sample(seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((6, 7)).astype(np.float16)
    arrays = {"values": values, "edges": np.eye(9, dtype=np.uint8)}
    return {"a/1": (arrays, {"size": [6, 7]}), "b": (arrays, {"size": [6, 7]})}


def test_the_same_calls_give_the_same_bytes(tmp_path):
    """Whatever the order of arrays and attributes, and whenever they are written."""
    write(tmp_path / "a.h5", sample(), frozenset({"edges"}))
    os.utime(tmp_path / "a.h5", (0, 0))
    turned = {
        image_id: (dict(reversed(arrays.items())), dict(reversed(attributes.items())))
        for image_id, (arrays, attributes) in sample().items()
    }
    write(tmp_path / "elsewhere" / "b.h5", turned, frozenset({"edges"}))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "elsewhere" / "b.h5").read_bytes()


def test_named_arrays_only(tmp_path):
    write(tmp_path / "a.h5", sample())
    with read_shard(tmp_path / "a.h5") as reader:
        assert reader.get("b", {"edges", "absent"})[0].keys() == {"edges"}


def test_a_missing_image_is_named_with_its_file(tmp_path):
    write(tmp_path / "a.h5", sample())
    with read_shard(tmp_path / "a.h5") as reader, pytest.raises(DataError, match=r"a\.h5.*'a/2'"):
        reader.get("a/2")


def test_an_image_twice_is_refused(tmp_path):
    with write_shard(tmp_path / "a.h5", spec={}, version=1) as writer:
        writer.add("b", *sample()["b"])
        with pytest.raises(DataError, match=r"a\.h5: image 'b' twice"):
            writer.add("b", *sample()["b"])


def test_a_shard_is_not_visible_before_its_end(tmp_path):
    class Stop(Exception):
        pass

    write(tmp_path / "a.h5", sample())
    before = (tmp_path / "a.h5").read_bytes()

    def stop():
        with write_shard(tmp_path / "a.h5", spec={}, version=1) as writer:
            writer.add("b", *sample(1)["b"])
            assert (tmp_path / "a.h5").read_bytes() == before
            raise Stop

    with pytest.raises(Stop):
        stop()
    assert os.listdir(tmp_path) == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == before


def test_no_file_and_no_shard(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder.h5").mkdir()
    for name in ("text.h5", "empty.h5", "absent.h5", "folder.h5"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_a_truncated_shard_is_named(tmp_path):
    write(tmp_path / "a.h5", sample())
    whole = (tmp_path / "a.h5").read_bytes()
    for length in range(0, len(whole), 101):
        (tmp_path / "a.h5").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.h5: not a readable shard.*delete it to redo it"):
            read(tmp_path / "a.h5")


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    """Checksums cover all but unused bytes: every byte is tried."""
    path, images = tmp_path / "a.h5", {"a/1": sample()["b"]}
    write(path, images, frozenset({"edges"}))
    whole, rng, errors = path.read_bytes(), np.random.default_rng(0), []
    for place, bit in enumerate(rng.integers(8, size=len(whole))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            assert_equal(read(path)[1], images)
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > len(whole) / 3
    assert {error.partition(":")[0] for error in errors} == {str(path)}
