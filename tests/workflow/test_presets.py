"""Presets plan at their full size, without a single image there."""

from __future__ import annotations

import re
import shutil

import pytest
from conftest import REPOSITORY, Project

pytestmark = pytest.mark.workflow

IMAGES = 1_281_167  # of ImageNet-1K train


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Project:
    """A folder with ImageNet's list of names and an empty annotation file, and no photo."""
    project = Project(tmp_path_factory.mktemp("imagenet"))
    data = project.folder / "data"
    (data / "imagenet/train").mkdir(parents=True)
    with open(data / "imagenet/train.txt", "w") as file:
        file.writelines(f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG\n" for i in range(IMAGES))
    (data / "coco/val2017").mkdir(parents=True)
    (data / "coco/annotations").mkdir()
    (data / "coco/annotations/instances_val2017.json").write_text("{}")
    return project


@pytest.mark.parametrize("preset", ["cutler_imagenet", "cuts3d_imagenet"])
def test_imagenet_preset_plans_a_job_a_shard(imagenet, preset):
    shutil.copy(REPOSITORY / f"workflow/presets/{preset}.yaml", imagenet.config_file)
    done = imagenet.snakemake("--dry-run", "--quiet", "rules")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    masks = len(imagenet.config["benchmarks"]["coco_val2017"]["masks"])
    assert int(jobs["images"]) == 1300 + 8
    assert int(jobs["features"]) == 1300 + 8
    assert int(jobs["masks"]) == 1300 + 8 * masks
    assert int(jobs["recipe"]) == 1
