"""The slurm profile on a real SLURM of three nodes, one of which dies in mid-job."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, START, Project, wait_for, with_networks
from slurm_cluster import Cluster, cluster, missing

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]

# The plugin looks for ends of jobs ever less often while there are none; a test has no time for it.
EAGER = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 2, lambda _, seconds: None)
"""


@pytest.fixture
def slurm(tmp_path) -> Iterator[Cluster]:
    why = missing()
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        why = "snakemake-executor-plugin-slurm is not installed (the extra `slurm`)"
    if why is not None and os.environ.get("CLEAVE_SLURM") == "required":  # make test-slurm
        pytest.fail(why)
    if why is not None:
        pytest.skip(why)
    (tmp_path / "slurm").mkdir()
    with cluster(tmp_path / "slurm") as running:
        yield running


def submit(slurm: Cluster, project: Project, log: Path) -> subprocess.Popen:
    """Snakemake with the slurm profile, on the cluster."""
    command = [sys.executable, "-c", EAGER + START, "--snakefile", str(REPOSITORY / "Snakefile")]
    command += [
        "--workflow-profile",
        str(REPOSITORY / "workflow/profiles/slurm"),
        "--latency-wait",
        "5",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("w") as file:
        return subprocess.Popen(
            slurm.inside(*command, folder=project.folder),
            env=os.environ | {"PATH": path},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def at_work(project: Project, stage: str) -> list[str]:
    """The nodes on which a command of this stage runs for the project now."""
    nodes, folder = [], str(project.folder.resolve())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if os.readlink(process / "cwd") == folder and stage.encode() in words[1:4]:
                environment = (process / "environ").read_bytes().split(b"\0")
                pairs = dict(line.split(b"=", 1) for line in environment if b"=" in line)
                nodes.append(pairs[b"SLURMD_NODENAME"].decode())
    return nodes


def test_a_node_dies_and_the_results_are_those_of_a_local_run(slurm, tmp_path):
    local, remote = Project(tmp_path / "local"), Project(tmp_path / "remote")
    local.write(with_networks())
    remote.write(with_networks())
    log = tmp_path / "snakemake.log"
    begun = time.monotonic()
    process = submit(slurm, remote, log)
    wait_for(lambda: process.poll() is not None or at_work(remote, "features"))
    dead = at_work(remote, "features")
    assert dead, log.read_text()
    slurm.kill(dead[0])
    killed = time.monotonic()
    local.snakemake()
    assert process.wait() == 0, log.read_text()
    print(f"killed {dead[0]} after {killed - begun:.0f} s of {time.monotonic() - begun:.0f} s")
    ends = slurm.ask("squeue", "--states=all", "--noheader", "--format=%T %N %m").splitlines()
    print("\n".join(f"{count} {end}" for end, count in sorted(collections.Counter(ends).items())))
    assert f"NODE_FAIL {dead[0]} 12000M" in ends
    assert any(end.endswith(" 24000M") for end in ends), "the retry did not ask for more"
    assert remote.artifacts() == local.artifacts()
    for shard in ("0001-of-0002", "0002-of-0002"):
        said = (remote.results / f"logs/crowded/features/colour/{shard}.h5.log").read_text()
        assert "GPU: 0" in said, "the device that SLURM gave was not respected"
