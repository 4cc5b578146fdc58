"""What the log of a failed job says: the cause first, the image, and a traceback for bugs alone."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from cleave.cli import main
from cleave.depth.flat import Flat
from cleave.io import images
from cleave.io.images import load_pixels
from cleave.types import DataError

SPEC = json.dumps({"kind": "flat"})


@pytest.fixture
def listed(tmp_path):
    """A list of two photos, and the arguments of a job that goes through them."""
    (tmp_path / "photos").mkdir()
    for name in ("first", "second"):
        Pillow.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / f"photos/{name}.png")
    output = tmp_path / "0001-of-0001.json"
    spec = json.dumps({"kind": "folder", "root": str(tmp_path / "photos")})
    assert main(["images", "--spec", spec, "--output", str(output)]) == 0
    return ["depth", "--spec", SPEC, "--images", str(output), "--output", str(tmp_path / "d.h5")]


def fails_with(error, monkeypatch, at="second"):
    def failing(plugin, image, call=Flat.__call__):
        if image.id == at:
            raise error
        return call(plugin, image)

    monkeypatch.setattr(Flat, "__call__", failing)


# What is raised, how the job ends, how the log begins, and whether it holds a traceback.
CAUSES = [
    (DataError("too deep"), 2, "cleave: error: too deep", False),
    (MemoryError(), 1, "cleave: error: out of memory (MemoryError); give the job more", False),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        1,
        "cleave: error: out of memory (RuntimeError: [enforce fail]",
        False,
    ),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "cleave: error: out of memory (", False),
    (ZeroDivisionError("by zero"), 1, "cleave: error: ZeroDivisionError: by zero", True),
    (PermissionError(errno.EACCES, "denied", "x"), 1, "cleave: error: PermissionError: ", True),
]


@pytest.mark.parametrize(("error", "code", "begins", "traced"), CAUSES)
def test_the_cause_comes_first(listed, monkeypatch, capfd, tmp_path, error, code, begins, traced):
    capfd.readouterr()
    fails_with(error, monkeypatch)
    assert main(listed) == code
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith(begins)
    assert any(line.startswith("Traceback") for line in told) == traced
    assert not (tmp_path / "d.h5").exists()


def test_what_a_program_prints(listed, tmp_path):
    """In a process of its own, where nobody else has set up the log."""
    code = (
        "import sys; from cleave.depth.flat import Flat; from cleave.cli import main\n"
        "def failing(self, image): raise ZeroDivisionError('by zero')\n"
        "Flat.__call__ = failing; sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *listed], capture_output=True, text=True, check=False
    )
    told = done.stderr.splitlines()
    assert done.returncode == 1
    assert told[:4] == [
        "cleave: error: ZeroDivisionError: by zero",
        "This is a bug; please report it with:",
        "ERROR depth: failed at image 'first'",
        "Traceback (most recent call last):",
    ]
    assert told[-1] == "ZeroDivisionError: by zero"


def test_a_log_that_cannot_be_written_spoils_no_shard(listed, tmp_path):
    """/dev/full refuses every write; what the job makes lies elsewhere."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "cleave.cli", *listed]
        done = subprocess.run(command, stdout=full, stderr=full, check=False)
        assert done.returncode == 0
        listed[4] = str(tmp_path / "nothing.json")
        listed[-1] = str(tmp_path / "e.h5")
        done = subprocess.run([*command[:3], *listed], stdout=full, stderr=full, check=False)
    assert main([*listed[:4], str(tmp_path / "0001-of-0001.json"), *listed[5:]]) == 0
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "e.h5").read_bytes()
    assert done.returncode != 0


def test_a_decoder_without_memory_makes_no_broken_photo(tmp_path, monkeypatch):
    """Pillow tells it as an OSError; the photo must not be listed as damaged for good."""
    Pillow.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "a.png")

    def exhausted(picture):
        raise OSError("out of memory error when reading image file")

    monkeypatch.setattr(images, "_rgb", exhausted)
    with pytest.raises(MemoryError, match="out of memory error"):
        load_pixels(tmp_path / "a.png")
