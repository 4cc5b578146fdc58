"""Recall of instances against the number of clusters, a line for each backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cleave.report import tables
from cleave.report.lines import SHAPES, Chart, Line, draw
from cleave.report.plots import Axis, linear
from cleave.types import Size

CHARTS = {  # metric of the score files -> title of its chart; see benchmarks.instanceness
    "recall50_multi": "recall at IoU .5, several of their class, % by k",
    "recall50_single": "recall at IoU .5, the only one of their class, % by k",
    "merge_error": "merge error, % by k; the lower the better",
}
SIZE = Size(250, 380)  # pixels of a chart: three in a row
WHISKERS = 3  # lines up to which intervals are drawn
CLEAR = 0.06  # share of the axis that a tick's number takes

_OF_K = re.compile(r"(?P<metric>.+)_k(?P<k>\d+)")
Curve = dict[int, tuple[float, float | None, float | None]]  # k to value, low, high


def section(
    name: str, entry: Mapping[str, Any], colours: Mapping[str, str]
) -> dict[str, Any] | None:
    """The charts of a benchmark of instance-ness; None for one of another kind.

    Args:
        name: of the benchmark.
        entry: its part of the expanded summary.
        colours: method to the colour that it has all over the page.
    """
    curves = {}
    for row in entry["rows"]:
        if not row["baseline"] and (found := read_curves(name, row["of"])):
            curves[row["of"]] = found
    numbers = sorted({k for found in curves.values() for curve in found.values() for k in curve})
    if not numbers:
        return None
    charts = [
        chart
        for metric, title in CHARTS.items()
        if (chart := _chart(title, {of: f.get(metric, {}) for of, f in curves.items()}, colours))
    ]
    legend = [{"name": of, "colour": colours[of], "shape": SHAPES[0]} for of in curves]
    return {"charts": charts, "legend": legend, "whiskers": len(curves) <= WHISKERS}


def read_curves(benchmark: str, of: str) -> dict[str, Curve]:
    """Metric to its values by k, from a method's score file; empty where there is no k."""
    scores = tables.read_scores(benchmark, of)["scores"]
    curves: dict[str, Curve] = {}
    for name, value in scores.items():
        if match := _OF_K.fullmatch(name):
            ends = scores.get(f"{name}_low"), scores.get(f"{name}_high")
            curves.setdefault(match["metric"], {})[int(match["k"])] = (value, *ends)
    return curves


def _chart(title: str, curves: Mapping[str, Curve], colours: Mapping[str, str]) -> str:
    """One line a method, with the same axis of k for all; empty where nothing is defined."""
    numbers = sorted({k for curve in curves.values() for k in curve})
    if not numbers:
        return ""
    several = len(curves) > WHISKERS
    lines = [
        Line(
            of,
            colours[of],
            [[(float(k), curve[k][0]) for k in sorted(curve)]],
            whiskers=[
                (float(k), low, high)
                for k, (_, low, high) in sorted(curve.items())
                if low is not None and not several
            ],
            shape=SHAPES[0],
        )
        for of, curve in curves.items()
        if curve
    ]
    ends = [y for line in lines for piece in line.pieces for _, y in piece]
    ends += [y for line in lines for whisker in line.whiskers for y in whisker[1:]]
    axis = linear(title, 0.0, max(ends))
    return draw(Chart(_axis_of_k(numbers), axis, lines, size=SIZE))


def _axis_of_k(numbers: Sequence[int]) -> Axis:
    """A logarithmic axis with a tick at each k that leaves the one before it room."""
    low, high = float(numbers[0]), float(max(numbers[-1], numbers[0] + 1))
    axis = Axis("k", low, high, {}, logarithmic=True)
    ticks: dict[float, str] = {}
    for k in numbers:
        if not ticks or axis.share(k) - axis.share(max(ticks)) >= CLEAR:
            ticks[float(k)] = str(k)
    return Axis("k", low, high, ticks, logarithmic=True)
