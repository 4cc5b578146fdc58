"""The folder of a run that is not done: known by what it depends on, and gone on from."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleave.spec import canonical

log = logging.getLogger("cleave")


def unfinished(output: Path, made_from: Mapping[str, Any]) -> Path:
    """The folder of this very run beside `output`; those of other runs are removed.

    Snakemake does not know the folder, and so does not clear it away when a job was killed.

    Args:
        made_from: plain values that the result is a function of.
    """
    key = hashlib.sha256(canonical(made_from).encode()).hexdigest()[:16]
    folder = output.with_name(f"unfinished-{key}")
    for other in folder.parent.glob("unfinished-*"):
        if other != folder:
            log.warning("another spec or other inputs: %s is given up", other)
            shutil.rmtree(other, ignore_errors=True)  # another process may be at it
    return folder


def keep(found: Path, place: Path) -> None:
    """Moves a file or a folder, if there is one, over what an earlier run left."""
    if place.is_dir():
        shutil.rmtree(place)
    if found.exists():
        shutil.move(found, place)
