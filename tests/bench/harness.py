"""What every benchmark uses: the row of the table, clocks, and peak memory in a fresh process."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

# VmHWM and not ru_maxrss: the latter starts at what the parent process occupied (Linux).
_PEAK = """
import importlib, re, sys
getattr(importlib.import_module(sys.argv[1]), sys.argv[2])()
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
RATE = "images/s"  # the one unit of which more is better


@dataclass(frozen=True)
class Row:
    """One line of the table. `naive` is None where there is nothing to compare with."""

    stage: str
    unit: str  # "CPU s", "CPU ms" (see `timed`), "s", "ms", "MB", RATE, ...
    ours: float
    naive: float | None = None
    identical: str = ""  # what was compared, and how much of it agreed
    twin: str = ""  # what the naive twin is
    peak: float | None = None  # MB, of the whole process
    file: float | None = None  # MB an image, of what the stage writes
    images: int | None = None  # of a point of the cost curve

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.naive is None:
            return None
        return self.ours / self.naive if self.unit == RATE else self.naive / self.ours

    def cells(self) -> dict[str, str]:
        """All columns as text; "" for what is not there."""
        found = {name: getattr(self, name) for name in COLUMNS}
        return {name: _text(value) for name, value in found.items()}


COLUMNS = ("stage", "unit", "ours", "naive", "ratio", "peak", "file", "identical", "twin")
FIELDS = tuple(field.name for field in fields(Row))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"


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


def peak_so_far() -> float:
    """Peak resident MB of this process (Linux only)."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def exponent(counts: Sequence[float], costs: Sequence[float]) -> float:
    """The k of cost = c * count^k that fits best in logarithms: 1 is linear, 0 is flat."""
    xs, ys = [math.log(x) for x in counts], [math.log(y) for y in costs]
    x0, y0 = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - x0) ** 2 for x in xs)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / spread


def markdown(rows: Iterable[Row]) -> str:
    """The table as markdown."""
    return table(COLUMNS, [list(row.cells().values()) for row in rows])


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Any table as markdown."""
    lines = [columns, ("---",) * len(columns), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
