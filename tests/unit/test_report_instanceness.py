"""The charts of the instance-ness study, from score files written by hand."""

import json
import re
from pathlib import Path

import pytest

from cleave import paths
from cleave.report import gallery, instanceness, tables

COLOURS = {"dino": "#111111", "mae": "#222222"}
ENTRY = {"rows": [{"of": name, "baseline": False} for name in COLOURS]}


def write(of, scores, benchmark="study"):
    path = Path(paths.SCORES.format(benchmark=benchmark, of=of))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"of": of, "scores": scores}))


def curve(metric, values):
    scores = {}
    for k, value in values.items():
        name = f"{metric}_k{k}"
        scores |= {name: value, f"{name}_low": value - 5, f"{name}_high": value + 5}
    return scores


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("dino", {**curve("recall50_multi", {2: 10.0, 3: 20.0, 30: 15.0}), "recall50_multi": 20.0})
    write("mae", curve("recall50_multi", {2: 12.0, 3: 30.0}) | curve("merge_error", {3: 40.0}))


def points(chart):
    """The heights of the marks of each line, by its colour; lower on the page is more."""
    found = {}
    for colour, inside in re.findall(r'<g color="(#\d+)"[^>]*>(.*?)</g>', chart):
        found[colour] = [float(y) for y in re.findall(r'"point" transform="\S+ (\S+)\)"', inside)]
    return found


def test_curves_are_read_by_k_and_what_has_no_k_is_left(results):
    curves = instanceness.read_curves("study", "dino")
    assert set(curves) == {"recall50_multi"}
    assert curves["recall50_multi"][3] == (20.0, 15.0, 25.0)
    assert set(curves["recall50_multi"]) == {2, 3, 30}


def test_a_chart_a_metric_and_a_line_a_method(results):
    found = instanceness.section("study", ENTRY, COLOURS)
    assert len(found["charts"]) == 2  # nobody has an object that is the only one of its class
    recall, merging = found["charts"]
    assert "several of their class" in recall
    heights = points(recall)
    assert [len(heights[colour]) for colour in COLOURS.values()] == [3, 2]
    dino, mae = heights.values()
    assert dino[0] > mae[0] > dino[1] > mae[1]  # 10, 12, 20, 30 per cent
    assert list(points(merging)) == ["#222222"]
    assert [row["name"] for row in found["legend"]] == ["dino", "mae"]


def test_the_axis_has_each_k_that_fits(results):
    chart = instanceness.section("study", ENTRY, COLOURS)["charts"][0]
    assert [f">{k}<" in chart for k in (2, 3, 30)] == [True] * 3
    write("dino", curve("recall50_multi", dict.fromkeys([2, 3, *range(20, 31)], 10.0)))
    crowded = instanceness.section("study", ENTRY, COLOURS)["charts"][0]
    assert ">20<" in crowded
    assert ">21<" not in crowded


def test_intervals_are_drawn_where_lines_are_few(results):
    def whiskers(found):
        return sum(chart.count('class="whisker"') for chart in found["charts"])

    found = instanceness.section("study", ENTRY, COLOURS)
    assert found["whiskers"]
    assert whiskers(found) == 3 + 2 + 1
    colours = COLOURS | {name: "#333333" for name in "abc"}
    for name in "abc":
        write(name, curve("recall50_multi", {2: 1.0}))
    entry = {"rows": [{"of": name, "baseline": False} for name in colours]}
    many = instanceness.section("study", entry, colours)
    assert not many["whiskers"]
    assert whiskers(many) == 0


def test_other_benchmarks_and_baselines_have_no_charts(results):
    write("maskcut", {"mask_AP": 1.0, "mask_AR3_low": 2.0}, "coco")
    other = {"rows": [{"of": "maskcut", "baseline": False}]}
    assert instanceness.section("coco", other, {}) is None
    baselines = {"rows": [{"of": name, "baseline": True} for name in COLOURS]}
    assert instanceness.section("study", baselines, COLOURS) is None


def test_every_metric_of_the_study_has_a_column_and_merging_is_not_better_when_larger():
    columns = {metric for metric in tables.COLUMNS if metric.startswith(("recall", "merge", "sal"))}
    assert len(columns) == 7
    assert "merge_error" in tables.COUNTS


def test_of_a_study_the_segments_of_one_k_are_drawn():
    found = [{"label": k, "score": 1.0} for k in (2, 5, 5, 15)]
    assert gallery.of_method(found, {}) == found[1:3]
    assert gallery.of_method(found[1:3], {}) == found[1:3]
    plain = [{"score": 1.0}] * 3
    assert gallery.of_method(plain, {}) == plain
