"""Line charts of the report: their axes, and that they are well formed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleave.report import lines
from cleave.report.lines import LARGE, Chart, Line, Mark, draw, steps_axis, values_axis
from cleave.report.plots import linear

NAME = 'a<b>&"c'


def chart(*drawn: Line, **more) -> ElementTree.Element:
    found = Chart(steps_axis(10.0), linear(NAME, 0, 4), drawn, **more)
    assert draw(found) == draw(found)
    return ElementTree.fromstring(draw(found))


def of_class(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [e for e in svg.iter() if kind in e.get("class", "").split()]


def test_a_line_goes_through_its_points():
    svg = chart(Line(NAME, "#123456", [[(0, 0), (5, 4), (10, 2)]]))
    (path,) = of_class(svg, "line")
    # An axis of 248 times 118 pixels, its origin at the top.
    assert path.get("d") == "M0.0 118.0L124.0 0.0L248.0 59.0"
    assert NAME in [e.text for e in svg.iter("title")]
    assert of_class(svg, "title")[0].text == NAME
    assert not of_class(svg, "point")


def test_pieces_whiskers_shapes_and_marks():
    line = Line("a", "#123456", [[(0, 1), (1, 2)], [(3, 1)]], [(3, 0.5, 2)], thick=True)
    marks = [Mark(2, "falls", text="down"), Mark(0, "begins", "round 0")]
    svg = chart(line, marks=marks, size=LARGE)
    assert len(of_class(svg, "thick")) == 1
    assert len(of_class(svg, "point")) == 1  # one point alone would be no line
    assert len(of_class(svg, "whisker")) == 1
    assert [e.text for e in of_class(svg, "start")] == ["round 0"]
    assert of_class(svg, "falls")[0].find("title").text == "down"
    assert svg.get("width") == str(LARGE.width)
    shaped = chart(Line("a", "#123456", [[(0, 1), (1, 2)]], shape=lines.SHAPES[1]))
    assert len(of_class(shaped, "point")) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 4.2], "0 1 2 3 4 5"),
        ([0.0, 4.2], "0 1 2 3 4 5"),
        ([0.3, 9.0], "0.2 0.5 1 2 5 10"),
        ([1e-4, 0.01], "0.0001 0.001 0.01"),
        ([0.00005, 0.01], "0.0001 0.001 0.01"),
        ([2.0, 2.0], "2 2.2 2.4 2.6 2.8 3"),
    ],
)
def test_axes_are_logarithmic_where_values_are_far_apart(values, expected):
    axis = values_axis("", values)
    assert axis.logarithmic == (min(values) > 0 and max(values) >= lines.SPREAD * min(values))
    assert " ".join(axis.ticks.values()) == expected


@given(st.floats(1e-9, 1e6), st.floats(1, 1e9))
def test_logarithmic_axes_hold_their_values_and_are_tight(low, ratio):
    axis = lines.logarithmic("", low, low * ratio)
    assert axis.low <= low * (1 + 1e-8)
    assert axis.high >= low * ratio * (1 - 1e-8)
    assert axis.low > low / 2.6
    assert axis.high < low * ratio * 2.6 or math.isclose(ratio, 1)
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert len(axis.ticks) <= max(lines.TICKS, math.log10(ratio) + 2)


@pytest.mark.parametrize(
    ("last", "expected"),
    [(1, "0 0.2 0.4 0.6 0.8 1"), (3, "0 1 2 3"), (160_000, "0 50k 100k 150k")],
)
def test_axes_of_steps_end_with_the_last_one(last, expected):
    axis = steps_axis(last)
    assert axis.high == last
    assert " ".join(axis.ticks.values()) == expected
