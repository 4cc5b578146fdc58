"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; a clean exit renames it, an error removes it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes."""
    with replacing(path) as temporary:
        separators = (",", ":") if indent is None else None
        text = json.dumps(
            value, sort_keys=True, indent=indent, separators=separators, allow_nan=False
        )
        temporary.write_text(text + "\n", encoding="utf-8")
