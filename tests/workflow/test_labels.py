"""Labels that change rerun the scores alone, also where each image has a label file of its own."""

from __future__ import annotations

import json

import pytest
from conftest import Project
from PIL import Image

pytestmark = pytest.mark.workflow

CAR = "Car 0 0 0 1 1 {} {} 1 1 1 0 0 0 0\n"


def test_a_label_file_that_changes_reruns_what_reads_it(tmp_path):
    project = Project(tmp_path / "labels")
    for name in ("image_2", "label_2"):
        (project.folder / name).mkdir()
    Image.new("RGB", (64, 48), (90, 0, 0)).save(project.folder / "image_2/000000.png")
    (project.folder / "label_2/000000.txt").write_text(CAR.format(20, 20))
    config = {
        "datasets": {"cars": {"kind": "kitti", "images": "image_2", "annotations": "label_2"}},
        "features": {"colour": {"size": 8}},
        "graphs": {"colour": {"kind": "cosine", "features": "colour"}},
        "masks": {"tokencut": {"graphs": "colour"}},
        "benchmarks": {
            "cars": {
                **{"dataset": "cars", "masks": "tokencut", "iou_types": ["box"], "bootstrap": 0},
                "baselines": ["centre_box"],
            }
        },
    }
    project.write(config)
    project.snakemake()
    assert project.planned() == set()
    (project.folder / "label_2/000000.txt").write_text(CAR.format(200, 20))
    assert project.planned() == {
        "benchmarks/cars/centre_box/predictions.json",
        "benchmarks/cars/centre_box/scores.json",
        "benchmarks/cars/tokencut/scores.json",
        "tables/cars.csv",
        "report/index.html",
    }


def test_annotations_in_a_home_folder_are_found_and_missed(tmp_path, monkeypatch):
    """And missed though all that was made of them is there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    project = Project(tmp_path / "labels")
    Image.new("RGB", (64, 48), (90, 0, 0)).save(project.folder / "a.png")
    entry = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"images": [entry], "annotations": [], "categories": []}))
    coco = {"kind": "coco", "images": ".", "annotations": "~/labels.json"}
    project.write({"datasets": {"mine": coco}, "features": {"colour": {"size": 8}}})
    project.snakemake("results/mine/images/0001-of-0001.json")
    file.unlink()
    printed = project.snakemake("results/mine/images/0001-of-0001.json", check=False)
    assert "datasets.mine" in printed
    assert f"{file}: there is no such file" in printed
