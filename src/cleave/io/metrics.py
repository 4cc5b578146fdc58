"""Metrics of a training: JSON lines that a resumed run continues without gaps or repeats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cleave.io.atomic import replacing


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Adds one line; equal values, equal bytes."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines so far; a kill may have cut the last one. No file has no lines."""
    if path.is_file():
        with open(path, encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.endswith("\n"))


def trim(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drops lines, such as those of steps after the checkpoint, which will be taken again."""
    kept = [line for line in read(path) if keep(line)]
    with replacing(path) as temporary:
        temporary.touch()
        for line in kept:
            append(temporary, line)
