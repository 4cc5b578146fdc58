"""DESIGN: change one value, and only the stages that read it and what follows run again."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.workflow

CROWDED = ("0001-of-0002", "0002-of-0002")
CONTROL = ("0001-of-0001",)


def shards(pattern: str) -> set[str]:
    """`*` stands for both data sets with all their shards."""
    crowded = {pattern.replace("*", "crowded", 1).replace("#", shard) for shard in CROWDED}
    control = {pattern.replace("*", "control", 1).replace("#", shard) for shard in CONTROL}
    return (crowded | control) if "*" in pattern else {pattern}


def scored(*of: str) -> set[str]:
    files = {f"benchmarks/crowded/{name}/{kind}.json" for name in of for kind in PREDICTED}
    return files | TABLE


PREDICTED = ("predictions", "scores")
REPORT = {"report/index.html"}
TABLE = {"tables/crowded.csv"} | REPORT
RECIPE = {"recipes/control/annotations.json"} | REPORT
CROWDED_MASKS = {f"crowded/masks/{{}}/{shard}.json" for shard in CROWDED}


def masks(name: str, *datasets: str) -> set[str]:
    of = {"crowded": CROWDED, "control": CONTROL}
    return {f"{d}/masks/{name}/{shard}.json" for d in datasets for shard in of[d]}


def test_second_run_plans_nothing(project):
    assert project.planned() == set()


def test_order_of_keys_comment_and_touch_plan_nothing(project):
    config = project.config
    shuffled = {kind: dict(reversed(list(config[kind].items()))) for kind in reversed(config)}
    project.write(shuffled)
    project.config_file.write_text("# a comment\n" + project.config_file.read_text())
    os.utime(project.config_file)
    assert project.planned() == set()


def test_default_written_out_plans_nothing(project):
    config = project.config
    config["masks"]["maskcut"]["max_masks"] = 3
    config["masks"]["maskcut"]["kind"] = "maskcut"
    project.write(config)
    assert project.planned() == set()


def test_changed_mask_field_reruns_that_method_alone(project):
    config = project.config
    config["masks"]["maskcut"]["max_masks"] = 2
    project.write(config)
    assert project.planned() == masks("maskcut", "crowded") | scored("maskcut")


def test_changed_method_of_a_recipe_reruns_the_recipe_too(project):
    config = project.config
    config["masks"]["cleave3d"]["max_masks"] = 2
    project.write(config)
    expected = masks("cleave3d", "crowded", "control") | scored("cleave3d") | RECIPE
    assert project.planned() == expected


def test_changed_depth_reruns_only_what_looks_at_depth(project):
    config = project.config
    config["depth"]["sensor"]["noise"] = "monocular"
    project.write(config)
    expected = shards("*/depth/sensor/#.h5") | masks("cleave3d", "crowded", "control")
    assert project.planned() == expected | scored("cleave3d") | RECIPE


def test_another_depth_section_is_another_input(project):
    config = project.config
    config["masks"]["cleave3d"]["depth"] = "exact"
    project.write(config)
    expected = shards("*/depth/exact/#.h5") | masks("cleave3d", "crowded", "control")
    assert project.planned() == expected | scored("cleave3d") | RECIPE


def test_changed_graph_reruns_no_features(project):
    config = project.config
    config["graphs"]["colour"]["centre"] = False
    project.write(config)
    expected = shards("*/graphs/colour/#.h5") | masks("cleave3d", "crowded", "control")
    expected |= masks("maskcut", "crowded") | scored("maskcut", "cleave3d") | RECIPE
    assert project.planned() == expected


def test_changed_features_rerun_no_images_and_no_depth(project):
    config = project.config
    config["features"]["colour"]["position_weight"] = 0.5
    project.write(config)
    expected = shards("*/features/colour/#.h5") | shards("*/graphs/colour/#.h5")
    expected |= masks("cleave3d", "crowded", "control") | masks("maskcut", "crowded")
    assert project.planned() == expected | scored("maskcut", "cleave3d") | RECIPE


def test_changed_benchmark_field_reruns_the_scores_alone(project):
    config = project.config
    config["benchmarks"]["crowded"]["bootstrap"] = 30
    project.write(config)
    rows = ("maskcut", "cleave3d", "centre_box")
    assert project.planned() == {f"benchmarks/crowded/{r}/scores.json" for r in rows} | TABLE


def test_added_section_runs_its_own_jobs(project):
    config = project.config
    config["masks"]["tokencut"] = {"graphs": "colour"}
    config["benchmarks"]["crowded"]["masks"].append("tokencut")
    project.write(config)
    assert project.planned() == masks("tokencut", "crowded") | scored("tokencut")


def test_unused_section_plans_nothing(project):
    config = project.config
    config["masks"]["tokencut"] = {"graphs": "colour"}
    project.write(config)
    assert project.planned() == set()


def test_lost_file_is_made_again_with_what_follows(project):
    (project.folder / "results/control/masks/cleave3d/0001-of-0001.json").unlink()
    assert project.planned() == masks("cleave3d", "control") | RECIPE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"masks": {"maskcut": {"grafs": "colour"}}}, "masks.maskcut"),
        ({"masks": {"maskcut": {"graphs": "color"}}}, "did you mean 'colour'"),
        ({"datasets": {"crowded": {"count": "four"}}}, "datasets.crowded.count"),
        ({"depth": {"sensor": {"noise": "sensr"}}}, "depth.sensor.noise"),
    ],
)
def test_wrong_config_stops_before_the_plan(project, change, expected):
    config = project.config
    for kind, entries in change.items():
        for name, entry in entries.items():
            config[kind][name] |= entry
    project.write(config)
    done = project.snakemake("--dry-run", check=False)
    assert done.returncode
    assert expected in done.stdout + done.stderr
