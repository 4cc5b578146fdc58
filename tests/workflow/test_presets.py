"""Presets plan at their full size, without a single image there."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import pytest
from conftest import REPOSITORY, Project

from cleave import config, plan
from cleave.registry import PLUGINS

pytestmark = pytest.mark.workflow

IMAGES = 1_281_167  # of ImageNet-1K train
STUDIES = {"spectral_clusters"}  # mask plugins that are no methods: they serve a benchmark


# What planning opens of ImageNet, and the most memory that it took, at its end.
WATCH = """
import atexit, json, re, sys
opened = []
def heed(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and "imagenet/train" in str(arguments[0]):
        opened.append(str(arguments[0]))
def tell():
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
    json.dump({"opened": opened, "peak": peak}, open("watched.json", "w"))
sys.addaudithook(heed)
atexit.register(tell)
"""


def jobs(project: Project, preset: str, **options) -> dict[str, int]:
    """How many jobs of each rule a preset plans."""
    shutil.copy(REPOSITORY / f"workflow/presets/{preset}.yaml", project.config_file)
    printed = project.snakemake("--dry-run", "--quiet", "rules", **options)
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE)}
    listed = Counter(job.stage for job in plan.jobs(config.load(project.config)))
    assert found == listed | {"report": 1, "all": 1, "total": listed.total() + 2}
    return found


def test_imagenet_plans_a_job_a_shard(tmp_path):
    """From ImageNet's list of names and an empty annotation file; `cutler_imagenet` is a part.

    The list is gone through once, nothing else of 1.3 million photos is looked at, and memory is
    that of shards: 262 MB were measured.
    """
    project = Project(tmp_path / "imagenet")
    data = project.folder / "data"
    (data / "imagenet/train").mkdir(parents=True)
    with open(data / "imagenet/train.txt", "w") as file:
        file.writelines(f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG\n" for i in range(IMAGES))
    (data / "coco/val2017").mkdir(parents=True)
    (data / "coco/annotations").mkdir()
    (data / "coco/annotations/instances_val2017.json").write_text("{}")
    (data / "coco/train2017").mkdir()
    (data / "coco/train2017/000000000009.jpg").touch()
    planned = jobs(project, "cuts3d_imagenet", before=WATCH)
    watched = json.loads((project.folder / "watched.json").read_text())
    assert watched["opened"] == ["data/imagenet/train.txt"] * 2  # its digest, its lines
    assert watched["peak"] < 500_000  # kB
    benchmark = project.config["benchmarks"]["coco_val2017"]
    masks, recipes = len(benchmark["masks"]), len(benchmark["recipes"])
    shards = 650 + 8
    assert planned["images"] == shards + 120
    assert planned["features"] == planned["depth"] == shards
    assert planned["masks"] == 650 * recipes + 8 * masks
    assert planned["train"] == 4  # two rounds follow cuts3d's first
    assert planned["relabel"] == 650 + 120
    assert planned["detect"] == 8 * planned["train"]
    assert planned["recipe"] == recipes
    assert planned["table"] == planned["report"] == 1


@pytest.mark.parametrize("preset", ["components", "instanceness", "learner", "pretrain"])
def test_presets_on_scenes_plan(tmp_path, preset):
    project = Project(tmp_path / preset)
    (project.folder / "data/unlabeled").mkdir(parents=True)
    (project.folder / "data/unlabeled/photo.jpg").touch()
    planned = jobs(project, preset)
    assert planned["report"] == 1
    assert planned["features"] > 1


def test_the_study_of_features_plans(tmp_path):
    """Labelled photos, unlabeled ones, and scenes; what is learned is learned once."""
    project = Project(tmp_path / "quality")
    for folder in ("photos/images", "unlabeled"):
        (project.folder / "data" / folder).mkdir(parents=True)
    (project.folder / "data/photos/instances.json").write_text("{}")
    (project.folder / "data/unlabeled/photo.jpg").touch()
    planned = jobs(project, "quality")
    raw = project.config
    rows = sum(len(benchmark["masks"]) for benchmark in raw["benchmarks"].values())
    assert planned["predict"] == rows
    assert planned["score"] == rows + 4 * 3
    assert planned["pretrain"] == 1
    assert planned["features"] == len(raw["features"]) * 4  # photos are two shards


def test_the_face_off_plans(tmp_path):
    """Every method on photos and on scenes; what only other masks are made of is made once."""
    project = Project(tmp_path / "faceoff")
    (project.folder / "data/photos/images").mkdir(parents=True)
    (project.folder / "data/photos/instances.json").write_text("{}")
    planned = jobs(project, "faceoff")
    raw = project.config
    kinds = {section["kind"] for section in raw["masks"].values()}
    assert kinds == PLUGINS["masks"].keys() - STUDIES
    for benchmark in raw["benchmarks"].values():
        used = {raw["masks"][name]["kind"] for name in benchmark["masks"]}
        assert used == kinds
    assert planned["masks"] == sum(2 * len(b["masks"]) for b in raw["benchmarks"].values())


def test_every_benchmark_of_the_papers_plans(tmp_path):
    """Each set in the layout that it is downloaded in, with a single image or none."""
    project = Project(tmp_path / "benchmarks")
    folders = ("imagenet/train", "coco/val2017", "coco/train2014", "coco/annotations", "lvis")
    kitti = ("kitti/training/image_2", "kitti/training/label_2")
    others = ("objects365/val", "openimages/validation", "uvo/all_UVO_frames", "uvo/annotations")
    voc = [f"VOCdevkit/{year}" for year in ("VOC2007", "VOC2012")]
    parts = ("JPEGImages", "Annotations", "SegmentationObject", "ImageSets/Main")
    inside = [f"{year}/{part}" for year in voc for part in (*parts, "ImageSets/Segmentation")]
    for name in (*folders, *kitti, *others, *inside):
        (project.folder / "data" / name).mkdir(parents=True)
    files = ("coco/annotations/instances_val2017.json", "coco/annotations/instances_train2014.json")
    files += ("coco/coco_20k_filenames.txt", "lvis/lvis_v1_val.json", "imagenet/train.txt")
    files += ("objects365/zhiyuan_objv2_val.json", "uvo/annotations/val_sparse.json")
    files += ("openimages/validation-annotations-bbox.csv",)
    files += tuple(
        f"{year}/ImageSets/Main/{split}.txt" for year in voc for split in ("trainval", "test")
    )
    files += ("VOCdevkit/VOC2012/ImageSets/Segmentation/trainval.txt",)
    for name in files:
        (project.folder / "data" / name).touch()
    (project.folder / "data/imagenet/train.txt").write_text("a.jpg\n")
    planned = jobs(project, "benchmarks")
    raw = project.config
    assert planned["table"] == len(raw["benchmarks"]) == 11
    of_boxes = [b for b in raw["benchmarks"].values() if b.get("iou_types") == ["box"]]
    assert planned["baseline"] == 2 * len(of_boxes) + 4 * (11 - len(of_boxes))
    shards = sum(dataset["shards"] for dataset in raw["datasets"].values())
    assert planned["images"] == planned["masks"] == shards
    assert planned["train"] == 1
    assert planned["detect"] == shards - 650
