"""Any folder of photos: what is found, what is not and why, and what notices a change."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from cleave.datasets.folder import Folder
from cleave.io import listing
from cleave.io.images import SUFFIXES, printable, read_image_shard, write_image_shard
from cleave.io.listing import identify, key_of
from cleave.io.shards import shard_of
from cleave.spec import ConfigError
from cleave.types import DataError


def photo(path, value=0, size=(5, 4)):
    path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        Pillow.new("RGB", size, (value, 0, 0)).save(file, "PNG")


@pytest.fixture
def root(tmp_path):
    for i in range(12):
        photo(tmp_path / "photos" / f"day {i % 3}" / f"{i}.png", i)
    return tmp_path / "photos"


def listed(root, **fields):
    """Everything that all shards list, joined."""
    dataset = Folder(root=str(root), **fields)
    shards = [dataset.list(i) for i in range(dataset.shards)]
    return {
        "ids": sorted(record.id for shard in shards for record in shard.records),
        "broken": {item.path: item.reason for shard in shards for item in shard.broken},
        "ignored": {item.path: item.reason for shard in shards for item in shard.ignored},
    }


def changed(root, action, **fields):
    """Which shards' fingerprints an action changes."""
    dataset = Folder(root=str(root), **fields)
    before = dataset.fingerprints()
    action()
    after = dataset.fingerprints()
    return [i for i in range(dataset.shards) if before[i] != after[i]]


def test_nested_folders_and_ids(root):
    photo(root / "a" / "b" / "c" / "deep.photo.JPG")
    photo(root / "top.png")
    found = listed(root)
    assert found["ids"] == sorted(
        [f"day {i % 3}/{i}" for i in range(12)] + ["a/b/c/deep.photo", "top"]
    )
    assert found["broken"] == found["ignored"] == {}


def test_records_and_reading(root):
    dataset = Folder(root=str(root))
    shard = dataset.list(0)
    assert shard.spec["kind"] == "folder"
    assert shard.spec["root"] == str(root)
    record = next(r for r in shard.records if r.id == "day 1/7")
    assert (record.path, record.size) == ("day 1/7.png", (4, 5))
    image = dataset.read(record)
    assert image.id == record.id
    assert (image.pixels == (7, 0, 0)).all()


def test_every_photo_is_in_exactly_one_shard_whatever_their_number(root):
    (root / "notes.txt").touch()
    (root / "broken.jpg").touch()
    one = listed(root)
    for shards in (2, 5, 40):
        assert listed(root, shards=shards) == one
    shard = Folder(root=str(root), shards=5).list(3)
    assert all(shard_of(record.id, 5) == 3 for record in shard.records)


def test_a_shard_can_be_empty(root, tmp_path):
    dataset = Folder(root=str(root), shards=200)
    empty = next(i for i in range(200) if not dataset.list(i).records)
    write_image_shard(tmp_path / "a.json", dataset.list(empty), 1)
    assert read_image_shard(tmp_path / "a.json").records == ()


def test_the_same_folder_gives_the_same_bytes(root, tmp_path):
    copy = tmp_path / "copy"
    for path in sorted(root.rglob("*.png"), reverse=True):  # another order on the disk
        photo(copy / path.relative_to(root), int(path.stem))
    first, second = Folder(root=str(root)).list(0), Folder(root=str(copy)).list(0)
    assert first.records == second.records


def test_relative_root_and_home(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("HOME", str(root.parent))
    expected = listed(root)
    assert listed("photos") == listed("./photos/") == listed("~/photos") == expected
    dataset = Folder(root="~/photos")
    assert dataset.read(dataset.list(0).records[0]).size == (4, 5)


NAMES = [
    b"spa ce", b"quo'te", b'quo"te', b"new\nline", b"tab\t", b"back\\slash", b"semi;$(x)`y`",
    b"-rf", b"%41", b"#1", b"{id}", b"a*b?[c]", "grün 写真".encode(), "e\u0301 decomposed".encode(),
    b"latin-1 gr\xfcn", b"trailing ", b"trailing.", b"a.b.c", b"x" * 200,
]  # fmt: skip


def test_odd_names(tmp_path, root):
    for name in NAMES:
        photo(os.fsencode(root) + b"/" + name + b"/" + name + b".png")
    dataset = Folder(root=str(root), shards=3)
    found = listed(root, shards=3)
    expected = [printable(os.fsdecode(name + b"/" + name)) for name in NAMES]
    assert sorted(i for i in found["ids"] if "day" not in i) == sorted(expected)
    assert r"latin-1 gr\xfcn/latin-1 gr\xfcn" in found["ids"]
    for i in range(3):
        shard = dataset.list(i)
        write_image_shard(tmp_path / "a.json", shard, 1)
        assert read_image_shard(tmp_path / "a.json") == shard
        for record in shard.records:
            record.id.encode()  # an id can be written anywhere
            assert dataset.read(record).size == (4, 5)


def test_photos_of_one_stem_keep_their_suffixes(root):
    for name in ("x.jpg", "x.png", "x.PNG", "y.jpg", "y.jpg.png", "z.jpg", "zz.png"):
        photo(root / "same" / name)
    ids = [i for i in listed(root, shards=4)["ids"] if i.startswith("same/")]
    names = ["x.PNG", "x.jpg", "x.png", "y.jpg", "y.jpg.png", "z", "zz"]
    assert ids == [f"same/{name}" for name in names]


def test_a_byte_and_its_spelling(root):
    photo(os.fsencode(root) + b"/\xff.png")
    photo(root / r"\xff.png")
    found = listed(root)
    assert found["ids"].count(r"\xff.png") == 1
    assert found["broken"] == {r"\xff.png": "has the same name as another file, written as text"}


@given(st.lists(st.text("ab.", min_size=1, max_size=4), unique=True), st.integers(1, 4))
def test_ids_are_unique_across_shards(stems, shards):
    """Whatever the names, and although each shard names its photos alone."""
    paths = [f"{stem}{suffix}" for stem in stems for suffix in (".jpg", ".jpg.png", ".png")]
    paths = sorted({path for path in paths if not path.startswith(".")})
    dealt = [[p for p in paths if shard_of(key_of(p), shards) == i] for i in range(shards)]
    named = [pair for part in dealt for pair in identify(part)[0]]
    assert sorted(path for _, path in named) == paths
    assert len({image_id for image_id, _ in named}) == len(paths)


def test_what_is_ignored_and_why(root):
    for name in (".hidden.jpg", "._1.png", "notes.txt", "clip.mp4", "README", "Thumbs.db"):
        (root / name).touch()
    for name in (".git", "__MACOSX", "@eaDir"):
        photo(root / name / "1.png")
    os.mkfifo(root / "pipe.jpg")
    found = listed(root, shards=3)
    assert len(found["ids"]) == 12
    assert found["ignored"] == {
        ".hidden.jpg": "hidden",
        ".git": "hidden",
        "._1.png": "macOS resource fork",
        "__MACOSX": "macOS resource forks",
        "@eaDir": "thumbnails of a Synology server",
        "Thumbs.db": "thumbnails of Windows",
        "notes.txt": "suffix '.txt' is not a photo's",
        "clip.mp4": "suffix '.mp4' is not a photo's",
        "README": "no suffix",
        "pipe.jpg": "neither a file nor a folder",
    }


def test_suffixes_can_be_chosen(root):
    (root / "day 0" / "0.png").rename(root / "day 0" / "0.PHOTO")
    found = listed(root, suffixes=(".photo",))
    assert found["ids"] == ["day 0/0"]
    assert len(found["ignored"]) == 11
    for suffix in ("jpg", ".JPG", "."):
        with pytest.raises(ConfigError, match="suffixes"):
            Folder(root=str(root), suffixes=(suffix,))


def test_links(root, tmp_path):
    photo(tmp_path / "elsewhere" / "far.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "one.png").symlink_to(tmp_path / "elsewhere" / "far.png")
    (root / "day 0" / "up").symlink_to(root)
    (root / "day 1" / "here").symlink_to(".")
    (root / "above").symlink_to("/")
    (root / "nothing.png").symlink_to("no such file")
    (root / "itself.png").symlink_to("itself.png")
    (tmp_path / "elsewhere" / "back").symlink_to(root / "linked")
    found = listed(root)
    assert {"linked/far", "one"} < set(found["ids"])
    assert len(found["ids"]) == 14
    circular = {"day 0/up", "day 1/here", "above", "linked/back"}
    assert found["ignored"] == dict.fromkeys(circular, "link to a folder that holds it")
    assert set(found["broken"]) == {"nothing.png", "itself.png"}
    assert "no such file" in found["broken"]["nothing.png"]


def test_broken_photos_are_listed(root):
    (root / "empty.jpg").touch()
    (root / "text.png").write_text("no photo")
    data = (root / "day 0" / "0.png").read_bytes()
    (root / "torn.png").write_bytes(data[:45])
    found = listed(root)
    assert len(found["ids"]) == 12
    assert set(found["broken"]) == {"empty.jpg", "text.png", "torn.png"}
    assert found["broken"]["empty.jpg"] == "the file is empty"


def test_too_many_broken_photos(root):
    for i in range(11):
        (root / f"broken {i}.jpg").touch()
    with pytest.raises(DataError, match="11 of 23 photos cannot be read"):
        Folder(root=str(root)).list(0)
    assert len(listed(root, max_broken=0.5)["broken"]) == 11


def test_no_readable_photo(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no photo can be read; the first, a\.heic: no image"):
        Folder(root=str(tmp_path)).list(0)


@pytest.mark.parametrize("question", [Folder.fingerprints, lambda dataset: dataset.list(0)])
def test_roots_that_cannot_be(question, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"there is no folder .*missing; check the spelling"):
        question(Folder(root=str(tmp_path / "missing")))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file; name the folder"):
        question(Folder(root=str(tmp_path / "file")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: names no photo; photos end in \.jpg"):
        question(Folder(root=str(tmp_path / "empty")))
    with pytest.raises(DataError, match=r"names no photo \(but 'file': no suffix\)"):
        question(Folder(root=str(tmp_path)))
    monkeypatch.setattr(listing.os, "scandir", deny(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read; check its permissions"):
        question(Folder(root=str(tmp_path)))


def deny(denied, scandir=os.scandir):
    """`os.scandir` for a user who may not open one folder (tests may run as root, who may)."""

    def ask(path):
        if os.path.abspath(path) == str(denied):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    return ask


@pytest.mark.parametrize("question", [Folder.fingerprints, lambda dataset: dataset.list(0)])
def test_a_folder_inside_that_cannot_be_read(question, root, monkeypatch):
    monkeypatch.setattr(listing.os, "scandir", deny(root / "day 1"))
    with pytest.raises(DataError, match=r"day 1/: cannot be read \(Permission denied\)"):
        question(Folder(root=str(root)))


def test_only_the_touched_shards_change(root):
    shards = 7

    def of(image_id):
        return [shard_of(image_id, shards)]

    assert changed(root, lambda: None, shards=shards) == []
    assert changed(root, lambda: photo(root / "new.png"), shards=shards) == of("new")
    assert changed(root, lambda: (root / "new.png").unlink(), shards=shards) == of("new")
    path = root / "day 2" / "5.png"
    assert changed(root, lambda: photo(path, 9, (8, 8)), shards=shards) == of("day 2/5")
    assert changed(root, lambda: os.utime(path, ns=(1, 1)), shards=shards) == of("day 2/5")
    both = sorted(of("day 2/5") + of("moved"))
    assert changed(root, lambda: path.rename(root / "moved.png"), shards=shards) == both
    assert changed(root, lambda: (root / "a.txt").touch(), shards=shards) == of("a.txt")
    assert changed(root, lambda: (root / ".DS_Store").touch(), shards=shards) == []
    assert changed(root, lambda: (root / "a.txt").write_text("x"), shards=shards) == []


def test_a_photo_that_only_swaps_its_time_with_another_is_noticed(root):
    first, second = root / "day 0" / "0.png", root / "day 0" / "3.png"
    os.utime(first, ns=(1, 1))
    os.utime(second, ns=(2, 2))

    def swap():
        os.utime(first, ns=(2, 2))
        os.utime(second, ns=(1, 1))

    assert changed(root, swap) == [0]


def test_without_watching_only_names_count(root):
    path = root / "day 2" / "5.png"
    assert changed(root, lambda: photo(path, 9, (8, 8)), watch=False) == []
    assert changed(root, lambda: path.unlink(), watch=False) == [0]


def test_the_walk_finds_what_a_naive_walk_finds(root):
    for name in ("x/y/z/1.jpg", "x/y/2.TIFF", "x/3.txt", "4.webp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    naive = {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.lower().endswith(SUFFIXES)
    }
    assert {found.path for found in listing.walk(root) if not found.reason} == naive


@pytest.fixture
def names(root):
    path = root.parent / "names.txt"
    path.write_text("day 0/0.png\n./day 1/1.png\n\nday 2/missing.png\nday 2/notes.txt\n")
    return str(path)


def test_list_file(root, names):
    found = listed(root, list_file=names, shards=2)
    assert found["ids"] == ["day 0/0", "day 1/1"]
    assert found["broken"] == {"day 2/missing.png": "no such file or directory"}
    assert found["ignored"] == {"day 2/notes.txt": "suffix '.txt' is not a photo's"}


def test_list_file_of_windows(root, tmp_path):
    (tmp_path / "n.txt").write_bytes("\ufeffday 0/0.png\r\nday 1/1.png\r\n".encode())
    assert listed(root, list_file=str(tmp_path / "n.txt"))["ids"] == ["day 0/0", "day 1/1"]


def test_list_file_with_other_bytes_than_text(root, tmp_path):
    photo(os.fsencode(root) + b"/\xff.png")
    (tmp_path / "n.txt").write_bytes(b"\xff.png\n")
    assert listed(root, list_file=str(tmp_path / "n.txt"))["ids"] == [r"\xff"]


def test_planning_with_a_list_never_touches_the_photos(names, monkeypatch):
    def touched(*_, **__):
        raise AssertionError("looked at the disk")

    for name in ("scandir", "stat", "listdir", "walk"):
        monkeypatch.setattr(listing.os, name, touched)
    dataset = Folder(root="/no/such/place", list_file=names, watch=False, shards=2)
    assert len(dataset.fingerprints()) == 2


def test_list_and_watch(root, names):
    path = root / "day 0" / "0.png"
    touch = {"list_file": names, "shards": 9}
    assert changed(root, lambda: photo(path, 9, (8, 8)), **touch) == [shard_of("day 0/0", 9)]
    assert changed(root, lambda: photo(root / "new.png"), **touch) == []
    found = changed(root, lambda: shutil.copy(path, root / "day 2" / "missing.png"), **touch)
    assert found == [shard_of("day 2/missing", 9)]


def test_the_order_of_a_list_does_not_matter(root, tmp_path):
    lines = [f"day {i % 3}/{i}.png\n" for i in range(12)]
    (tmp_path / "n.txt").write_text("".join(lines))
    fields = {"list_file": str(tmp_path / "n.txt"), "watch": False, "shards": 3}
    turned = "".join(reversed(lines))
    assert changed(root, lambda: (tmp_path / "n.txt").write_text(turned), **fields) == []


@pytest.mark.parametrize("line", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg"])
def test_lists_that_leave_the_root(root, tmp_path, line):
    (tmp_path / "n.txt").write_text(f"day 0/0.png\n{line}\n")
    with pytest.raises(ConfigError, match=rf"n\.txt:2: '{line}' leaves the root"):
        Folder(root=str(root), list_file=str(tmp_path / "n.txt")).fingerprints()


def test_other_lists_that_cannot_be(root, tmp_path):
    with pytest.raises(ConfigError, match=r"list_file: .*missing\.txt cannot be read"):
        Folder(root=str(root), list_file=str(tmp_path / "missing.txt")).fingerprints()
    (tmp_path / "n.txt").write_text("")
    with pytest.raises(DataError, match=r"n\.txt: names no photo"):
        Folder(root=str(root), list_file=str(tmp_path / "n.txt")).fingerprints()
    (tmp_path / "n.txt").write_text("day 0/0.png\nday 0/0.png\n")
    with pytest.raises(DataError, match=r"day 0/0\.png: named twice"):
        Folder(root=str(root), list_file=str(tmp_path / "n.txt")).list(0)


def test_pixels_of_all_photos_come_back(root):
    dataset = Folder(root=str(root), shards=3, verify="header")
    values = {
        record.id: int(np.unique(dataset.read(record).pixels[..., 0])[0])
        for i in range(3)
        for record in dataset.list(i).records
    }
    assert values == {f"day {i % 3}/{i}": i for i in range(12)}
