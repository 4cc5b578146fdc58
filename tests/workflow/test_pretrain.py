"""Pre-training in the DAG: what it makes is an input of the features that name it, of no others."""

from __future__ import annotations

import pytest
from conftest import CONFIGS, Project, copied, run_to_end

pytestmark = pytest.mark.workflow

WEIGHTS = "pretrain/tiny/weights.safetensors"
RESULTS = {"recipes/rotary/annotations.json", "report/index.html"}
FOLLOWS = RESULTS | {
    f"crowded/{path}"
    for path in (
        "features/rotary/0001-of-0001.h5",
        "graphs/rotary/0001-of-0001.h5",
        "masks/rotary/0001-of-0001.json",
    )
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Project:
    return run_to_end(CONFIGS / "pretrain.yaml", tmp_path_factory.mktemp("pretrained"))


@pytest.fixture
def project(pretrained, tmp_path) -> Project:
    return copied(pretrained, tmp_path / "copy")


def test_folder_holds_the_weights_their_metrics_and_exports_alone(pretrained):
    found = (pretrained.folder / "results/pretrain/tiny").iterdir()
    assert {path.name for path in found} == {"weights.safetensors", "metrics.jsonl", "exports"}
    assert pretrained.planned() == set()
    report = (pretrained.folder / "results/report/index.html").read_text()
    assert 'id="pretraining"' in report
    assert "photos a second" in report


def test_changed_pretraining_reruns_what_follows_alone(project):
    project.set("pretrain.tiny.distil.momentum", 0.9)
    assert project.planned() == {WEIGHTS} | FOLLOWS


def test_changed_use_trains_nothing(project):
    for kind in ("features", "graphs"):
        project.set(f"{kind}.rotary.facet", "query")
    assert project.planned() == FOLLOWS


def test_changed_other_features_train_nothing(project):
    project.set("features.colour.position_weight", 0.5)
    assert project.planned() == {path.replace("rotary", "colour") for path in FOLLOWS}


def test_one_pretraining_begins_with_the_weights_of_another(project):
    def second(config: dict) -> None:
        begun = {"start": f"results/{WEIGHTS}"}
        config["pretrain"]["second"] = config["pretrain"]["tiny"] | begun
        config["features"]["rotary"]["pretrain"] = "second"

    project.change(second)
    made = {"pretrain/second/weights.safetensors"} | FOLLOWS
    assert project.planned() == made
    project.set("pretrain.tiny.distil.momentum", 0.9)
    assert project.planned() == made | {WEIGHTS}


@pytest.mark.parametrize("section", ["pretrain.tiny.start", "features.rotary.weights"])
def test_weights_that_are_nowhere_stop_the_plan(project, section):
    """Though all that was made with others is there."""
    project.change(lambda config: config["features"]["rotary"].pop("pretrain"))
    if section.startswith("pretrain"):
        project.set("features.rotary.pretrain", "tiny")
    project.set(section, "nowhere.safetensors")
    printed = project.snakemake("--dry-run", check=False)
    assert f"{section}: nowhere.safetensors: there is no such file" in printed
