"""The file of a machine: its description, and of each benchmark the rows of its last run."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.harness import FIELDS, Row

FOLDER = Path("results", "bench")


def merge(path: Path, machine: dict[str, Any], name: str, rows: Iterable[Row]) -> None:
    """Puts the rows of one benchmark in the place of those that the file had of it.

    Ratios stay true: both numbers of a row are of one run.
    """
    held = json.loads(path.read_text()) if path.exists() else {"benchmarks": {}}
    run = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "rows": [_mapping(row) for row in rows],
    }
    held = {"machine": machine, "benchmarks": held["benchmarks"] | {name: run}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


def _mapping(row: Row) -> dict[str, Any]:
    """Fields that are there, numbers to four digits."""
    found = {name: getattr(row, name) for name in FIELDS}
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in found.items()
        if value not in (None, "")
    }


def read(path: Path) -> dict[str, list[Row]]:
    """Rows by benchmark."""
    held = json.loads(path.read_text())
    return {name: [Row(**row) for row in run["rows"]] for name, run in held["benchmarks"].items()}


def gpu(path: Path) -> str:
    """The GPU of the machine, "" without."""
    return json.loads(path.read_text())["machine"]["gpu"]


def all_rows(path: Path) -> Iterator[Row]:
    """Rows of all benchmarks, in the order of their first run."""
    for rows in read(path).values():
        yield from rows
