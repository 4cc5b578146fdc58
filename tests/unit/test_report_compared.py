"""report.compared: the differences of a table's CSV, as the page shows them."""

import csv
import re

from report_project import make_report, make_results

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


def test_the_page_prints_bold_what_leaves_zero_out_alone(tmp_path, monkeypatch):
    """Bold by a key of each cell: one called as a method of dict would be true of all."""
    monkeypatch.chdir(tmp_path)
    scenes = {"kind": "scenes", "flavour": "control", "count": 4, "height": 64, "width": 64}
    benchmark = {"dataset": "control", "masks": ["maskcut"], "bootstrap": 30}
    raw = {
        "datasets": {"control": scenes},
        "features": {"colour": {"size": 64}},
        "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
        "masks": {"maskcut": {"graphs": "colour", "refine": "none"}},
        "benchmarks": {"control": benchmark | {"against": "centre_box"}},
    }
    page = make_report(make_results(raw).summary()).read_text()
    part = page.partition("Differences to centre_box")[2].partition("</table>")[0]
    cells = re.findall(r'<td class="number( best)?">([^<]*)<small>([^<]*)</small>', part)
    assert len(cells) > 20
    sure = [bold for bold, value, ends in cells if value]
    expected = [
        not low <= 0 <= high for low, high in (map(float, e.split(" to ")) for *_, e in cells)
    ]
    clear = [i for i, (_, _, ends) in enumerate(cells) if "0.0" not in ends]  # ends are rounded
    assert [bool(sure[i]) for i in clear] == [expected[i] for i in clear]
    assert 0 < sum(map(bool, sure)) < len(sure)
