"""GPUs divided among jobs, with stand-ins: no device is ever opened."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cleave.io.gpus import claimed, visible

JOB = """
import os, sys
from cleave.io.gpus import claimed
with claimed(int(sys.argv[1])):
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.read()
"""
SOON, LATE = 0.6, 60  # seconds: to see that a job waits; to wait for one on a busy machine


class Job:
    """A process that claims devices and keeps them until told to end."""

    def __init__(self, folder, count=1, **environment):
        common = {"TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": "3,5"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | common | environment,
        )

    def sees(self, within=LATE) -> str | None:
        """The devices it got; None: it still waits."""
        ready, _, _ = select.select([self.process.stdout], [], [], within)
        return self.process.stdout.readline().strip() if ready else None

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(LATE) == 0


@pytest.fixture
def start(tmp_path) -> Iterator:
    jobs = []

    def make(count=1, **environment) -> Job:
        jobs.append(Job(tmp_path, count, **environment))
        return jobs[-1]

    yield make
    for job in jobs:
        job.process.kill()
        job.process.wait()


def test_jobs_get_distinct_devices_and_wait_for_one(start):
    first, second = start(), start()
    taken = {first.sees(), second.sees()}
    assert taken == {"3", "5"}
    third = start()
    assert third.sees(SOON) is None
    second.end()
    assert third.sees() in taken
    first.end()


def test_killed_job_frees_its_device(start):
    first = start()
    device = first.sees()
    second = start()
    assert {device, second.sees()} == {"3", "5"}
    third = start()
    assert third.sees(SOON) is None
    first.process.kill()
    assert third.sees() == device


def test_jobs_that_want_several_neither_block_each_other_nor_starve(start):
    first = start()
    first.sees()
    pairs = [start(2), start(2)]
    assert all(pair.sees(SOON) is None for pair in pairs)
    late = start()  # comes after the pairs: must not take the device that one of them waits for
    assert late.sees(SOON) is None
    first.end()
    waiting = [*pairs, late]
    while waiting:
        ready, _, _ = select.select([job.process.stdout for job in waiting], [], [], LATE)
        job = next(job for job in waiting if job.process.stdout in ready)
        assert job.sees() in ({"3", "5"} if job is late else {"3,5"})
        job.end()
        waiting.remove(job)


def test_a_cluster_s_jobs_have_each_their_own_device_zero(start):
    jobs = [start(2, SLURM_JOB_ID=str(number), CUDA_VISIBLE_DEVICES="0,1") for number in (1, 2)]
    assert [job.sees() for job in jobs] == ["0,1", "0,1"]


def test_processes_of_a_training_share_what_their_parent_holds(start):
    assert start(2).sees() == "3,5"
    assert start(2, CLEAVE_GPUS="3,5").sees() == "3,5"


@pytest.mark.parametrize(
    ("value", "count"), [("3", 1), ("", 1), ("-1", 1), ("NoDevFiles", 1), ("3,5", 0), ("3,5", 3)]
)
def test_nothing_changes_where_nothing_is_to_divide(start, value, count):
    jobs = [start(count, CUDA_VISIBLE_DEVICES=value) for _ in range(2)]
    assert [job.sees() for job in jobs] == [value, value]


def test_without_the_variable_all_gpus_are_divided_by_their_uuids(start, tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho GPU-1a\necho GPU-2b\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible() == ["GPU-1a", "GPU-2b"]
    with claimed(1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1a"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert visible() == []


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("3,5", ["3", "5"]),
        (" 3 , 5", ["3", "5"]),
        ("0,-1,2", ["0"]),
        ("GPU-1a,MIG-2b", ["GPU-1a", "MIG-2b"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_reads_the_variable_as_cuda_does(monkeypatch, value, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible() == names
