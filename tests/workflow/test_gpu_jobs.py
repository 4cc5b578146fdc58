"""Jobs of the workflow that want a GPU, on a machine that says it has two: stand-ins, no device."""

from __future__ import annotations

import re

import pytest
from conftest import Project, with_networks

pytestmark = pytest.mark.workflow

SHARDS = ("0001-of-0002", "0002-of-0002")
FEATURES = [f"results/crowded/features/colour/{shard}.h5" for shard in SHARDS]


@pytest.fixture
def networks(tmp_path, monkeypatch) -> Project:
    project = Project(tmp_path / "networks")
    project.write(with_networks())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return project


def devices(project: Project) -> list[str]:
    logs = [project.results / f"logs/crowded/features/colour/{shard}.h5.log" for shard in SHARDS]
    return [re.search(r"GPU: (\S+) of 3,5", log.read_text())[1] for log in logs]


def test_jobs_side_by_side_get_distinct_devices_and_a_cap_lets_one_run_at_a_time(networks):
    networks.snakemake(*FEATURES)
    assert sorted(devices(networks)) == ["3", "5"]
    networks.snakemake(*FEATURES, "--resources", "gpu=1", "--force")
    assert devices(networks) == ["3", "3"]
    assert not any("waiting" in log.read_text() for log in networks.results.rglob("*.log"))


def asking(printed: str, gpus: int) -> set[str]:
    """Stages whose commands ask for so many devices."""
    return set(re.findall(rf"cleave (\w+) .* --gpus {gpus} ", printed))


def test_only_jobs_with_a_network_ask_for_a_device(networks):
    printed = networks.snakemake("--dry-run", "--printshellcmds")
    assert asking(printed, 1) == {"features"}
    assert asking(printed, 0) == {"depth", "graphs", "masks"}


def test_graphs_and_masks_get_devices_if_told_so_and_nothing_is_made_anew_for_it(project):
    cuts = ("--set-resources", "graphs:gpu=1", "masks:gpu=1")
    printed = project.snakemake("--dry-run", "--printshellcmds", "--forceall", *cuts)
    assert asking(printed, 1) == {"graphs", "masks"}
    assert "Nothing to be done" in project.snakemake("--dry-run", *cuts)
