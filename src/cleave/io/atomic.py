"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cleave.types import DataError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; a clean exit renames it, an error removes it.

    What a killed process left of the same file is removed too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Removes temporaries of `path` whose process is gone.

    A process of another machine looks gone too. It can only be one that outlived its workflow,
    for Snakemake's lock admits one writer of a file, so nobody waits for what it writes.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not _alive(int(process)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes."""
    with replacing(path) as temporary:
        separators = (",", ":") if indent is None else None
        text = json.dumps(
            value, sort_keys=True, indent=indent, separators=separators, allow_nan=False
        )
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        DataError: the file is missing, cut short, or no JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it to redo it") from None
