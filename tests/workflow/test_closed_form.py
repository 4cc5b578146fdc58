"""Closed-form pre-training in the DAG: one file, which two kinds of features read."""

from __future__ import annotations

import csv

import pytest
from conftest import CONFIGS, Project, copied, run_to_end

pytestmark = pytest.mark.workflow

WEIGHTS = "pretrain/tiny/weights.safetensors"


def follows(name: str) -> set[str]:
    """What is made of the features of this name."""
    parts = {f"crowded/{part}/{name}/0001-of-0001" for part in ("features", "graphs", "masks")}
    made = {f"{part}.json" if "/masks/" in part else f"{part}.h5" for part in parts}
    made |= {f"benchmarks/crowded/{name}/{file}.json" for file in ("predictions", "scores")}
    return made | {"tables/crowded.csv", "report/index.html"}


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("neighbour_lda")
    return run_to_end(CONFIGS / "neighbour_lda.yaml", folder)


@pytest.fixture
def project(learned, tmp_path) -> Project:
    return copied(learned, tmp_path / "copy")


def test_one_file_is_learned_and_both_rows_are_scored(learned):
    found = (learned.folder / "results/pretrain/tiny").iterdir()
    assert {path.name for path in found} == {"weights.safetensors", "metrics.jsonl"}
    with open(learned.results / "tables/crowded.csv", newline="") as file:
        assert [line["method"] for line in csv.DictReader(file)] == ["lda", "kmeans", "centre box"]
    assert learned.planned() == set()


def test_changed_learning_reruns_both(project):
    project.change(lambda config: config["pretrain"]["tiny"].update(directions=3))
    assert project.planned() == {WEIGHTS} | follows("lda") | follows("kmeans")


def test_changed_use_learns_nothing(project):
    project.change(lambda config: config["features"]["kmeans"].update(whitening=1.0))
    assert project.planned() == follows("kmeans")
