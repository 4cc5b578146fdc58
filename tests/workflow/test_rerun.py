"""DESIGN, section 7: change a value, and only what reads it and what follows runs again."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from conftest import RAISED

pytestmark = pytest.mark.workflow

SHARDS = {"crowded": ("0001-of-0002", "0002-of-0002"), "control": ("0001-of-0001",)}
REPORT = {"report/index.html"}
TABLE = {"tables/crowded.csv"} | REPORT
RECIPE = {"recipes/control/annotations.json"} | REPORT


def shards(pattern: str, *datasets: str) -> set[str]:
    """The files of every shard, of all data sets or of those named."""
    pairs = [(name, shard) for name in datasets or SHARDS for shard in SHARDS[name]]
    return {pattern.format(dataset=name, shard=shard) for name, shard in pairs}


def masks(name: str, *datasets: str) -> set[str]:
    return shards(f"{{dataset}}/masks/{name}/{{shard}}.json", *datasets)


def scored(*rows: str) -> set[str]:
    """New predictions of these rows, and what follows."""
    files = ("predictions", "scores")
    return {f"benchmarks/crowded/{row}/{file}.json" for row in rows for file in files} | TABLE


FEATURES = shards("{dataset}/features/colour/{shard}.h5")
GRAPHS = shards("{dataset}/graphs/colour/{shard}.h5")
MASKCUT = masks("maskcut", "crowded") | scored("maskcut")
CLEAVE3D = masks("cleave3d") | scored("cleave3d") | RECIPE


def of_control(masks: str) -> set[str]:
    """All that is made of the data set `control`."""
    kinds = ("images/{shard}.json", "features/colour/{shard}.h5", "depth/sensor/{shard}.h5")
    kinds += ("graphs/colour/{shard}.h5", f"masks/{masks}/{{shard}}.json")
    return {path for kind in kinds for path in shards("{dataset}/" + kind, "control")}


def test_nothing_changed_plans_nothing(project):
    """Not even where the config is touched, commented, reordered and its defaults written out."""

    def same(config):
        for kind in list(config):
            config[kind] = dict(reversed(config.pop(kind).items()))
        config["masks"]["maskcut"] |= {"max_masks": 3, "kind": "maskcut"}
        config["masks"]["unused"] = {"kind": "tokencut", "graphs": "colour"}

    assert project.planned() == set()
    project.change(same)
    project.config_file.write_text("# a comment\n" + project.config_file.read_text())
    os.utime(project.config_file)
    assert project.planned() == set()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("datasets.control.first_seed", 7001, of_control("cleave3d") | RECIPE),
        ("features.colour.position_weight", 0.5, FEATURES | GRAPHS | MASKCUT | CLEAVE3D),
        ("depth.sensor.noise", "monocular", shards("{dataset}/depth/sensor/{shard}.h5") | CLEAVE3D),
        ("graphs.colour.centre", False, GRAPHS | MASKCUT | CLEAVE3D),
        ("masks.maskcut.max_masks", 2, MASKCUT),
        ("masks.cleave3d.max_cuts", 2, CLEAVE3D),
        ("masks.cleave3d.depth", "exact", shards("{dataset}/depth/exact/{shard}.h5") | CLEAVE3D),
        (
            "benchmarks.crowded.bootstrap",
            30,
            {f"benchmarks/crowded/{r}/scores.json" for r in ("maskcut", "cleave3d", "centre_box")}
            | TABLE,
        ),
        ("benchmarks.crowded.masks", ["cleave3d", "maskcut"], TABLE),
        (
            "recipes.other",
            {"dataset": "crowded", "masks": "maskcut"},
            {"recipes/other/annotations.json"} | REPORT,
        ),
    ],
)
def test_changed_value_reruns_what_reads_it_and_what_follows(project, path, value, expected):
    project.set(path, value)
    assert project.planned() == expected


def test_added_method_runs_its_own_jobs(project):
    def add(config):
        config["masks"]["tokencut"] = {"graphs": "colour"}
        config["benchmarks"]["crowded"]["masks"].append("tokencut")

    project.change(add)
    assert project.planned() == masks("tokencut", "crowded") | scored("tokencut")


def test_raised_version_of_a_stage_reruns_it(project):
    assert project.planned(before=RAISED.format(stage="graphs")) == GRAPHS | MASKCUT | CLEAVE3D


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ("control/masks/cleave3d/0001-of-0001.json", masks("cleave3d", "control") | RECIPE),
        ("tables/crowded.md", TABLE),
        ("benchmarks/crowded/maskcut/predictions.json", scored("maskcut")),
        (
            "crowded/graphs/colour/0002-of-0002.h5",
            {"crowded/graphs/colour/0002-of-0002.h5"}
            | {f"crowded/masks/{name}/0002-of-0002.json" for name in ("maskcut", "cleave3d")}
            | scored("maskcut", "cleave3d"),
        ),
    ],
)
def test_lost_file_is_made_again_with_what_follows(project, lost, expected):
    (project.results / lost).unlink()
    assert project.planned() == expected


def test_caches_may_be_deleted_where_results_are_named(project):
    for folder in ("features", "depth", "graphs"):
        shutil.rmtree(project.results / "control" / folder)
    assert project.planned("results/recipes/control/annotations.json") == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"masks": {"maskcut": {"grafs": "colour"}}}, "masks.maskcut: unknown key 'grafs'"),
        ({"masks": {"maskcut": {"graphs": "color"}}}, "did you mean 'colour'"),
        ({"datasets": {"crowded": {"count": "four"}}}, "datasets.crowded.count: "),
        ({"depth": {"sensor": {"noise": "sensr"}}}, "depth.sensor.noise: "),
    ],
)
def test_wrong_config_stops_before_the_plan(project, change, expected):
    def edit(config):
        for kind, entries in change.items():
            for name, entry in entries.items():
                config[kind][name] |= entry

    project.change(edit)
    printed = project.snakemake("--dry-run", check=False)
    assert expected in printed
    assert "Traceback" not in printed
    assert "Building DAG" not in printed


def test_what_was_measured_on_the_machine_reruns_the_report_alone(project):
    machine = {"processor": "Some CPU", "cores": 2, "memory": 8, "gpu": ""}
    file = project.results / "bench" / "some-cpu.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"machine": machine, "benchmarks": {}}))
    assert project.planned() == REPORT
    project.snakemake()
    assert "Some CPU, 2 cores" in (project.results / "report/index.html").read_text()
    assert project.planned() == set()
