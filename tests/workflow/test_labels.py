"""Labels that change rerun the scores alone, also where each image has a label file of its own."""

from __future__ import annotations

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
