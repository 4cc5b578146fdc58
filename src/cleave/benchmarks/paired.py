"""Rows of a table against one of them: differences on the same resamples of the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cleave.benchmarks import bootstrap
from cleave.types import Array, Scores

if TYPE_CHECKING:
    from cleave.benchmarks.result import Result

_OVER, _OF = "over ", ": "  # the name of a column: `over <row>: <metric>`
METRICS = {  # what is worth a difference, in the order to show, with its title
    "mask_AP": "AP",
    "mask_AP50": "AP50",
    "mask_AR3": "AR@3",
    "mask_AR3_1pct": "AR@3, objects > 1 %",
    "mask_AR10": "AR@10",
    "mask_AR100": "AR@100",
    "mask_best_iou": "mean best IoU",
    "mask_best_iou_1pct": "of objects > 1 %",
    "CorLoc": "CorLoc",
    "box_AP": "box AP",
    "box_AP50": "box AP50",
    "box_AR100": "box AR@100",
    "box_best_iou": "box best IoU",
}
_DECIMALS = 4  # of per cent, as in the tables


@dataclass(frozen=True)
class Block:
    """The differences of a table's rows to one of them."""

    against: str
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float, float, float] | None, ...]], ...]  # name, by metric


def samples(result: Result) -> dict[str, list[float | None]]:
    """What a score file keeps of the resamples, so that differences need no second look."""
    kept = {name: result.samples[name] for name in METRICS if name in result.samples}
    return {
        name: [None if np.isnan(value) else round(float(value), _DECIMALS) for value in values]
        for name, values in kept.items()
    }


def differences(files: Sequence[Mapping[str, Any]], against: str) -> dict[str, Scores]:
    """Each row minus the row `against`, by the columns `over <against>: <metric>` and its interval.

    Args:
        files: score files, each with `of`, `scores` and `samples`.
        against: `of` of one of them, which has no differences itself.
    """
    reference = next(file for file in files if file["of"] == against)
    found = {}
    for file in files:
        if file is not reference:
            values = file["scores"], reference["scores"]
            scores = bootstrap.difference(*values, _arrays(file), _arrays(reference))
            found[file["of"]] = {f"{_OVER}{against}{_OF}{name}": v for name, v in scores.items()}
    return found


def _arrays(file: Mapping[str, Any]) -> dict[str, Array]:
    """(S,) float64 by metric; what is not defined on a resample is null in the file."""
    return {name: np.array(values, np.float64) for name, values in file["samples"].items()}


def block(lines: Sequence[Mapping[str, Any]]) -> Block | None:
    """The differences of a table; None where it has none.

    Args:
        lines: of the table, from a data frame or a CSV file; missing values are NaN, None or "".
    """
    names = [name for name in (lines[0] if lines else ()) if name.startswith(_OVER)]
    if not names:
        return None
    start = names[0].partition(_OF)[0]
    metrics = tuple(metric for metric in METRICS if f"{start}{_OF}{metric}" in names)
    columns = [f"{start}{_OF}{metric}" for metric in metrics]
    rows = [(str(line["method"]), _cells(line, columns)) for line in lines]
    found = tuple(row for row in rows if any(row[1]))
    return Block(start.removeprefix(_OVER), metrics, found)


def _cells(
    line: Mapping[str, Any], columns: Iterable[str]
) -> tuple[tuple[float, float, float] | None, ...]:
    ends = [[line.get(f"{column}{end}") for end in ("", "_low", "_high")] for column in columns]
    there = [all(v not in (None, "") and float(v) == float(v) for v in values) for values in ends]
    return tuple(tuple(map(float, v)) if ok else None for v, ok in zip(ends, there, strict=True))


def is_clear(cell: tuple[float, float, float]) -> bool:
    """Whether the interval of a difference leaves 0 out."""
    _, low, high = cell
    return low > 0 or high < 0
