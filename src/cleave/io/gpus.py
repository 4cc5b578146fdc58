"""The GPUs of a machine divided among the jobs of a workflow that run on it side by side.

A job holds a lock on each of its devices, as long as its process lives: the kernel takes the locks
of a process that is gone, killed or not. On a cluster the scheduler divides, and nothing is left to
divide here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

log = logging.getLogger("cleave")

VISIBLE = "CUDA_VISIBLE_DEVICES"
HELD = "CLEAVE_GPUS"  # tells the processes of a training that their parent holds the devices
IDENTIFIER = re.compile(r"\d+|(GPU|MIG)-\S+")
PAUSE = 0.2  # seconds between two looks for a free device


def visible() -> list[str]:
    """What CUDA_VISIBLE_DEVICES admits; where it is not set, all GPUs, by their UUIDs.

    CUDA reads the variable up to the first name that is none: "0,-1,2" is "0".
    """
    value = os.environ.get(VISIBLE)
    names = _installed() if value is None else [name.strip() for name in value.split(",")]
    return list(itertools.takewhile(IDENTIFIER.fullmatch, names))


def _installed() -> list[str]:
    """UUIDs, not numbers: nvidia-smi and CUDA number the devices in different orders."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


@contextlib.contextmanager
def claimed(count: int) -> Iterator[None]:
    """Leaves `count` of the visible GPUs visible, which no other job of this workflow gets.

    Waits until as many are free. Call it before torch looks for devices. Where one device is
    visible, or none, or fewer than `count`, nothing changes: jobs share the one, as it ever was.
    """
    names = visible() if count and HELD not in os.environ else []
    if len(names) < max(count, 2):
        if names:
            log.info("GPU: %s", ",".join(names))
        yield
        return
    before = os.environ.get(VISIBLE)
    with contextlib.ExitStack() as locks:
        mine = ",".join(_gathered(names, count, locks))
        log.info("GPU: %s of %s", mine, ",".join(names))
        os.environ |= {VISIBLE: mine, HELD: mine}
        try:
            yield
        finally:
            del os.environ[HELD], os.environ[VISIBLE]
            if before is not None:
                os.environ[VISIBLE] = before


def _gathered(names: Sequence[str], count: int, locks: contextlib.ExitStack) -> list[str]:
    """Locks `count` devices; their names, in the order of `names`.

    One job at a time gathers, so that two that want several never wait for each other.
    """
    folder, held = _folder(), set()
    files = {name: locks.enter_context(_open(folder / name)) for name in names}
    with _open(folder / "turn") as turn:
        if not _locked(turn):
            log.info("waiting for a turn to take %d of the GPUs %s", count, ",".join(names))
            fcntl.flock(turn, fcntl.LOCK_EX)
        while True:
            for name in names:
                if len(held) < count and name not in held and _locked(files[name]):
                    held.add(name)
            if len(held) == count:
                return [name for name in names if name in held]
            time.sleep(PAUSE)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    """A descriptor that a program started from here does not inherit; its end frees the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder() -> Path:
    """Where the jobs of this workflow meet: on a local disk, where locks are sure to work.

    The workflow's folder names it. So does a cluster's job, whose device 0 is not another job's.
    """
    meeting = f"{os.getuid()} {os.getcwd()} {os.environ.get('SLURM_JOB_ID', '')}"
    digest = hashlib.sha256(os.fsencode(meeting)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"cleave-gpus-{digest}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
