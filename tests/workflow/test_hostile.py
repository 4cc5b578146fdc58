"""Odd names, too little memory, photos that change in mid-run: each costs one job, and is told.

A fault is a `sitecustomize.py` on the path of the workers: it is run before `cleave` is.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import Project
from PIL import Image

from cleave.cli import main
from cleave.io.shards import names, shard_of

pytestmark = pytest.mark.workflow

SHARDS = 2
ODD = 'it\'s "a"\nnew line, grün 写真 {x} $HOME & %2F #1'
PHOTOS = {"heavy": (6500, 6500), ODD: (40, 50), "light": (48, 40)}  # (height, width)
CONFIG = {
    "datasets": {
        "mine": {"kind": "folder", "root": f"my {ODD}", "shards": SHARDS, "verify": "header"}
    },
    "features": {"colour": {"size": 64}},
    "graphs": {"colour": {"kind": "cosine", "features": "colour", "rule": "near_far"}},
    "masks": {"maskcut": {"graphs": "colour", "refine": "none"}},
    "recipes": {"mine": {"dataset": "mine", "masks": "maskcut"}},
}
# The limit is what the process has when all is imported, and less than a decoded photo more.
MEMORY = """
import resource, sys
if sys.orig_argv[2:3] == ["features"]:
    import cleave.stages.features, cleave.backbones.colour, PIL.Image, scipy.ndimage
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + (130 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""
# Results lie on a disk of their own, which only this run sees; what it held at the end is kept.
# Logs lie on another: on a disk without a free page they would be empty.
FULL = """
import atexit, ctypes, os, shutil, subprocess
ctypes.CDLL(None).unshare(0x20000)  # CLONE_NEWNS of <linux/sched.h>
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
os.mkdir("results")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size={size}", "none", "results"], check=True)
os.mkdir("logs")
os.symlink(os.path.abspath("logs"), "results/logs")
atexit.register(shutil.copytree, "results", "kept")
"""
DEATH = """
import os, sys
if sys.orig_argv[2:3] == ["features"]:
    os.kill(os.getpid(), {signal})
"""
CHANGE = """
import pathlib, sys
if sys.orig_argv[2:3] == ["features"]:
    photo = pathlib.Path({photo!r})
    content = bytearray(photo.read_bytes())
    content[-20] ^= 1
    photo.write_bytes(content)
"""


def fill(root: Path) -> None:
    root.mkdir()
    for seed, (name, (height, width)) in enumerate(PHOTOS.items()):
        pixels = np.random.default_rng(seed).integers(0, 60, (height, width, 3), np.uint8)
        pixels[height // 4 : height // 2, width // 4 : width // 2] = 220
        if name == "heavy":
            pixels[:] = 7
        Image.fromarray(pixels).save(root / f"{name}.png", compress_level=1)


def project_in(folder: Path, photos: Path | None = None) -> Project:
    """A project with an own copy of the photos, times included."""
    made = Project(folder)
    made.write(CONFIG)
    if photos is None:
        fill(folder / CONFIG["datasets"]["mine"]["root"])
    else:
        shutil.copytree(photos, folder / photos.name, copy_function=shutil.copy2)
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Project:
    made = project_in(tmp_path_factory.mktemp("odd") / ODD)
    made.snakemake()
    return made


@pytest.fixture
def project(undisturbed, tmp_path) -> Project:
    """The same photos under the same relative name, and no results yet."""
    photos = undisturbed.folder / CONFIG["datasets"]["mine"]["root"]
    return project_in(tmp_path / "again", photos)


def strike(monkeypatch, folder: Path, code: str) -> None:
    """Every Python that is started from now on runs this code first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def of(photo: str, kind: str, suffix: str = "json") -> str:
    """The shard of a photo, of this kind of artifacts."""
    return f"mine/{kind}/{names(SHARDS)[shard_of(photo, SHARDS)]}.{suffix}"


def test_quotes_newlines_and_unicode_in_every_path(undisturbed):
    found = json.loads((undisturbed.results / "recipes/mine/annotations.json").read_text())
    sizes = {image["key"]: (image["height"], image["width"]) for image in found["images"]}
    assert sizes == PHOTOS
    assert undisturbed.planned() == set()


def test_a_worker_without_memory_costs_its_own_shard(undisturbed, project, monkeypatch, tmp_path):
    """The rest goes on, the log begins with the cause, and the rerun comes to the same bytes."""
    strike(monkeypatch, tmp_path / "fault", MEMORY)
    printed = project.snakemake(check=False)
    lost = of("heavy", "features/colour", "h5")
    log = (project.results / f"logs/{lost}.log").read_text().splitlines()
    assert log[0].startswith("cleave: error: out of memory (")
    assert log[1] == "ERROR features: failed at image 'heavy'"
    assert log[0] in printed
    assert "Traceback" not in printed
    there = set(project.artifacts())
    assert lost not in there
    other = next(photo for photo in PHOTOS if of(photo, "masks") != of("heavy", "masks"))
    assert of(other, "masks/maskcut") in there
    monkeypatch.delenv("PYTHONPATH")
    project.snakemake()
    assert project.artifacts() == undisturbed.artifacts()


def test_a_disk_that_is_full_costs_what_finds_no_room(undisturbed, project):
    """A disk with room for a third of it all; with more room the same command goes on."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this user may mount nothing")
    expected = undisturbed.artifacts()
    size = sum(map(len, expected.values())) // 3
    printed = project.snakemake(check=False, before=FULL.format(size=size))
    told = r"results/mine/\S+: cannot be written: no space left on device; nothing of it was kept"
    assert re.search(told, printed)
    assert "Traceback" not in printed
    (project.folder / "results").rmdir()
    (project.folder / "kept").rename(project.folder / "results")
    there = project.artifacts()
    assert 0 < len(there) < len(expected)
    assert all(expected[name] == content for name, content in there.items())
    project.snakemake()
    assert project.artifacts() == expected
    assert project.planned() == set()


def test_two_workflows_at_once(undisturbed, project):
    """One of them works; the other is told so, or finds all done."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    runs = [project.start(cores=1, **pipes) for _ in range(2)]
    ends = [(run.communicate()[0], run.returncode) for run in runs]
    assert any(code == 0 for _, code in ends)
    assert all("Directory cannot be locked" in printed for printed, code in ends if code)
    assert project.artifacts() == undisturbed.artifacts()
    assert project.planned() == set()


@pytest.mark.parametrize(
    ("blow", "cause"),
    [
        (signal.SIGKILL, "cleave: error: killed (SIGKILL), as the system does where memory is"),
        (signal.SIGSEGV, "cleave: error: crashed (SIGSEGV) outside of Python; this is a bug"),
    ],
)
def test_a_killed_worker_has_its_cause_in_its_log(
    undisturbed, project, monkeypatch, tmp_path, capsys, blow, cause
):
    """It cannot say it itself: its shell does, in the log and not beside it."""
    strike(monkeypatch, tmp_path / "fault", DEATH.format(signal=int(blow)))
    target = of("light", "features/colour", "h5")
    printed = project.snakemake(f"results/{target}", check=False)
    log = (project.results / f"logs/{target}.log").read_text().splitlines()
    assert len(log) == 1
    assert log[0].startswith(cause)
    assert log[0] in printed
    assert not (project.results / target).exists()
    assert main(["status", "--directory", str(project.folder)]) == 0
    assert f"failed: results/{target}: {cause.removeprefix('cleave: error: ')}" in (
        capsys.readouterr().out
    )
    monkeypatch.delenv("PYTHONPATH")
    project.snakemake(f"results/{target}")
    assert project.paths()[target].read_bytes() == undisturbed.paths()[target].read_bytes()


def test_a_photo_that_changes_in_mid_run(undisturbed, project, monkeypatch, tmp_path):
    """It was listed with one content and is read with another: no features of either."""
    photo = project.folder / CONFIG["datasets"]["mine"]["root"] / "light.png"
    whole = photo.read_bytes()
    strike(monkeypatch, tmp_path / "fault", CHANGE.format(photo=str(photo)))
    target = of("light", "features/colour", "h5")
    printed = project.snakemake(f"results/{target}", check=False)
    assert "light.png: changed since it was listed; run the workflow again" in printed
    assert not (project.results / target).exists()
    monkeypatch.delenv("PYTHONPATH")
    assert of("light", "images") in project.planned()
    photo.write_bytes(whole)
    project.snakemake()
    assert project.artifacts() == undisturbed.artifacts()
    assert project.planned() == set()
