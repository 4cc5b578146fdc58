"""What `make bench` measured: a table and plots for each machine that left a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cleave.io.atomic import read_json
from cleave.report import lines, plots
from cleave.report.plots import Axis, Row
from cleave.types import DataError

RATE = "images/s"  # the one unit of which more is better; that of the rows of whole stages
OURS, MEMORY = plots.COLOURS[0], plots.COLOURS[4]

LONGEST = 60  # characters of a row's name

Entry = Mapping[str, Any]


def read_speed(files: Sequence[Path]) -> list[dict[str, Any]]:
    """A dict a machine: its `name`, `about`, plots and the whole `table`.

    Args:
        files: as `python -m tests.bench` writes them.

    Raises:
        DataError: a file is not one of these.
    """
    return [_machine(Path(file), read_json(Path(file))) for file in files]


def _machine(path: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    try:
        machine, runs = held["machine"], held["benchmarks"]
        rows = [row for run in runs.values() for row in run["rows"]]
        curve = [row for row in rows if "images" in row]
        return {
            "name": machine["gpu"] or machine["processor"],
            "about": _about(machine, runs),
            "beside": _beside([row for row in rows if "naive" in row and row["unit"] != "MB"]),
            "stages": _stages([row for row in rows if row["unit"] == RATE and "peak" in row]),
            "curve": _curve(curve),
            "fits": [row for row in rows if row["unit"] in ("exponent", "largest / smallest")],
            "table": [_cells(row) for row in rows],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no file of make bench ({error!r}); delete it") from None


def _about(machine: Mapping[str, Any], runs: Mapping[str, Any]) -> str:
    dates = [run["date"] for run in runs.values()]
    when = " to ".join(sorted({min(dates, default=""), max(dates, default="")}))
    threads = sorted({run["threads"] for run in runs.values()})
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(
        f"{k} {machine[k]}" for k in ("python", "torch", "numpy") if machine.get(k)
    )
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']} GB{gpu}; "
        f"OMP_NUM_THREADS {' or '.join(threads)}; {versions}; {when}"
    )


def ratio(row: Entry) -> float:
    """How many times better ours is than its twin."""
    if row["unit"] == RATE:
        return row["ours"] / row["naive"]
    return row["naive"] / row["ours"]


def _beside(rows: Sequence[Entry]) -> str:
    """A bar a row, from 1 to how many times faster ours is."""
    if not rows:
        return ""
    ratios = [ratio(row) for row in rows]
    axis = plots.logarithmic("times faster than the naive or reference way", *_range(ratios))

    def draw(title: str, index: int, width: float) -> str:
        row, found = rows[index], ratios[index]
        start, end = sorted((axis.share(1.0) * width, axis.share(found) * width))
        told = f"{row['stage']}: {row['ours']:g} {row['unit']}, {row['naive']:g} by {row['twin']}"
        return _bar(start, end, f"{found:.3g}", told)

    return plots.figure([Row(row["stage"], OURS) for row in rows], [axis], draw, LONGEST)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(1.0, *values), max(1.0, *values)


def _stages(rows: Sequence[Entry]) -> str:
    """Images a second of one process, and what it occupies, for each stage."""
    if not rows:
        return ""
    rates, peaks = [row["ours"] for row in rows], [row["peak"] for row in rows]
    columns: dict[str, tuple[Axis, Sequence[float]]] = {}
    for title, values, make in (
        ("images a second", rates, plots.logarithmic),
        ("peak memory of the process, MB", [*peaks], plots.linear),
    ):
        low = min(values) if make is plots.logarithmic else 0.0
        columns[title] = make(title, low, max(values)), values

    def draw(title: str, index: int, width: float) -> str:
        axis, values = columns[title]
        text = f"{values[index]:.3g}" if axis.logarithmic else f"{values[index]:.0f}"
        return _bar(0, axis.share(values[index]) * width, text, f"{rows[index]['stage']}: {text}")

    names = [Row(row["stage"], OURS) for row in rows]
    return plots.figure(names, [axis for axis, _ in columns.values()], draw)


def _bar(start: float, end: float, text: str, told: str) -> str:
    return (
        f'<rect class="bar" x="{start:.1f}" width="{max(end - start, 1):.1f}" height="10" y="-5"/>'
        f'<text class="number" x="{end + 8:.1f}" y="4">{text}</text><title>{escape(told)}</title>'
    )


def _curve(rows: Sequence[Entry]) -> list[str]:
    """Two charts over the number of images: cost of an image, and memory."""
    if len(rows) < 2:
        return []
    counts = [row["images"] for row in rows]
    across = lines.logarithmic("images", min(counts), max(counts))
    charts = []
    for title, key, colour in ((rows[0]["unit"], "ours", OURS), ("peak MB", "peak", MEMORY)):
        up = plots.linear(title, 0.0, max(row[key] for row in rows))
        points = [(row["images"], row[key]) for row in rows]
        line = lines.Line(title, colour, [points], shape=lines.SHAPES[0])
        charts.append(lines.draw(lines.Chart(across, up, [line])))
    return charts


def _cells(row: Entry) -> dict[str, str]:
    """A line of the table as text."""
    numbers = {key: row.get(key) for key in ("ours", "naive", "peak", "file")}
    numbers["ratio"] = ratio(row) if "naive" in row else None
    texts = {key: "" if value is None else f"{value:.3g}" for key, value in numbers.items()}
    texts["peak"] = "" if row.get("peak") is None else f"{row['peak']:.0f}"
    return texts | {key: row.get(key, "") for key in ("stage", "unit", "identical", "twin")}
