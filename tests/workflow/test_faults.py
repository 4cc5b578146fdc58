"""Killed, stopped, started twice, damaged: the same command goes on and comes to the same bytes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import DEADLINE, Project, said, wait_for

pytestmark = pytest.mark.workflow

CORES = 2
KILLS = range(int(os.environ.get("CLEAVE_KILLS", "1")))  # how many times, each at other moments


def visible(project: Project) -> dict[str, Path]:
    """Artifacts as a later job or a person sees them: temporaries are hidden files."""
    paths = project.paths()
    return {name: path for name, path in paths.items() if not path.name.startswith(".")}


def workers(process: subprocess.Popen) -> list[int]:
    """Process ids of the running `cleave` commands, which are grandchildren of Snakemake."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in table.stdout.splitlines()]
    shells = {pid for pid, parent, _ in rows if int(parent) == process.pid}
    return [int(pid) for pid, parent, args in rows if parent in shells and "cleave" in args]


def orphans(project: Project) -> int:
    """Processes at work in the project's folder, once its Snakemake is gone."""
    folder, count = str(project.folder.resolve()), 0
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            count += os.readlink(link) == folder
    return count


def kill_workflow(process):
    """The worst: no warning, and its jobs go on without it."""
    process.send_signal(signal.SIGKILL)


def kill_worker(process):
    while process.poll() is None:
        if found := workers(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[0], signal.SIGKILL)
                return


def terminate(process):
    process.send_signal(signal.SIGTERM)


def interrupt(process):
    """Ctrl-C in a terminal reaches the whole group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("seed", KILLS)
def test_interrupted_at_any_moment_it_goes_on(finished, tmp_path, seed):
    """With CLEAVE_KILLS=20 as many campaigns, each of five blows in an order of its own.

    A worker is killed last: what remains of that run goes on to its end.
    """
    project, rng = Project(tmp_path / "interrupted"), random.Random(seed)
    blows = [kill_workflow, interrupt, terminate, kill_workflow]
    if seed:
        rng.shuffle(blows)
    project.write(finished.config)
    expected = finished.artifacts()
    masks = project.results / "crowded/masks/maskcut"
    masks.mkdir(parents=True)
    stale = masks / f".0001-of-0002.json.{killed_process()}.tmp"
    stale.write_text("half")
    before: dict[str, int] = {}
    landed = 0  # blows; on a slow machine a run may end before its own
    allowed = 0  # jobs that were in flight so far: a short run may leave an earlier one's undone
    for disturb in (*blows, kill_worker):
        allowed += orphans(project)  # jobs that outlived their run, and write once more in this one
        process = project.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        goal = len(before) + rng.randint(1, 2)
        wait_for(lambda: process.poll() is not None or len(visible(project)) >= goal)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))
        if disturb is interrupt:
            refused_by_lock(project)
        disturb(process)
        process.wait(DEADLINE)
        landed += process.returncode != 0
        for name, path in visible(project).items():
            assert said(name, path) == expected[name], f"{name} is there, but not whole"
        if process.returncode == 0:
            break
        if disturb is kill_workflow:
            refused_by_lock(project)
            project.snakemake("--unlock")
        now = {name: path.stat().st_mtime_ns for name, path in visible(project).items()}
        again = [name for name, written in before.items() if now.get(name) != written]
        assert len(again) <= allowed, "more was made again than what was in flight"
        allowed += CORES - len(again)
        before = now
    assert landed >= 2
    project.snakemake()
    assert project.artifacts() == expected
    assert not stale.exists()
    assert project.planned() == set()


def refused_by_lock(project):
    printed = project.snakemake(check=False)
    assert "Directory cannot be locked" in printed
    assert "--unlock" in printed


def killed_process() -> int:
    """The id of a process that is gone."""
    process = subprocess.Popen(["sleep", "600"])
    process.kill()
    process.wait()
    return process.pid


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"OHDR", 200) + 20] ^= 1
    path.write_bytes(content)


def flip_in_the_middle(path):
    """Of JSON: one number, say, becomes another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damaged",
    [
        {
            "control/images/0001-of-0001.json": cut_off,
            "crowded/features/colour/0001-of-0002.h5": cut_off,
            "crowded/graphs/colour/0002-of-0002.h5": flip_bit,
        },
        {
            "control/masks/cleave3d/0001-of-0001.json": flip_in_the_middle,
            "benchmarks/crowded/maskcut/predictions.json": flip_in_the_middle,
        },
    ],
)
def test_damaged_files_are_named_and_made_again(project, finished, damaged):
    for name, damage in damaged.items():
        damage(project.results / name)
    printed = project.snakemake(check=False)
    assert "Traceback" not in printed
    for name in damaged:
        assert f"cleave: error: results/{name}: " in printed
        (project.results / name).unlink()
    project.snakemake()
    assert project.artifacts() == finished.artifacts()


def test_failed_job_is_not_forgotten(project):
    """The failed shard keeps old masks that look new; the next run must not believe them."""
    features = project.results / "crowded/features/colour/0001-of-0002.h5"
    whole = features.with_suffix(".whole")
    shutil.copy2(features, whole)
    cut_off(features)
    project.change(lambda config: config["graphs"]["colour"].update(centre=False))
    project.snakemake(check=False)
    os.replace(whole, features)
    graph = "crowded/graphs/colour/0001-of-0002.h5"
    assert {graph, "crowded/masks/maskcut/0001-of-0002.json"} <= project.planned()
