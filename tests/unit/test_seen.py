"""A photo with a new time is no new photo; everything else that looks new is."""

import hashlib
import os
from dataclasses import replace

import pytest

from cleave.datasets.folder import Folder
from cleave.io.listing import remembered
from cleave.io.seen import Seen


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1, 1))
    return folder


@pytest.fixture
def look(tmp_path, photos):
    """One run after another: what is reported for every photo, and whether digests were asked."""
    listed: dict[str, str] = {}

    def run(list_them=True):
        asked = []
        seen = Seen(tmp_path / "state" / "seen", lambda: asked.append(1) or listed.items())
        reported = {path.name: seen.look(str(path)) for path in sorted(photos.iterdir())}
        seen.save()
        if list_them:  # as the images job does after its parameters changed
            listed.clear()
            for path in photos.iterdir():
                listed[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return reported, len(asked)

    return run


def test_nothing_is_read_while_nothing_changes(look):
    first, asked = look()
    assert (look(), asked) == ((first, 0), 0)


def test_a_new_time_changes_nothing_however_often(look, photos):
    first, _ = look()
    for time in (5, 6):
        os.utime(photos / "a", (time, time))
        os.utime(photos / "b", (time, time))
        assert look() == (first, 1)
        assert look() == (first, 0)


def test_new_content_is_noticed_even_of_the_same_size(look, photos):
    first, _ = look()
    (photos / "a").write_text("c")
    changed, _ = look()
    assert changed["a"] != first["a"]
    assert changed["b"] == first["b"]
    os.utime(photos / "a", (7, 7))
    assert look()[0] == changed


def test_a_change_stays_one_until_the_photo_is_listed_again(look, photos):
    first, _ = look()
    (photos / "a").write_text("c")
    changed, _ = look(list_them=False)  # a dry run
    os.utime(photos / "a", (9, 9))
    again, _ = look(list_them=False)
    assert first["a"] not in (changed["a"], again["a"])


def test_a_photo_that_was_never_listed_is_new_with_its_time(look, photos):
    first, _ = look(list_them=False)
    os.utime(photos / "a", (5, 5))
    assert look()[0]["a"] != first["a"]


def test_a_photo_that_came_back(look, photos):
    first, _ = look()
    (photos / "a").unlink()
    assert look()[0] == {"b": first["b"]}
    (photos / "a").write_text("a")
    os.utime(photos / "a", (1, 1))
    assert look()[0] == first


def test_what_cannot_be_read_is_new(look, photos):
    look()
    (photos / "a").unlink()
    (photos / "a").symlink_to("nowhere")
    assert look(list_them=False)[0]["a"] == "missing"


def test_damaged_memory_is_none(tmp_path, look, photos):
    first, _ = look()
    whole = (tmp_path / "state" / "seen").read_bytes()
    damaged = bytearray(whole)
    damaged[-3] ^= 4
    for content in (b'{"a', whole[:-1], bytes(damaged)):
        (tmp_path / "state" / "seen").write_bytes(content)
        assert look() == (first, 0)
        assert (tmp_path / "state" / "seen").read_bytes() == whole
    (tmp_path / "state" / "seen").write_bytes(whole[:-8])
    assert look() == (first, 0)
    os.utime(photos / "a", (5, 5))
    assert look()[0] == first


def test_memory_is_not_written_in_vain(tmp_path, look):
    look()
    before = (tmp_path / "state" / "seen").stat().st_mtime_ns
    look()
    assert (tmp_path / "state" / "seen").stat().st_mtime_ns == before


def test_names_that_are_no_text(tmp_path):
    odd = os.fsencode(tmp_path) + b"/gr\xfcn \n'"
    with open(odd, "wb") as file:
        file.write(b"x")
    state = tmp_path / "seen"
    for _ in range(2):
        seen = Seen(state, list)
        seen.look(os.fsdecode(odd))
        seen.save()
    assert Seen(state, list).look(os.fsdecode(odd))


def test_a_touched_folder_keeps_its_fingerprint(tmp_path, photos):
    from PIL import Image

    for name in ("x.png", "y.png"):
        Image.new("RGB", (3, 2)).save(photos / name)
    dataset = Folder(root=str(photos), shards=2)

    def fingerprints():
        records = [record for shard in (0, 1) for record in dataset.list(shard).records]
        digests = {str(photos / record.path): record.digest for record in records}
        seen = Seen(tmp_path / "seen", digests.items)
        texts = dataset.fingerprints(seen.look)
        seen.save()
        return texts

    first = fingerprints()
    assert first == dataset.fingerprints()
    os.utime(photos / "x.png", (1, 1))
    assert dataset.fingerprints() != first
    assert fingerprints() == first


def test_a_list_is_gone_through_once_while_it_stays_as_it_is(tmp_path):
    """Nor are the fingerprints of another list, or for other shards, taken for its own."""
    names = tmp_path / "names.txt"
    names.write_text("a.jpg\nb/c.png\nnotes.txt\n")
    listed = Folder(root=str(tmp_path), list_file=str(names), watch=False, shards=3)
    asked = []

    def fingerprints(folder):
        def make():
            asked.append(folder)
            return folder.fingerprints()

        return remembered(tmp_path / "memory" / "a.list", folder.fingerprinted(), make)

    first = fingerprints(listed)
    assert fingerprints(listed) == first == listed.fingerprints()
    assert len(asked) == 1
    more = replace(listed, shards=4)
    assert fingerprints(more) == more.fingerprints()
    names.write_text(names.read_text() + "new.jpg\n")
    assert fingerprints(listed) == listed.fingerprints() != first
    (tmp_path / "memory" / "a.list").write_text("{}")
    assert fingerprints(listed) == listed.fingerprints()
    assert len(asked) == 4
    for watched in (replace(listed, watch=True), replace(listed, list_file=None)):
        assert watched.fingerprinted() == ""
