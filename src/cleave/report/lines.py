"""Line charts as SVG to be put into the page, in the manner of `plots`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from cleave.report.plots import Axis, linear, plain
from cleave.types import Size

SMALL, LARGE = Size(170, 300), Size(270, 620)  # pixels of a chart: four or two in a row
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 30, 22  # of its margins
SPREAD = 20.0  # largest over smallest value from which an axis is logarithmic
TICKS = 6  # of a logarithmic axis, before those at 2 and 5 are left out

# Marks of points, around the origin: which seed a point is of.
SHAPES = (
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "M0-4.6L4.3 3.2H-4.3z",
    "M-3.1-3.1H3.1V3.1H-3.1z",
    "M0-4.6L4.6 0L0 4.6L-4.6 0z",
    "M0 4.6L4.3-3.2H-4.3z",
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line, in pieces; with a mark at each point where it has a shape."""

    name: str
    colour: str
    pieces: Sequence[Sequence[Point]]
    whiskers: Sequence[tuple[float, float, float]] = ()  # x, low, high
    shape: str = ""
    opacity: float = 1.0
    thick: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at `x`, with a word at its top or a text to be seen when hovering."""

    x: float
    kind: str  # its class on the page
    word: str = ""
    text: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes; the title is that of `y`."""

    x: Axis
    y: Axis
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    size: Size = SMALL


def draw(chart: Chart) -> str:
    """The chart as an `<svg>` element; equal charts, equal bytes."""
    height, width = chart.size.height - TOP - BOTTOM, chart.size.width - LEFT - RIGHT

    def across(value: float) -> float:
        return chart.x.share(value) * width

    def up(value: float) -> float:
        return (1 - chart.y.share(value)) * height

    parts = [f'<text class="title" x="0" y="12">{escape(chart.y.title)}</text>']
    parts.append(f'<g transform="translate({LEFT} {TOP})">')
    parts += _grid(chart, across, up, width, height)
    for mark in chart.marks:
        parts.append(_mark(mark, across(mark.x), height))
    parts += [_line(line, across, up) for line in chart.lines]
    parts.append("</g>")
    return (
        f'<svg class="plot chart" viewBox="0 0 {chart.size.width} {chart.size.height}" '
        f'width="{chart.size.width}" height="{chart.size.height}" role="img">{"".join(parts)}</svg>'
    )


def _grid(chart: Chart, across, up, width: float, height: float) -> Iterable[str]:
    for tick, label in chart.y.ticks.items():
        y = up(tick)
        yield f'<path class="grid" d="M0 {y:.1f}H{width}"/>'
        yield f'<text class="tick end" x="-6" y="{y + 4:.1f}">{label}</text>'
    for tick, label in chart.x.ticks.items():
        x = across(tick)
        yield f'<path class="grid" d="M{x:.1f} {height}v4"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{height + 17}">{escape(label)}</text>'


def _mark(mark: Mark, x: float, height: float) -> str:
    word = f'<text class="tick start" x="{x + 3:.1f}" y="-3">{escape(mark.word)}</text>'
    text = f"<title>{escape(mark.text)}</title>" if mark.text else ""
    path = (
        f'<path class="{mark.kind}" d="M{x:.1f} {-12 if mark.word else 0}V{height}">{text}</path>'
    )
    return path + (word if mark.word else "")


def _line(line: Line, across, up) -> str:
    parts = [f'<g color="{line.colour}" opacity="{line.opacity:g}">']
    for x, low, high in line.whiskers:
        parts.append(f'<path class="whisker" d="M{across(x):.1f} {up(low):.1f}V{up(high):.1f}"/>')
    for piece in line.pieces:
        places = [(across(x), up(y)) for x, y in piece]
        if len(places) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path class="line{" thick" * line.thick}" d="M{path}"/>')
        shape = line.shape or (SHAPES[0] if len(places) == 1 else "")
        if shape:
            for (x, y), (_, value) in zip(places, piece, strict=True):
                told = f"<title>{escape(line.name)}: {value:.3g}</title>"
                place = f"translate({x:.1f} {y:.1f})"
                parts.append(f'<path class="point" transform="{place}" d="{shape}">{told}</path>')
    return "".join([*parts, f"<title>{escape(line.name)}</title></g>"])


def values_axis(title: str, values: Sequence[float]) -> Axis:
    """An axis for all of these values: logarithmic where they are positive and far apart."""
    low, high = min(values), max(values)
    return (
        logarithmic(title, low, high)
        if low > 0 and high / low >= SPREAD
        else linear(title, low, high)
    )


def logarithmic(title: str, low: float, high: float) -> Axis:
    """An axis from and to 1, 2 or 5 times a power of ten; unlike that of `plots`, tight."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    grid = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    start = max(i for i, tick in enumerate(grid) if tick <= low * (1 + 1e-9))
    end = min(i for i, tick in enumerate(grid) if tick >= high * (1 - 1e-9))
    step = 3 if end - start >= TICKS else 1  # of three ticks, one is a power of ten
    ticks = grid[-(-start // step) * step : end + 1 : step]
    return Axis(title, grid[start], grid[end], {tick: plain(tick) for tick in ticks}, True)


def steps_axis(last: float) -> Axis:
    """An axis of steps from 0 to exactly the last one, with thousands as k."""
    axis = linear("step", 0.0, last)
    ticks = {
        t: f"{t / 1000:g}k" if last >= 10_000 and t else label for t, label in axis.ticks.items()
    }
    return Axis("step", 0.0, max(last, 1.0), {t: text for t, text in ticks.items() if t <= last})
