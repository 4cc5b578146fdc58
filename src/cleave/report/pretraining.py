"""How a backbone learned from unlabeled photos: its losses and its health over the steps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cleave import paths
from cleave.io import metrics
from cleave.references import names_in
from cleave.report.curves import POINTS, thinned
from cleave.report.lines import Chart, Line, draw, steps_axis, values_axis
from cleave.report.plots import COLOURS, plain
from cleave.report.timings import log_lines

# The line that pretrain.train logs.
STEP_LINE = re.compile(r"INFO pretrain: (\w+) step \d+ of \d+, loss .+, ([\d.]+) images/s$")

OTHERS = frozenset({"phase", "step"})  # of a line of metrics, not drawn
FIRST = ("loss", "view_loss", "patch_loss", "koleo")  # then all others, by their names
LAST = ("gradient_norm", "momentum", "scale", "rate")
TITLES = {
    "loss": "total loss",
    "koleo": "KoLeo",
    "rate": "learning rate",
    "scale": "loss scale",
    "patch_rank": "effective rank of patches",
}

Lines = Sequence[Mapping[str, Any]]


def read_pretraining(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is shown of each pre-training that a method uses.

    Args:
        summary: `Config.summary`, expanded or not.

    Returns:
        `name` and `phases`, each with `name`, `steps`, `last` (text of the last loss) and `charts`.
    """
    return [
        {
            "name": name,
            "phases": [_phase(*phase) for phase in _phases(metrics.read(_metrics(name)))],
        }
        for name in used(summary)
    ]


def used(summary: Mapping[str, Any]) -> list[str]:
    """The pre-trainings that methods are made of, by name."""
    return sorted(names_in(summary["methods"].values(), "pretrain"))


def read_rates(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Images a second of each phase, the median over its log; none without a log."""
    return [
        {"name": name, "phase": phase, "rate": f"{median(found):.3g}"}
        for name in used(summary)
        for phase, found in _rates(name).items()
    ]


def _metrics(name: str) -> Path:
    return Path(paths.METRICS.format(pretrain=name))


def _rates(name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in log_lines(Path(paths.log(paths.WEIGHTS.format(pretrain=name)))):
        if match := STEP_LINE.match(line):
            found.setdefault(match[1], []).append(float(match[2]))
    return found


def _phases(lines: Iterator[Mapping[str, Any]]) -> list[tuple[str, Lines]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["phase"], []).append(line)
    return list(found.items())


def _phase(name: str, lines: Lines) -> dict[str, Any]:
    colour = COLOURS[0]
    known = {key for line in lines for key in line} - OTHERS
    middle = sorted(known - {*FIRST, *LAST})
    axis = steps_axis(lines[-1]["step"])
    charts = []
    for key in (key for key in (*FIRST, *middle, *LAST) if key in known):
        found = ((line["step"], line.get(key, math.nan)) for line in lines)
        points = [(step, value) for step, value in found if math.isfinite(value)]
        values = [value for _, value in points]
        if values:
            title = TITLES.get(key, key.replace("_", " "))
            line = Line(f"{name}: {title}", colour, [thinned(points, POINTS)])
            charts.append(draw(Chart(axis, values_axis(title, values), [line])))
    loss = lines[-1].get("loss")
    last = "" if loss is None else plain(float(f"{loss:.4g}"))
    return {"name": name, "steps": lines[-1]["step"], "last": last, "charts": charts}
