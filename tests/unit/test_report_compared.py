"""report.compared: the differences of a table's CSV, as the page shows them."""

import csv

from cleave.benchmarks.table import build, write
from cleave.report.compared import compared

TITLES = {"mask_AP50": ("masks", "AP50"), "box_AP50": ("boxes", "AP50")}


def lines(tmp_path, rows, scores):
    write(build(rows, scores, "COCO val2017"), "t", tmp_path / "t.csv", tmp_path / "t.md")
    with open(tmp_path / "t.csv", newline="") as file:
        return list(csv.DictReader(file))[: len(rows)]


def row(of, **more):
    return {"of": of, "kind": "k", "baseline": False, "saw_labels": [], **more}


def test_only_methods_of_the_protocol_stand_beside_published_numbers(tmp_path):
    detector = {"recipe": "r", "detector": "d", "round": 0, "images": 9, "masks": "cut"}
    rows = [row("cut"), row("r.round0", **detector), {"of": "centre_box", "baseline": True}]
    scores = {r["of"]: {"mask_AP50": 20.0, "images": 1.0, "objects": 1.0} for r in rows}
    (found,) = compared(lines(tmp_path, rows, scores), TITLES)
    assert found["title"] == "masks AP50"
    assert found["methods"] == ("r.round0",)
    assert found["ours"] == ["20.0"]
    assert found["rows"][0] == {"name": "CutLER, DINO, IN1K", "value": "18.9", "found": ["+1.1"]}


def test_nothing_to_compare(tmp_path):
    rows = [row("cut")]
    scores = {"cut": {"mask_AP50": 20.0, "images": 1.0, "objects": 1.0}}
    assert compared(lines(tmp_path, rows, scores), TITLES) == []
    assert compared([], TITLES) == []
