"""Folders that may be read and not written, and photos that may not be read, as a plain user."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.io.images import read_image_shard

SHARD = "0001-of-0001.json"
DROP = 24  # PR_CAPBSET_DROP of <linux/prctl.h>
OVERRIDE = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of <linux/capability.h>


def as_a_plain_user() -> None:
    """Takes from root, who may write anywhere, what lets it; permissions of files then count."""
    if os.geteuid() == 0:
        for capability in OVERRIDE:
            ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=as_a_plain_user,
    )


def cleave(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return run("-m", "cleave.cli", *arguments, cwd=cwd)


@pytest.fixture
def place(tmp_path):
    """A folder with photos, and one for results."""
    folder = tmp_path
    (folder / "photos/closed").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "probe").touch(mode=0)
    if run("-c", "open('probe')", cwd=folder).returncode == 0:
        pytest.skip("this user reads what nobody may read, and the right cannot be given up")
    for name in ("a", "b", "secret"):
        pixels = np.full((12, 16, 3), len(name) * 20, np.uint8)
        Pillow.fromarray(pixels).save(folder / f"photos/{name}.png")
    yield folder
    for path in (folder / "photos", folder / "out", folder / "photos/closed"):
        path.chmod(0o755)  # for those who clear up


def images(place: Path) -> subprocess.CompletedProcess:
    spec = json.dumps({"kind": "folder", "root": str(place / "photos")})
    return cleave("images", "--spec", spec, "--output", SHARD, cwd=place / "out")


def test_photos_of_somebody_else_are_only_read(place):
    """Nothing is written beside them; a photo that may not be opened is listed with the reason."""
    (place / "photos/secret.png").chmod(0)
    (place / "photos").chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in (place / "photos").rglob("*")}
    done = images(place)
    assert done.returncode == 0, done.stderr
    shard = read_image_shard(place / "out" / SHARD)
    assert [record.id for record in shard.records] == ["a", "b"]
    assert [(i.path, i.reason) for i in shard.broken] == [("secret.png", "permission denied")]
    assert "WARNING images: secret.png: permission denied" in done.stderr
    spec = json.dumps({"kind": "colour", "size": 32})
    given = ["--images", SHARD, "--output", "features.h5"]
    done = cleave("features", "--spec", spec, *given, cwd=place / "out")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in (place / "photos").rglob("*")} == before


def test_a_folder_that_may_not_be_opened_is_named(place):
    """Leaving its photos out would be silent."""
    (place / "photos/closed").chmod(0)
    done = images(place)
    assert done.returncode == 2
    assert "photos/closed/: cannot be read (Permission denied)" in done.stderr
    assert not list((place / "out").iterdir())


def test_results_that_may_not_be_written_are_named(place):
    (place / "out").chmod(0o555)
    done = images(place)
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"cleave: error: {SHARD}: cannot be written: permission denied")
    assert "Traceback" not in done.stderr
