"""How a recipe learned: its losses over the steps of all rounds, and its scores round by round."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from cleave.paths import of_round
from cleave.report import tables
from cleave.report.lines import (
    LARGE,
    SHAPES,
    SMALL,
    Chart,
    Line,
    Mark,
    Point,
    draw,
    steps_axis,
    values_axis,
)
from cleave.report.methods import Family
from cleave.report.plots import Axis, linear
from cleave.report.recipes import Round

POINTS = 120  # of a curve, over all rounds: each is the mean of its part of the lines
FALL = 0.9  # the learning rate falls in a step where it is less than this of what it was
OTHERS = frozenset({"step", "skipped", "gradient_norm"})  # of a line of metrics, not drawn
TITLES = {"loss": "total loss", "learning_rate": "learning rate"}

# Scores by round: of masks, or of boxes where the truth has no more.
METRICS = {"AP": "AP", "AP50": "AP50", "AR100": "AR@100", "best_iou": "mean best IoU"}
NARROW = 0.08  # of the way between two rounds, by which recipes are set beside each other
WHISKERS = 12  # recipes up to which intervals are drawn
FEW = 4  # recipes up to which charts are small


def learning_curves(
    family: Family, rounds: Mapping[str, Sequence[Round]], colour: str
) -> list[str]:
    """A chart for the sum of the losses, for each loss and for the learning rate; all rounds.

    Args:
        family: whose recipes to draw, a line each.
        rounds: of all recipes.
        colour: of the family.
    """
    first = rounds[family.recipes[0]]
    starts = [0, *accumulate(found.steps for found in first)]
    names = {name for r in family.recipes for found in rounds[r] for line in found.lines
             for name in line} - OTHERS  # fmt: skip
    middle = sorted(names - TITLES.keys())
    charts = []
    for name in [n for n in ("loss", *middle, "learning_rate") if n in names]:
        lines = [
            Line(recipe, colour, pieces, opacity=1 - 0.65 * index / len(family.recipes))
            for index, recipe in enumerate(family.recipes)
            if (pieces := _pieces(rounds[recipe], name))
        ]
        values = [y for line in lines for piece in line.pieces for _, y in piece]
        if values:
            axis = values_axis(TITLES.get(name, name.replace("_", " ")), values)
            charts.append(draw(Chart(steps_axis(starts[-1]), axis, lines, _marks(first, starts))))
    return charts


def _pieces(rounds: Sequence[Round], name: str) -> list[list[Point]]:
    """The curve of each round; steps go on where the round before ended."""
    total = max(1, sum(len(found.lines) for found in rounds))
    pieces, start = [], 0
    for found in rounds:
        points = [
            (start + line["step"], line[name])
            for line in found.lines
            if math.isfinite(line.get(name, math.nan))
        ]
        pieces.append(thinned(points, max(2, POINTS * len(found.lines) // total)))
        start += found.steps
    return [piece for piece in pieces if piece]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points, each the mean of those that it stands for."""
    if len(points) <= most:
        return list(points)
    parts = np.array_split(np.array(points, np.float64), most)
    return [(float(x), float(y)) for x, y in (part.mean(0) for part in parts)]


def _marks(rounds: Sequence[Round], starts: Sequence[int]) -> list[Mark]:
    """Where rounds begin, and where the learning rate falls."""
    marks = []
    word = "round " if len(rounds) <= 4 else ""
    for found, start in zip(rounds, starts[:-1], strict=True):
        if len(rounds) > 1:
            marks.append(Mark(start, "begins", f"{word}{found.number}"))
        for step, old, new in falls(found.lines):
            marks.append(Mark(start + step, "falls", text=f"learning rate {old:.3g} to {new:.3g}"))
    return marks


def falls(lines: Sequence[Mapping[str, float]]) -> Iterator[tuple[float, float, float]]:
    """Step, old and new rate of each fall of the learning rate; it fell after this step's line."""
    known = [line for line in lines if "learning_rate" in line]
    for before, after in pairwise(known):
        if after["learning_rate"] < FALL * before["learning_rate"]:
            yield before["step"], before["learning_rate"], after["learning_rate"]


def scores_by_round(
    name: str, entry: Mapping[str, Any], families: Sequence[Family], colours: Mapping[str, str]
) -> dict[str, Any] | None:
    """The main scores of each recipe from its pseudo-masks on; None where no round was scored.

    Args:
        name, entry: of the benchmark.
        families: all, in order.
        colours: of all methods.

    Returns:
        `name`, `charts`, `legend` (a name, colour and shape a recipe), and whether intervals
        (`whiskers`) and `means` over seeds are drawn.
    """
    cells = tables.read_cells(name, entry)
    drawn = [
        (family, recipe, index)
        for family in families
        for index, recipe in enumerate(family.recipes)
        if any(of_round(recipe, n) in cells for n in range(family.rounds))
    ]
    if not drawn:
        return None
    known = {metric for found in cells.values() for metric in found}
    kind = "mask" if "mask_AP" in known else "box"
    axis = _rounds_axis([family for family, _, _ in drawn], cells)
    charts = []
    for metric, title in METRICS.items():
        key = f"{kind}_{metric}"
        values = {of: found[key] for of, found in cells.items() if key in found}
        lines = [
            _by_round(family, recipe, _Place(at, drawn), values, colours)
            for at, (family, recipe, _) in enumerate(drawn)
        ]
        lines += _means(drawn, values, colours)
        ends = [y for line in lines for piece in line.pieces for _, y in piece]
        ends += [y for line in lines for whisker in line.whiskers for y in whisker[1:]]
        if ends:
            y = linear(f"{'box ' * (kind == 'box')}{title}, %", min(ends), max(ends))
            charts.append(draw(Chart(axis, y, lines, size=LARGE if len(drawn) > FEW else SMALL)))
    legend = [
        {"name": recipe, "colour": colours[of_round(recipe, 0)], "shape": _shape(index)}
        for _, recipe, index in drawn
    ]
    return {
        "name": name,
        "charts": charts,
        "legend": legend,
        "whiskers": len(drawn) <= WHISKERS,
        "means": len({family for family, _, _ in drawn}) < len(drawn),
    }


@dataclass(frozen=True)
class _Place:
    """Which of the lines of a chart one is."""

    at: int
    drawn: Sequence[tuple[Family, str, int]]

    @property
    def whiskers(self) -> bool:
        return len(self.drawn) <= WHISKERS

    @property
    def shift(self) -> float:
        """Recipes stand beside each other where intervals would cover each other."""
        count = len(self.drawn)
        return (self.at - (count - 1) / 2) * min(NARROW, 0.6 / count) if self.whiskers else 0.0

    @property
    def shape(self) -> str:
        return _shape(self.drawn[self.at][2])

    @property
    def opacity(self) -> float:
        """Less where the mean of this and other seeds is drawn too."""
        family = self.drawn[self.at][0]
        return 0.45 if sum(other is family for other, _, _ in self.drawn) > 1 else 1.0


def _by_round(
    family: Family,
    recipe: str,
    place: _Place,
    values: Mapping[str, tables.Cell],
    colours: Mapping[str, str],
) -> Line:
    """A recipe's line, from its pseudo-masks where they were scored."""
    order = [family.masks, *(of_round(recipe, n) for n in range(family.rounds))]
    found = [(x + place.shift, values[of]) for x, of in enumerate(order) if of in values]
    whiskers = [(x, low, high) for x, (_, low, high) in found if low is not None]
    return Line(
        recipe,
        colours[of_round(recipe, 0)],
        [[(x, cell[0]) for x, cell in found]] if found else [],
        whiskers if place.whiskers else (),
        place.shape,
        place.opacity,
    )


def _means(
    drawn: Sequence[tuple[Family, str, int]],
    values: Mapping[str, tables.Cell],
    colours: Mapping[str, str],
) -> Iterator[Line]:
    """The mean over the seeds of each family of which several are drawn."""
    for family, count in Counter(family for family, _, _ in drawn).items():
        if count == 1:
            continue
        points = [(0.0, values[family.masks][0])] if family.masks in values else []
        for number in range(family.rounds):
            several = [
                values[of][0] for r in family.recipes if (of := of_round(r, number)) in values
            ]
            points += [(number + 1.0, float(np.mean(several)))] if several else []
        name = f"{family.name}, mean over seeds"
        colour = colours[of_round(family.recipes[0], 0)]
        yield Line(name, colour, [points], thick=True)


def _shape(index: int) -> str:
    return SHAPES[index % len(SHAPES)]


def _rounds_axis(families: Sequence[Family], cells: Mapping[str, Any]) -> Axis:
    """Pseudo-masks, where those of any family were scored, then the rounds."""
    most = max(family.rounds for family in families)
    word = "round " if most <= 3 else ""
    names = ["masks", *(f"{word}{number}" for number in range(most))]
    first = 0 if any(family.masks in cells for family in families) else 1
    ticks = {float(x): name for x, name in enumerate(names) if x >= first}
    return Axis("round", first - 0.4, most + 0.4, ticks)
