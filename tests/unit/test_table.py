"""benchmarks.table: what stands where, what is missing, and what is marked as no method."""

import csv

import numpy as np
import pytest

from cleave.benchmarks import published
from cleave.benchmarks.table import METRICS, build, markdown, write
from cleave.spec import ConfigError

ROWS = [
    {"of": "maskcut", "kind": "maskcut", "baseline": False, "features": "colour", "saw_labels": []},
    {
        "of": "cuts3d",
        "kind": "cuts3d",
        "baseline": False,
        "depth": "zoedepth",
        "saw_labels": ["zoedepth: depth of NYU|KITTI"],
    },
    {"of": "centre_box", "baseline": True},
    {"of": "patch_truth", "baseline": True},
]
COUNTS = {"images": 24.0, "objects": 120.0}
SCORES = {
    "maskcut": {"mask_AP": 5.25, "mask_AP_low": 4.0, "mask_AP_high": 7.0, "other": 1.0, **COUNTS},
    "cuts3d": {"mask_AP": 6.0, "CorLoc": 40.0, **COUNTS},
    "centre_box": {"mask_AP": 0.1, **COUNTS},
    "patch_truth": {"mask_AP": 60.0, **COUNTS},
}


def test_rows_keep_their_order_and_role():
    frame = build(ROWS, SCORES)
    assert frame["method"].tolist() == ["maskcut", "cuts3d", "centre box", "patch truth"]
    assert frame["role"].tolist() == ["method", "method", "trivial", "ceiling"]
    assert frame["saw_labels"].tolist() == [
        "",
        "zoedepth: depth of NYU|KITTI",
        "",
        "the ground truth",
    ]
    assert frame["images"].tolist() == [24] * 4
    assert "source" not in frame


def test_known_metrics_come_first_and_intervals_behind_their_value():
    columns = build(ROWS, SCORES).columns.tolist()
    assert columns[columns.index("mask_AP") :] == [
        *("mask_AP", "mask_AP_low", "mask_AP_high"),
        *("CorLoc", "other"),
    ]


def test_published_numbers_stand_below_and_only_of_the_same_data_set():
    frame = build(ROWS, SCORES, "COCO20k")
    ours, theirs = frame.iloc[:4], frame.iloc[4:]
    assert (theirs["role"] == "published").all()
    assert (ours["source"] == "").all()
    expected = {
        (row.method, row.backbone, metric, row.value)
        for row in published.lookup("COCO20k")
        if (metric := published.our_name(row))
    }
    found = {
        (row["method"], row["features"], metric, row[metric])
        for _, row in theirs.iterrows()
        for metric in {name for *_, name, _ in expected}
        if not np.isnan(row[metric])
    }
    assert found == expected
    assert theirs["source"].str.len().min() > 0
    assert theirs["images"].isna().all()


def test_two_numbers_of_one_source_are_both_shown(monkeypatch):
    one = published.Row("M", "B", "T", "D", "mask", "AP", 1.0, "S ; S2", "published")
    two = published.Row("M", "B", "T", "D", "mask", "AP", 2.0, "S", "published")
    three = published.Row("M", "B", "T", "D", "box", "AP", 3.0, "S", "published")
    monkeypatch.setattr(published, "lookup", lambda dataset: (one, two, three))
    frame = build([], {}, "D")
    assert frame["mask_AP"].tolist() == [1.0, 2.0]
    assert frame["box_AP"].iloc[0] == 3.0
    assert frame["source"].tolist() == ["S; S2", "S"]


def test_markdown():
    text = markdown(build(ROWS, SCORES, "COCO val2017"), "crowded")
    lines = text.splitlines()
    assert lines[0] == "# crowded"
    assert "24 images, 120 objects" in text
    assert "| 5.2 [4.0, 7.0] |" in text
    assert "NYU\\|KITTI" in text  # a pipe would open a column
    tables = [line for line in lines if line.startswith("|")]
    header = tables[0]
    assert METRICS["mask_AP"] in header
    assert METRICS["mask_AR1000"] not in header  # no row of ours has it
    for block in text.split("\n\n"):
        columns = {line.replace("\\|", "").count("|") for line in block.split("\n") if "|" in line}
        assert len(columns) <= 1
    assert any("CutLER" in line and "18.9" in line for line in tables)


DETECTORS = [
    {
        **{"of": f"ours.round{number}", "kind": "mask_rcnn", "baseline": False, "masks": "maskcut"},
        **{"recipe": "ours", "detector": "small", "round": number, "images": 48 + number},
        **{"trained_on": ["crowded", "mine"][: number + 1], "saw_labels": []},
    }
    for number in range(2)
]
TRAINED = {
    "ours.round0": {"mask_AP50": 12.0, "box_AP": 6.0, **COUNTS},
    "ours.round1": {"mask_AP50": 20.0, **COUNTS},
}


def test_detectors_say_what_they_were_made_of():
    assert "training_images" not in build(ROWS, SCORES)
    frame = build([ROWS[0], *DETECTORS], {**SCORES, **TRAINED})
    assert frame["detector"].tolist() == ["", "small", "small"]
    assert frame["round"].tolist()[1:] == [0, 1]
    assert frame["round"].isna().tolist() == [True, False, False]
    assert frame["training_images"].tolist()[1:] == [48, 49]
    assert frame["trained_on"].tolist() == ["", "crowded", "crowded; mine"]
    assert frame["images"].tolist() == [24] * 3
    text = markdown(frame, "t")
    assert "| ours.round0 | method | mask_rcnn | " in text
    assert "| small | 0 | crowded | 48 |" in text
    assert "<NA>" not in text


def test_differences_are_taken_within_a_protocol_and_to_the_same_metric():
    frame = build([*ROWS, *DETECTORS], {**SCORES, **TRAINED}, "COCO val2017")
    cutler = frame["mask_AP50 minus CutLER, DINO, IN1K"]
    np.testing.assert_allclose(cutler[4:6], [12 - 18.9, 20 - 18.9])
    assert cutler.drop([4, 5]).isna().all()  # neither pseudo-masks nor baselines nor published
    np.testing.assert_allclose(frame["box_AP minus CutLER, DINO, IN1K"][4], 6 - 12.3)
    assert np.isnan(frame["box_AP minus CutLER, DINO, IN1K"][5])  # not scored
    np.testing.assert_allclose(frame["mask_AP minus MaskCut, DINO ViT-B/8 ?"][:2], [3.05, 3.8])
    assert frame["mask_AP minus MaskCut, DINO ViT-B/8 ?"][2:].isna().all()
    assert not any(" minus " in name for name in build(DETECTORS, TRAINED))
    assert not any(" minus " in name for name in build(DETECTORS, TRAINED, "VOC07 trainval"))


def test_markdown_has_ours_published_and_the_difference():
    frame = build([*ROWS, *DETECTORS], {**SCORES, **TRAINED}, "COCO val2017")
    lines = markdown(frame, "t").splitlines()
    at = lines.index("AP50: ours, published, and ours minus published:")
    assert lines[at + 2 : at + 6] == [
        "| | published | ours.round0 | ours.round1 |",
        "| --- | ---: | ---: | ---: |",
        "| this run | | 12.0 | 20.0 |",
        "| CutLER, DINO, IN1K | 18.9 | -6.9 | +1.1 |",
    ]
    assert "| MaskCut, DINO ViT-B/8 ? | 2.2 | +3.0 | +3.8 |" in lines
    assert any(line.startswith("? The source does not say") for line in lines)


def test_files_are_whole_and_reproducible(tmp_path):
    frame = build(ROWS, SCORES, "COCO val2017")
    write(frame, "crowded", tmp_path / "a.csv", tmp_path / "a.md")
    write(build(ROWS, SCORES, "COCO val2017"), "crowded", tmp_path / "b.csv", tmp_path / "b.md")
    for suffix in ("csv", "md"):
        one, other = (tmp_path / f"{name}.{suffix}" for name in "ab")
        assert one.read_bytes() == other.read_bytes()
    with open(tmp_path / "a.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(frame)
    assert (lines[0]["mask_AP"], lines[0]["images"]) == ("5.2500", "24")
    assert lines[1]["mask_AP_low"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.md", "b.csv", "b.md"]


def test_a_row_without_scores_is_an_error():
    with pytest.raises(ConfigError, match="no scores of 'cuts3d'; did you mean 'cuts3'"):
        build(ROWS, {"maskcut": {}, "cuts3": {}})
