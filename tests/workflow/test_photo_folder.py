"""A folder of photos as it comes, run with a config from elsewhere; then changed a little."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Project, copied
from PIL import Image
from pycocotools.coco import COCO

from cleave.io.shards import names, shard_of

pytestmark = pytest.mark.workflow

SHARDS = 3
FEW = {"datasets": {"mine": {"kind": "folder", "root": "my photos", "shards": SHARDS}}} | {
    "features": {"colour": {"size": 64}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {"maskcut": {"graphs": "colour", "refine": "none"}},
    "recipes": {"mine": {"dataset": "mine", "masks": "maskcut"}},
}
END = {"recipes/mine/annotations.json", "report/index.html"}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """A bright disc on dark noise: something to cut."""
    pixels = np.random.default_rng(seed).integers(0, 60, (height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    disc = np.hypot(rows - height * 0.4, columns - width * 0.6) < min(height, width) / 4
    pixels[disc] = 220, 180, 40
    return Image.fromarray(pixels)


def save(path: Path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def encoded(image: Image.Image, name: str, **options) -> bytes:
    memory = io.BytesIO()
    image.save(memory, name, **options)
    return memory.getvalue()


def fill(root: Path) -> dict[str, tuple[int, int]]:
    """Photos of every sort; image id to (height, width) as they are to be seen."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    grey16 = Image.fromarray(np.linspace(0, 65535, 60 * 80).astype(np.uint16).reshape(60, 80))
    save(root / "wide.jpg", picture(48, 96, 1))
    save(root / "2024/June/upright.jpg", picture(50, 70, 2), exif=rotated)
    save(root / "2024/June/grey.png", picture(64, 64, 3).convert("L"))
    save(root / "2024/grey16.png", grey16)
    save(root / "2024/alpha.png", picture(60, 50, 4).convert("RGBA"))
    save(root / "print/cmyk.jpg", picture(55, 65, 5).convert("CMYK"))
    save(root / "web/palette.gif", picture(40, 90, 6).convert("P"))
    save(root / "web/tall.webp", picture(120, 30, 7))
    save(root / "scan.tiff", picture(44, 46, 8))
    save(root / "odd/with space.jpg", picture(48, 48, 9))
    save(root / "odd/quo'te\".jpg", picture(49, 48, 10))
    save(root / "odd/new\nline.jpg", picture(50, 48, 11))
    save(root / "odd/grün 写真.JPG", picture(51, 48, 12), format="JPEG")
    whole = encoded(picture(80, 80, 13), "JPEG")
    (root / "broken").mkdir()
    (root / "broken/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "broken/empty.png").touch()
    (root / "broken/text.jpg").write_text("not a photo")
    (root / "notes.txt").write_text("not a photo either")
    (root / ".hidden.jpg").write_bytes(whole)
    return {
        "wide": (48, 96),
        "2024/June/upright": (70, 50),
        "2024/June/grey": (64, 64),
        "2024/grey16": (60, 80),
        "2024/alpha": (60, 50),
        "print/cmyk": (55, 65),
        "web/palette": (40, 90),
        "web/tall": (120, 30),
        "scan": (44, 46),
        "odd/with space": (48, 48),
        "odd/quo'te\"": (49, 48),
        "odd/new\nline": (50, 48),
        "odd/grün 写真": (51, 48),
    }


class Photos(Project):
    """A project whose config lies elsewhere and whose photos lie inside it."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.root = folder / "my photos"
        self.config_file = folder / "other place" / "my.yaml"

    def start(self, *arguments, **options):
        return super().start(*arguments, "--configfile", str(self.config_file), **options)

    def write(self, config):
        self.config_file.parent.mkdir(exist_ok=True)
        super().write(config)

    def lists(self) -> list[dict]:
        """The content of every shard of images."""
        return [json.loads(path.read_text()) for path in self.results.glob("mine/images/*.json")]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Photos, dict[str, tuple[int, int]]]:
    """Run to the end on photos that are write-protected, in a folder with spaces in its name."""
    made = Photos(tmp_path_factory.mktemp("a folder of mine"))
    made.write(FEW)
    sizes = fill(made.root)
    places = [made.root, *made.root.rglob("*")]
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    for place in places:
        place.chmod(place.stat().st_mode & ~writable)
    before = [(place, place.stat().st_mtime_ns) for place in places]
    made.snakemake()
    after = [(place, place.stat().st_mtime_ns) for place in (made.root, *made.root.rglob("*"))]
    assert after == before
    for place in places:
        place.chmod(place.stat().st_mode | stat.S_IWUSR)
    return made, sizes


@pytest.fixture
def photos(done, tmp_path) -> Photos:
    return Photos(copied(done[0], tmp_path / "copy").folder)


def test_masks_are_valid_coco_at_the_right_sizes(done):
    project, sizes = done
    path = project.results / "recipes/mine/annotations.json"
    coco = COCO(str(path))
    assert {i["key"]: (i["height"], i["width"]) for i in coco.imgs.values()} == sizes
    for image in coco.imgs.values():
        assert (project.root / image["file_name"]).is_file()
    assert len(coco.anns) >= len(sizes) / 2
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        mask = coco.annToMask(annotation)
        assert mask.shape == (image["height"], image["width"])
        assert mask.sum() == annotation["area"] > 0


def test_what_is_not_used_is_listed_with_its_reason(done):
    project, _ = done
    broken = {i["path"]: i["reason"] for shard in project.lists() for i in shard["broken"]}
    ignored = {i["path"]: i["reason"] for shard in project.lists() for i in shard["ignored"]}
    assert broken.keys() == {"broken/truncated.jpg", "broken/empty.png", "broken/text.jpg"}
    assert ignored.keys() == {"notes.txt", ".hidden.jpg"}
    logs = "".join(p.read_text() for p in project.results.glob("logs/mine/images/*.log"))
    page = (project.results / "report/index.html").read_text()
    for path, reason in broken.items():
        assert f"{path}: {reason}" in logs
        assert path in page
    assert "notes.txt" in page
    counts = re.findall(r"(\d+) images, (\d+) broken, (\d+) ignored", logs)
    assert np.sum(np.array(counts, int), 0).tolist() == [13, 3, 2]


def follows(*photos: str) -> set[str]:
    """All jobs of the shards to which these photos (paths without suffix) belong."""
    shards = {names(SHARDS)[shard_of(photo, SHARDS)] for photo in photos}
    kinds = ("images/{}.json", "features/colour/{}.h5", "graphs/colour/{}.h5")
    kinds += ("masks/maskcut/{}.json",)
    return {f"mine/{kind.format(shard)}" for kind in kinds for shard in shards} | END


def test_second_run_plans_nothing(photos):
    assert photos.planned() == set()


def add(root):
    save(root / "new/one.png", picture(40, 40, 20))


def remove(root):
    (root / "scan.tiff").unlink()


def change(root):
    """The same size in bytes and the same time: the worst that an editor may do."""
    path = root / "2024/June/grey.png"
    content, before = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def rename(root):
    (root / "web/tall.webp").rename(root / "web/high.webp")


@pytest.mark.parametrize(
    ("action", "touched"),
    [
        (add, ["new/one"]),
        (remove, ["scan"]),
        (change, ["2024/June/grey"]),
        (rename, ["web/tall", "web/high"]),
    ],
)
def test_only_the_touched_shards_run_again(photos, action, touched):
    action(photos.root)
    assert len(follows(*touched)) < len(follows("0", "1", "2", "3", "4", "5"))
    assert photos.planned() == follows(*touched)


def test_new_times_are_no_new_photos(photos):
    for path in photos.root.rglob("*.jpg"):
        os.utime(path)
    printed = photos.snakemake("--dry-run")
    assert "comparing photos that have a new time" in printed
    assert photos.planned() == follows("broken/truncated", "broken/text")
    assert "comparing" not in photos.snakemake("--dry-run")


def test_a_changed_photo_is_cut_anew_and_nothing_else(photos, done):
    save(photos.root / "wide.jpg", picture(48, 96, 99))
    photos.snakemake()
    assert photos.planned() == set()
    before, after = done[0].artifacts(), photos.artifacts()
    changed = {name for name in before if before[name] != after[name]}
    assert {n for n in changed if "assets" not in n} == follows("wide")
    entries = [
        {i["key"]: i for i in json.loads(content["recipes/mine/annotations.json"])["images"]}
        for content in (before, after)
    ]
    assert [key for key in entries[0] if entries[0][key] != entries[1][key]] == ["wide"]


def test_two_projects_side_by_side(done, tmp_path):
    """Another photo folder by an absolute path with a space; the first project stays as it is."""
    other = Photos(tmp_path / "second project")
    save(tmp_path / "photo album/only.jpg", picture(40, 60))
    other.write(FEW)
    other.change(
        lambda config: config["datasets"]["mine"].update(root=str(tmp_path / "photo album"))
    )
    before = done[0].artifacts()
    other.snakemake()
    assert done[0].artifacts() == before
    coco = json.loads((other.results / "recipes/mine/annotations.json").read_text())
    assert [image["key"] for image in coco["images"]] == ["only"]
    assert not (tmp_path / "photo album").joinpath("results").exists()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda root: None, "datasets.mine: root: there is no folder"),
        (lambda root: root.mkdir(), "names no photo; photos end in .jpg"),
        (lambda root: root.write_text(""), "is a file; name the folder that holds the photos"),
    ],
)
def test_folders_that_cannot_be(tmp_path, make, expected):
    project = Photos(tmp_path / "project")
    project.write(FEW)
    make(project.root)
    printed = project.snakemake(check=False)
    assert expected in printed
    assert not project.results.exists()


def test_a_folder_of_broken_photos_only(tmp_path):
    project = Photos(tmp_path / "project")
    project.write(FEW | {"datasets": {"mine": {"kind": "folder", "root": str(project.root)}}})
    project.root.mkdir()
    (project.root / "a.jpg").write_text("no photo")
    printed = project.snakemake(check=False)
    assert "cleave: error: " in printed
    assert "no photo can be read; the first, a.jpg: " in printed
    assert "Traceback" not in printed


def test_an_empty_config_file_is_not_replaced_by_another(tmp_path):
    project = Photos(tmp_path / "project")
    project.write({})
    (project.folder / "config.yaml").write_text(yaml.safe_dump(FEW))
    assert "the config is empty" in project.snakemake("--dry-run", check=False)
