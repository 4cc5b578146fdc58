"""Detectors and their rounds in the DAG: what a change trains anew, and what a kill costs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import CONFIGS, DEADLINE, Project, copied, run_to_end, wait_for

pytestmark = pytest.mark.workflow

SHARD = "0001-of-0001.json"
END = {"tables/crowded.csv", "report/index.html"}
WEIGHTS = {0: "recipes/learned/round0/checkpoint.pt", 1: "recipes/learned/round1/checkpoint.pt"}
LABELS = f"recipes/learned/round1/labels/{SHARD}"


def predicted(number: int) -> set[str]:
    """What follows a round's weights, but for later rounds."""
    of = f"learned.round{number}"
    files = {f"benchmarks/crowded/{of}/{file}.json" for file in ("predictions", "scores")}
    return files | {f"crowded/masks/{of}/{SHARD}"} | END


ROUND1 = {LABELS, WEIGHTS[1]} | predicted(1)
ROUND0 = {WEIGHTS[0]} | predicted(0) | ROUND1


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Project:
    return run_to_end(CONFIGS / "learner.yaml", tmp_path_factory.mktemp("learner"))


@pytest.fixture
def project(learned, tmp_path) -> Project:
    return copied(learned, tmp_path / "copy")


def test_a_finished_run_plans_nothing_and_says_what_it_trained_on(learned):
    assert learned.planned() == set()
    trained = json.loads((learned.results / "recipes/learned/round1/trained.json").read_text())
    assert (trained["recipe"], trained["round"]) == ("learned", 1)
    assert trained["images"] + trained["without_masks"] == 4
    table = (learned.results / "tables/crowded.md").read_text()
    assert "learned.round0" in table
    assert "learned.round1" in table
    lines = (learned.results / "recipes/learned/round0/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("recipes.learned.training.learning_rate", 0.02, ROUND0),
        ("recipes.learned.seed", 1, ROUND0),
        ("recipes.learned.rounds",
         [{"relabel": {"threshold": 0.5}, "losses": {"drop_loss": False}}],
         ROUND1),
        ("recipes.learned.rounds", [{"relabel": {"threshold": 0.3}}], ROUND1 - {LABELS}),
        ("recipes.learned.rounds", [], END),
        ("detectors.small.box_width", 16, ROUND0),
        ("detectors.small.detections", 4, {LABELS, WEIGHTS[1]} | predicted(0) | predicted(1)),
        ("masks.maskcut.max_masks", 2,
         {f"crowded/masks/maskcut/{SHARD}", "recipes/learned/annotations.json"}
         | {f"benchmarks/crowded/maskcut/{file}.json" for file in ("predictions", "scores")}
         | ROUND0),
    ],
)  # fmt: skip
def test_a_change_trains_only_what_reads_it(project, path, value, expected):
    project.set(path, value)
    assert project.planned() == expected


def test_another_round_computes_that_round_alone(project):
    project.change(lambda config: config["recipes"]["learned"]["rounds"].append({}))
    of = "learned.round2"
    assert project.planned() == END | {
        f"recipes/learned/round2/labels/{SHARD}",
        "recipes/learned/round2/checkpoint.pt",
        f"crowded/masks/{of}/{SHARD}",
        f"benchmarks/crowded/{of}/predictions.json",
        f"benchmarks/crowded/{of}/scores.json",
    }


@pytest.mark.parametrize("seed", range(int(os.environ.get("CLEAVE_KILLS", "1"))))
def test_killed_in_training_it_goes_on_to_the_same_weights(project, learned, seed):
    """kill -9 of the training process, and of Snakemake, with some steps of the round done.

    At other moments after the first step where CLEAVE_KILLS asks for more than one campaign.
    """
    rng = random.Random(seed)
    folder = project.results / "recipes/learned/round0"
    shutil.rmtree(folder)
    process = project.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = []

    def a_checkpoint():
        found[:] = folder.glob("unfinished-*/checkpoint.pt")
        return found or process.poll() is not None

    wait_for(a_checkpoint)
    time.sleep(rng.uniform(0, 1) if seed else 0)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(DEADLINE)
    done = (folder / "checkpoint.pt").exists()  # a late blow meets what follows
    assert seed or not done
    project.snakemake("--unlock")
    project.snakemake()
    for name in ("checkpoint.pt", "metrics.jsonl"):
        expected = (learned.results / "recipes/learned/round0" / name).read_bytes()
        assert (folder / name).read_bytes() == expected
    log = (project.results / "logs/recipes/learned/round0/checkpoint.pt.log").read_text()
    assert done or "training: steps 0 to" not in log, "began anew"
    assert not list(folder.glob("unfinished-*"))


def test_a_batch_larger_than_a_deal_is_refused_before_anything_runs(project):
    project.change(lambda c: c["recipes"]["learned"]["training"].update(processes=4))
    assert "cannot be dealt evenly" in project.snakemake("--dry-run", check=False)
