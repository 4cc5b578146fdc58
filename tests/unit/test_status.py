"""`cleave status`: what is done, running, failed and left of a project."""

import base64
import re
from pathlib import Path

import pytest
import yaml

from cleave import cli, config, paths, plan

REPOSITORY = Path(__file__).resolve().parents[2]
RAW = yaml.safe_load((REPOSITORY / "tests/configs/learner.yaml").read_text())


@pytest.fixture
def project(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(RAW, sort_keys=False))
    return tmp_path


@pytest.fixture
def jobs():
    return plan.jobs(config.load(RAW))


def write(project, name, text=""):
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def status(project, capsys):
    assert cli.main(["status", "--directory", str(project)]) == 0
    return capsys.readouterr().out


def row(printed, *words):
    """The cells of the line that begins with these words."""
    (found,) = (line.split() for line in printed.splitlines() if line.split()[:3] == list(words))
    return found


def test_files_come_after_those_that_they_are_made_of(jobs):
    """Within a data set; a job is listed once."""
    assert len(set(jobs)) == len(jobs)
    stages = ["images", "features", "graphs", "masks"]
    for dataset in RAW["datasets"]:
        found = [job.stage for job in jobs if job.dataset == dataset and job.stage in stages]
        firsts = [found.index(stage) for stage in stages if stage in found]
        assert firsts == sorted(firsts)


def test_at_first_all_is_left(project, capsys, jobs):
    printed = status(project, capsys)
    assert f"0 of {len(jobs)} jobs done, 0 failed; no workflow is running here" in printed
    assert "the report is not there yet" in printed


def test_each_job_is_counted_where_it_belongs(project, capsys, jobs):
    first = next(job for job in jobs if job.stage == "images")
    write(project, first.outputs[0])
    write(project, first.log, "INFO images x: 10 images in 4.0 s, 2.50 images/s\n")
    failed = next(job for job in jobs if job.stage == "features")
    write(project, failed.log, "INFO begins\ncleave: error: no such weights\nINFO stopped\n")
    train = next(job for job in jobs if job.stage == "train")
    write(project, train.outputs[0])  # one of three files
    step = "INFO training: step 5 of 9, loss 1.2, 3.1 images/s, 00:03 left"
    write(project, train.log, f"{step.replace('5', '4')}\n{step}\nother\n")
    marker = base64.b64encode(train.outputs[1].encode()).decode()
    write(project, f".snakemake/incomplete/{marker}", "{}")
    write(project, ".snakemake/locks/0.input.lock", "x")

    printed = status(project, capsys)
    shards = RAW["datasets"][first.dataset].get("shards", 1)
    assert row(printed, "images", first.dataset, f"1/{shards}")[-1] == "2.50"
    assert f"failed: {failed.outputs[0]}: no such weights" in printed
    assert f"running: {train.outputs[0]}: step 5 of 9" in printed
    assert f"1 of {len(jobs)} jobs done, 1 failed; a workflow holds this folder" in printed


def test_what_a_killed_workflow_left_is_not_called_running(project, capsys, jobs):
    name = base64.b64encode(jobs[0].outputs[0].encode()).decode()
    write(project, f".snakemake/incomplete/{name}", "{}")
    assert f"stopped: {jobs[0].outputs[0]}" in status(project, capsys)


def test_a_finished_project(project, capsys, jobs):
    for job in jobs:
        for output in job.outputs:
            write(project, output)
    write(project, paths.REPORT)
    printed = status(project, capsys)
    assert f"{len(jobs)} of {len(jobs)} jobs done, 0 failed" in printed
    assert "the report is there" in printed


def test_without_a_config_it_says_so(tmp_path, capsys):
    assert cli.main(["status", "--directory", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_of_imagenet_it_looks_at_no_image(tmp_path, capsys):
    """Neither at the list of 1.3 million names, which is not even there: at shards alone."""
    preset = yaml.safe_load((REPOSITORY / "workflow/presets/cutler_imagenet.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(preset))
    shards = sum(dataset["shards"] for dataset in preset["datasets"].values())
    found = re.search(r"0 of (\d+) jobs done", status(tmp_path, capsys))
    assert int(found[1]) < 10 * shards
