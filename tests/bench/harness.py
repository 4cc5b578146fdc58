"""What every benchmark uses: the row of the table, clocks, and peak memory in a fresh process."""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# VmHWM and not ru_maxrss: the latter starts at what the parent process occupied (Linux).
_PEAK = """
import importlib, re, sys
getattr(importlib.import_module(sys.argv[1]), sys.argv[2])()
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


@dataclass(frozen=True)
class Row:
    """One line of the table. `naive` is None where there is nothing to compare with."""

    stage: str
    unit: str  # "CPU s", "CPU ms" (see `timed`), "s", "ms" or "MB"
    ours: float
    naive: float | None = None
    identical: str = ""  # what was compared, and how much of it agreed
    twin: str = ""  # what the naive twin is

    @property
    def ratio(self) -> float | None:
        return self.naive / self.ours if self.naive is not None else None

    def cells(self) -> dict[str, str]:
        numbers = {"ours": self.ours, "naive": self.naive, "ratio": self.ratio}
        return asdict(self) | {k: "" if v is None else f"{v:.4g}" for k, v in numbers.items()}


COLUMNS = ("stage", "unit", "ours", "naive", "ratio", "identical", "twin")


def timed(
    function: Callable[[], Any], repeats: int = 1, clock: Callable[[], float] = time.process_time
) -> tuple[float, Any]:
    """Median seconds of `repeats` calls, after one that does not count if there are several.

    The default clock is CPU time: on one thread what a quiet machine would take, whoever else is
    at work. Where threads or a device do the work, give `time.perf_counter`.
    """
    if repeats > 1:
        function()
    seconds = []
    for _ in range(repeats):
        start = clock()
        result = function()
        seconds.append(clock() - start)
    return statistics.median(seconds), result


def peak_memory(function: Callable[[], Any]) -> float:
    """Peak resident MB of a fresh process that calls a module's function once (Linux only)."""
    command = [sys.executable, "-c", _PEAK, function.__module__, function.__name__]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kibibytes = int(done.stdout.split()[-1])
    return kibibytes * 1024 / 1e6


def write(rows: Iterable[Row], path: Path) -> None:
    """The table as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)


def markdown(rows: Iterable[Row]) -> str:
    """The table as markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [tuple(row.cells()[name] for name in COLUMNS) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
