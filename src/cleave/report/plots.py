"""Plots as SVG to be put into the page: a row a method, an axis a column.

Written by hand rather than by matplotlib: text stays text, colours follow the page (dark mode),
hovering tells the number, a plot has 5 kB instead of 50, and the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cleave.types import Array

# Colours of the methods, in the order of the config; Observable's ten, made for both light and
# dark pages, without its grey, which is for baselines.
COLOURS = (
    *("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2"),
    *("#6cc5b0", "#ff8ab7", "#9c6b4e", "#97bbf5"),
)
BASELINE = "#9498a0"
WIDTH, ROW, TOP, BOTTOM = 1200, 27, 24, 24  # pixels of the page
GAP, WIDEST = 56, 420  # between axes, with room for a number; and the widest axis
CHARACTER = 7.3  # pixels, of the names
LONGEST = 32  # characters of a name
BINS = 32


@dataclass(frozen=True)
class Row:
    """One method."""

    name: str
    colour: str


@dataclass(frozen=True)
class Axis:
    """One axis: from `low` to `high`, with a label at each tick."""

    title: str
    low: float
    high: float
    ticks: Mapping[float, str]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, from 0 (left end) to 1; beyond the ends it lies at the end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


Interval = tuple[float, float, float]  # value, low, high


def intervals(rows: Sequence[Row], columns: Mapping[str, Sequence[Interval | None]]) -> str:
    """A dot with its interval for each method and metric; "" if there is nothing to draw.

    Args:
        rows: the methods.
        columns: title of a metric to its numbers, one a row; None where a method has none.
    """
    axes = {
        title: linear(title, 0.0, max((i[2] for i in column if i), default=0.0))
        for title, column in columns.items()
    }

    def draw(title: str, index: int, width: float) -> str:
        found = columns[title][index]
        if found is None:
            return ""
        value, low, high = found
        x0, x, x1 = (axes[title].share(v) * width for v in (low, value, high))
        return (
            f'<rect class="bar" width="{x:.1f}" height="8" y="-4"/>'
            f'<path class="whisker" d="M{x0:.1f} 0H{x1:.1f}"/><circle cx="{x:.1f}" r="4.5"/>'
            f'<text class="number" x="{x1 + 8:.1f}" y="4">{value:.1f}</text>'
            f"<title>{escape(rows[index].name)}: {value:.1f} ({low:.1f} to {high:.1f})</title>"
        )

    return figure(rows, list(axes.values()), draw)


def distributions(rows: Sequence[Row], columns: Sequence[tuple[Axis, Sequence[Array]]]) -> str:
    """A histogram for each method and quantity, to its own peak; a line at the median.

    Args:
        rows: the methods.
        columns: an axis and the values of each row; without values a row stays empty.
    """
    by_title = {axis.title: (axis, values) for axis, values in columns}

    def draw(title: str, index: int, width: float) -> str:
        axis, values = by_title[title][0], by_title[title][1][index]
        if not len(values):
            return ""
        shares = np.array([axis.share(float(v)) for v in values])
        counts, _ = np.histogram(shares, BINS, (0, 1))
        heights = counts / counts.max() * (ROW - 7)
        path = "".join(f"V{-h:.1f}h{width / BINS:.2f}" for h in heights)
        middle = axis.share(float(np.median(values))) * width
        return (
            f'<path class="shape" transform="translate(0 {ROW / 2 - 2})" d="M0 0{path}V0Z"/>'
            f'<path class="median" d="M{middle:.1f} {ROW / 2 - 2}v{4 - ROW}"/>'
            f"<title>{escape(rows[index].name)}: median {np.median(values):.3g}</title>"
        )

    return figure(rows, [axis for axis, _ in columns], draw)


def linear(title: str, low: float, high: float) -> Axis:
    """An axis over [low, high], widened to round ends; of width 1 where they are all but equal."""
    if high - low <= 1e-6 * max(1.0, abs(low), abs(high)):
        high = low + 1.0
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    return Axis(title, ticks[0], ticks[-1], {tick: plain(tick) for tick in ticks})


def logarithmic(title: str, low: float, high: float) -> Axis:
    """An axis over whole decades, with plain numbers; 2 and 5 too where decades are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [10.0**power * step for power in range(first, last) for step in steps]
    ticks.append(10.0**last)
    return Axis(title, ticks[0], ticks[-1], {tick: plain(tick) for tick in ticks}, True)


def plain(value: float) -> str:
    """No exponent, no noise digits: 0.001, 20, 100."""
    return np.format_float_positional(float(f"{value:.9g}"), trim="-")


def figure(
    rows: Sequence[Row],
    axes: Sequence[Axis],
    draw: Callable[[str, int, float], str],
    longest: int = LONGEST,
) -> str:
    """Names, axes and grid; `draw(title, row, width)` fills a cell whose origin is left, middle.

    Names have at most `longest` characters.
    """
    if not rows or not axes:
        return ""
    left = CHARACTER * min(longest, max(len(row.name) for row in rows)) + 26
    width = min(WIDEST, (WIDTH - left) / len(axes) - GAP)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [_names(rows, longest)]
    for column, axis in enumerate(axes):
        x = left + column * (width + GAP)
        parts.append(f'<g transform="translate({x:.1f} {TOP})">{_grid(axis, width, len(rows))}')
        for index, row in enumerate(rows):
            y = (index + 0.5) * ROW
            cell = draw(axis.title, index, width)
            parts.append(f'<g transform="translate(0 {y})" color="{row.colour}">{cell}</g>')
        parts.append("</g>")
    total = left + len(axes) * (width + GAP)
    return (
        f'<svg class="plot" viewBox="0 0 {total:.0f} {height}" width="{total:.0f}" '
        f'height="{height}" role="img">{"".join(parts)}</svg>'
    )


def _names(rows: Sequence[Row], longest: int) -> str:
    parts = []
    for index, row in enumerate(rows):
        y = TOP + (index + 0.5) * ROW
        name = row.name if len(row.name) <= longest else row.name[: longest - 1] + "…"
        parts.append(
            f'<rect x="0" y="{y - 5}" width="10" height="10" rx="2" fill="{row.colour}"/>'
            f'<text class="name" x="17" y="{y + 4.5}">{escape(name)}</text>'
        )
    return "".join(parts)


def _grid(axis: Axis, width: float, rows: int) -> str:
    bottom = rows * ROW
    parts = [f'<text class="title" y="-9">{escape(axis.title)}</text>']
    for tick, label in axis.ticks.items():
        x = axis.share(tick) * width
        parts.append(
            f'<path class="grid" d="M{x:.1f} 0V{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}">{label}</text>'
        )
    return "".join(parts)
