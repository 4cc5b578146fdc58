"""The report's part on speed: from files of `make bench` to plots and a table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from cleave import paths
from cleave.report.speed import read_speed
from cleave.types import DataError

ROWS = [
    {"stage": "NCut <3>", "unit": "CPU s", "ours": 0.25, "naive": 20.0, "twin": "dense & slow"},
    {"stage": "slower", "unit": "CPU s", "ours": 2.0, "naive": 1.0, "twin": "other"},
    {"stage": "memory", "unit": "MB", "ours": 100.0, "naive": 500.0},
    {"stage": "masks: maskcut", "unit": "images/s", "ours": 8.0, "peak": 126.3, "file": 0.005},
]
POINTS = [
    {"stage": f"curve, {n}", "unit": "CPU ms an image", "ours": 35.0, "peak": 120.0, "images": n}
    for n in (250, 1000)
]
FIT = {"stage": "curve", "unit": "exponent", "ours": 1.01}


def write(path, rows):
    machine = {"processor": "Some CPU", "cores": 2, "memory": 8, "gpu": "", "torch": "2.1"}
    run = {"date": "2026-11-21", "threads": "1", "rows": rows}
    path.write_text(json.dumps({"machine": machine, "benchmarks": {"all": run}}))
    return path


def test_a_bar_a_twin_and_a_line_a_row(tmp_path):
    (machine,) = read_speed([write(tmp_path / "a.json", [*ROWS, *POINTS, FIT])])
    assert machine["name"] == "Some CPU"
    assert machine["about"] == ("Some CPU, 2 cores, 8 GB; OMP_NUM_THREADS 1; torch 2.1; 2026-11-21")
    beside = ElementTree.fromstring(machine["beside"])
    widths = [float(e.get("width")) for e in beside.iter("rect") if e.get("class") == "bar"]
    assert [e.text for e in beside.iter("text") if e.get("class") == "number"] == ["80", "0.5"]
    assert widths[0] > widths[1]
    assert "NCut <3>: 0.25 CPU s, 20 by dense & slow" in [e.text for e in beside.iter("title")]
    assert [row["ratio"] for row in machine["table"]] == ["80", "0.5", "5", *[""] * 4]
    assert machine["table"][3]["peak"] == "126"
    assert len(machine["curve"]) == 2
    assert machine["fits"] == [FIT]


def test_what_was_not_measured_is_not_drawn(tmp_path):
    (machine,) = read_speed([write(tmp_path / "a.json", [])])
    assert (machine["beside"], machine["stages"], machine["curve"]) == ("", "", [])
    assert read_speed([]) == []


@pytest.mark.parametrize("text", ["[]", '{"machine": {}}', '{"machine": 1, "benchmarks": {}}', "{"])
def test_another_file_is_named(tmp_path, text):
    path = tmp_path / "strange.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"strange\.json"):
        read_speed([path])


def test_reserved_folder_is_the_one_of_the_benches():
    assert paths.BENCHES.split("/")[1] in paths.RESERVED
