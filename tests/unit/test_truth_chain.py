"""Box-only truth through the whole chain: score, table and report, and what the config refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_project import make_report, make_results

from cleave import config, paths
from cleave.benchmarks.table import METRICS
from cleave.io.atomic import read_json
from cleave.ops.render import scene
from cleave.spec import ConfigError
from cleave.types import Size

CAR = "Car 0 0 0 {} {} {} {} 1 1 1 0 0 0 0\n"
BOXES = {"iou_types": ["box"], "baselines": ["whole_image", "centre_box"], "bootstrap": 10}
METHOD = {
    "features": {"colour": {"size": 8}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {"tokencut": {"graphs": "colour"}},
}


def kitti(folder):
    """Two rendered frames whose labels are the boxes of their objects, in KITTI's layout."""
    for name in ("image_2", "label_2"):
        (folder / name).mkdir(parents=True)
    for seed in (1, 2):
        rendered = scene("crowded", seed, Size(48, 64))
        Image.fromarray(rendered.pixels).save(folder / f"image_2/00000{seed}.png")
        text = ""
        for mask in rendered.instances:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            text += CAR.format(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        (folder / f"label_2/00000{seed}.txt").write_text(text)
    return {
        "kind": "kitti",
        "images": str(folder / "image_2"),
        "annotations": str(folder / "label_2"),
    }


def raw(dataset, **benchmark):
    section = {"dataset": "cars", "masks": "tokencut", **benchmark}
    return {**METHOD, "datasets": {"cars": dataset}, "benchmarks": {"cars": section}}


def test_boxes_alone_come_through_to_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = make_results(raw(kitti(tmp_path / "kitti"), **BOXES, published="KITTI"))
    scores = read_json(Path(paths.SCORES.format(benchmark="cars", of="tokencut")))["scores"]
    assert scores["objects"] > 2
    assert "box_AP50" in scores
    assert not any(name.startswith("mask_") for name in scores)
    text = Path(paths.TABLE_TEXT.format(benchmark="cars")).read_text()
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    titles = [title.strip() for title in header.split("|")]
    assert METRICS["box_AP50"] in titles
    assert METRICS["mask_AP50"] not in titles
    assert "| MaskCut, DINO ViT-B/8 ? | 0.2 | " in text  # the difference to published masks
    page = make_report(loaded.summary()).read_text()
    assert "box AP50, %" in page
    assert "mask AP50" not in page
    assert "<span>masks</span>" not in page  # over no column
    assert '<td class="text">MaskCut, DINO ViT-B/8 ?</td><td>0.2</td>' in page


@pytest.mark.parametrize(
    ("benchmark", "error"),
    [
        ({}, r"benchmarks\.cars\.dataset: it labels boxes only; write iou_types: \[box\] and base"),
        ({**BOXES, "baselines": ["patch_truth"]}, r"labels boxes only; write baselines: \[\]"),
    ],
)
def test_masks_are_refused_where_there_are_none_before_anything_is_made(tmp_path, benchmark, error):
    dataset = {"kind": "kitti", "images": str(tmp_path), "annotations": str(tmp_path)}
    with pytest.raises(ConfigError, match=error):
        config.load(raw(dataset, **benchmark))


def test_a_data_set_without_labels_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"benchmarks\.cars\.dataset: it has no ground truth"):
        config.load(raw({"kind": "folder", "root": str(tmp_path)}))


@pytest.mark.parametrize(
    ("dataset", "fits"),
    [
        ({"kind": "voc", "root": "VOC2012", "truth": "masks"}, True),
        ({"kind": "voc", "root": "VOC2012"}, False),
        ({"kind": "coco", "images": "a", "annotations": "a.json"}, True),
        ({"kind": "coco", "images": "a", "annotations": "a.json", "truth": "boxes"}, False),
        ({"kind": "openimages", "images": "a", "annotations": "a.csv"}, False),
        ({"kind": "scenes", "flavour": "control", "count": 2}, True),
    ],
)
def test_which_data_sets_label_masks(dataset, fits):
    if fits:
        config.load(raw(dataset))
    else:
        with pytest.raises(ConfigError, match="boxes only"):
            config.load(raw(dataset))
    config.load(raw(dataset, **BOXES))
