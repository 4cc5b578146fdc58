"""The report on pre-training: what is drawn of the metrics, and the rate that a log tells."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cleave import paths
from cleave.report.pretraining import read_pretraining, read_rates

SUMMARY = {
    "methods": {
        "a": {"kind": "maskcut", "features": "vit", "pretrain": "mine"},
        "b": {"kind": "maskcut", "features": "vit", "pretrain": "mine"},
        "c": {"kind": "maskcut", "features": "colour"},
    }
}
LINES = [
    {"phase": "mae", "step": 5, "loss": 1.0, "patch_rank": 3.0},
    {"phase": "mae", "step": 9, "loss": 0.51239, "patch_rank": 7.0},
    {"phase": "distil", "step": 4, "loss": 9.0, "view_loss": 4.0, "scale": 65536.0},
    {"phase": "distil", "step": 8, "loss": 8.0, "view_loss": 4.5, "scale": 32768.0}
    | {"gradient_norm": 2.0},
]
LOG = """INFO pretrain: 8 photos, from scratch
INFO pretrain: mae step 5 of 9, loss 1.0000, 10.00 images/s
INFO pretrain: mae step 9 of 9, loss 0.5124, 20.00 images/s
INFO pretrain: distil step 4 of 8, loss 9.0000, 1.25 images/s
Traceback: step 4 of 8
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {paths.METRICS: "".join(json.dumps(line) + "\n" for line in LINES)}
    files[paths.log(paths.WEIGHTS)] = LOG
    for pattern, text in files.items():
        path = Path(pattern.format(pretrain="mine"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def titles(phase) -> list[str]:
    charts = [ElementTree.fromstring(chart) for chart in phase["charts"]]
    return [next(e.text for e in svg.iter() if e.get("class") == "title") for svg in charts]


def test_each_phase_has_its_charts_once(results):
    (found,) = read_pretraining(SUMMARY)
    assert found["name"] == "mine"
    mae, distil = found["phases"]
    assert (mae["name"], mae["steps"], mae["last"]) == ("mae", 9, "0.5124")
    assert titles(mae) == ["total loss", "effective rank of patches"]
    assert titles(distil) == ["total loss", "view loss", "gradient norm", "loss scale"]
    svg = ElementTree.fromstring(mae["charts"][0])
    (line,) = [e for e in svg.iter() if e.get("class") == "line"]
    assert line.get("d").count("L") == 1  # through both points


def test_rates_are_medians_of_the_log(results):
    assert read_rates(SUMMARY) == [
        {"name": "mine", "phase": "mae", "rate": "15"},
        {"name": "mine", "phase": "distil", "rate": "1.25"},
    ]


def test_without_pretraining_there_is_nothing(results):
    summary = {"methods": {"c": SUMMARY["methods"]["c"]}}
    assert read_pretraining(summary) == read_rates(summary) == []


def test_the_line_that_the_training_logs_is_understood(caplog, tmp_path):
    torch = pytest.importorskip("torch")
    from pretrain_toys import CONFIG

    from cleave.pretrain.bank import Bank
    from cleave.pretrain.train import train
    from cleave.report.pretraining import STEP_LINE

    caplog.set_level("INFO", "cleave")
    photos = torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8)
    train(CONFIG, Bank(photos), tmp_path, seconds=0)
    train(CONFIG, Bank(photos), tmp_path, resume=tmp_path / "checkpoint.pt")
    found = [STEP_LINE.match(f"INFO {record.message}") for record in caplog.records]
    phases = [match[1] for match in found if match]
    assert phases == ["mae", "mae", "distil", "distil", "collage", "collage"]
