"""Paired differences: kept by the score stage, joined by the table, shown in three places."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from cleave.benchmarks import bootstrap, paired
from cleave.benchmarks.coco import Result
from cleave.report.compared import against
from cleave.stages import baseline, images, score, table
from cleave.stages.job import Job
from cleave.types import DataError

SCENES = {"kind": "scenes", "flavour": "crowded", "count": 5, "height": 64, "width": 72}
NAMES = ("centre_box", "whole_image", "patch_truth")


def job(spec, output, **inputs):
    given = {name: v if isinstance(v, tuple) else (v,) for name, v in inputs.items()}
    return Job(output.parent.name, spec, 1, given, output)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The table of three baselines, their differences to the centred box in it."""
    root = tmp_path_factory.mktemp("paired")
    listed, files = root / "images/0001-of-0001.json", []
    images.run(job(SCENES, listed))
    spec = {"kind": "coco", "bootstrap": 40, "against": "centre_box", "iou_types": ["mask"]}
    for name in NAMES:
        found = root / name / "predictions.json"
        baseline.run(job({"baseline": name}, found, images=listed))
        files.append(root / name / "scores.json")
        score.run(job(spec, files[-1], images=listed, predictions=found))
    rows = [{"of": name, "baseline": True} for name in NAMES]
    made = {"benchmark": "b", "dataset": "d", "rows": rows}
    table.run(job(made, root / "b.csv", scores=tuple(files)))
    return root


def lines(root):
    with open(root / "b.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_difference_and_its_interval(scored):
    """Against the definition: resample the images, score both methods, subtract."""
    files = {name: json.loads((scored / name / "scores.json").read_text()) for name in NAMES}
    one, other = files["patch_truth"], files["centre_box"]
    for metric in ("mask_AR3", "mask_AP", "mask_best_iou", "CorLoc"):
        line = lines(scored)[2]
        difference = one["scores"][metric] - other["scores"][metric]
        assert float(line[f"over centre_box: {metric}"]) == pytest.approx(difference, abs=1e-3)
        drawn = np.subtract(one["samples"][metric], other["samples"][metric])
        ends = [float(line[f"over centre_box: {metric}{end}"]) for end in ("_low", "_high")]
        np.testing.assert_allclose(ends, np.percentile(drawn, [2.5, 97.5]), atol=1e-3)
    best = [one["best_iou"], other["best_iou"]]
    assert best[0].keys() == best[1].keys()


def test_kept_samples_are_those_of_the_images(scored):
    """CorLoc of each resample is the mean over the images drawn: none of them by chance."""
    file = json.loads((scored / "patch_truth/scores.json").read_text())
    assert len(file["samples"]["CorLoc"]) == 40
    weights = bootstrap.resamples(5, 40, 0)
    shares = {round(float(v), 4) for v in np.arange(6) * 20}
    assert set(file["samples"]["CorLoc"]) <= shares
    assert weights.shape == (40, 5)


def test_the_row_itself_has_no_difference(scored):
    (reference, *_) = lines(scored)
    assert {v for name, v in reference.items() if name.startswith("over ")} == {""}
    block = paired.block(lines(scored))
    assert block.against == "centre_box"
    assert [name for name, _ in block.rows] == ["whole image", "patch truth"]
    assert block.metrics == tuple(m for m in paired.METRICS if not m.startswith("box_"))


def test_markdown_and_page_show_them(scored):
    text = (scored / "b.md").read_text()
    assert "Minus `centre_box`, on the same resamples" in text
    assert "| patch truth | **+" in text
    shown = against(lines(scored))
    assert shown["name"] == "centre_box"
    assert shown["columns"][:3] == ["AP", "AP50", "AR@3"]
    assert shown["rows"][1]["cells"][0]["sure"]
    assert shown["rows"][1]["cells"][0]["value"].startswith("+")


def test_without_the_field_nothing_changes(scored, tmp_path):
    listed, found = scored / "images/0001-of-0001.json", scored / "whole_image/predictions.json"
    output = tmp_path / "whole_image/scores.json"
    score.run(job({"kind": "coco", "bootstrap": 40}, output, images=listed, predictions=found))
    assert "samples" not in json.loads(output.read_text())
    rows = [{"of": "whole_image", "baseline": True}]
    made = {"benchmark": "b", "dataset": "d", "rows": rows}
    table.run(job(made, tmp_path / "b.csv", scores=output))
    assert "over " not in (tmp_path / "b.csv").read_text()
    assert "Minus" not in (tmp_path / "b.md").read_text()
    assert against(lines(tmp_path)) is None
    assert paired.block([]) is None


def test_what_is_not_defined_stays_undefined_through_the_file():
    result = Result(("a",), {"CorLoc": 1.0}, {"CorLoc": np.array([1.0, np.nan, 3.0])}, {})
    kept = json.loads(json.dumps(paired.samples(result), allow_nan=False))
    assert kept == {"CorLoc": [1.0, None, 3.0]}
    files = [{"of": of, "scores": {"CorLoc": v}, "samples": kept} for of, v in (("a", 1), ("b", 3))]
    assert paired.differences(files, "a") == {
        "b": {"over a: CorLoc": 2, "over a: CorLoc_low": 0, "over a: CorLoc_high": 0}
    }
    with pytest.raises(DataError, match="score both alike"):
        paired.differences([files[0], {**files[1], "samples": {"CorLoc": [1.0]}}], "a")


def test_clear_is_what_leaves_zero_out():
    assert paired.is_clear((1.0, 0.1, 2.0))
    assert paired.is_clear((-1.0, -2.0, -0.1))
    assert not paired.is_clear((1.0, 0.0, 2.0))
    assert not paired.is_clear((0.5, -1.0, 2.0))
