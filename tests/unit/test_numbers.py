"""io.numbers against a dict; and the memory that looking at a large folder takes."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.datasets.folder import Folder
from cleave.io.listing import walk
from cleave.io.numbers import NumberTable
from cleave.io.seen import Seen
from cleave.types import DataError

INT64 = st.integers(-(2**63), 2**63 - 1)
FILES = 20_000
BYTES_A_FILE = 160  # of what is remembered of each file, in two runs, at the peak


def table(rows: dict[str, tuple[int, int]]) -> NumberTable:
    made = NumberTable(2)
    for text, numbers in rows.items():
        made.add(text, *numbers)
    made.sort()
    return made


@given(st.dictionaries(st.text(), st.tuples(INT64, INT64)), st.lists(st.text()))
def test_equals_a_dict(rows, others):
    made = table(rows)
    assert len(made) == len(rows)
    assert {text: made.get(text) for text in rows} == rows
    assert all(made.get(text) == rows.get(text) for text in others)
    assert made == table(dict(reversed(rows.items())))


def test_a_file_comes_back_or_is_refused(tmp_path):
    made = table({"a": (1, -2), "grün \udcff": (3, 4)})
    made.write(tmp_path / "t")
    assert NumberTable.read(tmp_path / "t", 2) == made
    whole = (tmp_path / "t").read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        for content in (damaged, whole[:place]):
            (tmp_path / "t").write_bytes(content)
            with pytest.raises(DataError, match="not readable"):
                NumberTable.read(tmp_path / "t", 2)
    with pytest.raises(DataError, match="not readable"):
        NumberTable.read(tmp_path / "gone", 2)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    (root / "one.jpg").touch()
    for folder in range(FILES // 1000):
        (root / f"{folder:03d}").mkdir()
        for photo in range(1000):
            os.link(root / "one.jpg", root / f"{folder:03d}/photo_{photo:06d}.jpg")
    return root


def peak(action) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_listing_takes_no_memory_for_its_files(many):
    """A walk holds one entry; fingerprints are a number a shard."""
    dataset = Folder(root=str(many), shards=20)
    assert peak(lambda: sum(1 for _ in walk(many))) < 5 * FILES
    assert peak(dataset.fingerprints) < 5 * FILES


def test_remembering_files_takes_some_bytes_of_each(many, tmp_path):
    """In the first run and in the second, in which all are new by their time and compared."""
    dataset = Folder(root=str(many), shards=20)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    listed = [(os.path.join(many, found.path), empty) for found in walk(many)]
    texts = []

    def run():
        seen = Seen(tmp_path / "seen", lambda: listed)
        texts.append(dataset.fingerprints(seen.look))
        seen.save()

    assert peak(run) < BYTES_A_FILE * FILES
    os.utime(many / "one.jpg", (1, 1))
    assert peak(run) < BYTES_A_FILE * FILES
    assert texts[0] == texts[1]
