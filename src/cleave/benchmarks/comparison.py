"""Ours beside the published numbers that mean the same, and the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cleave.benchmarks import published
from cleave.benchmarks.published import Protocol, Reference
from cleave.types import Scores

_MINUS = " minus "  # in the name of a column: what is subtracted stands behind it


@dataclass(frozen=True)
class Block:
    """One metric of some of our rows beside the published numbers of it."""

    metric: str
    methods: tuple[str, ...]
    ours: tuple[float, ...]  # of each method, per cent
    rows: tuple[tuple[str, float, tuple[float, ...]], ...]  # name, published, ours minus it


def protocol(row: Mapping[str, Any]) -> Protocol:
    """What a row of a table is the result of; only rows of one protocol are compared."""
    return "detector" if row.get("detector") else "pseudo-masks"


def differences(row: Mapping[str, Any], scores: Scores, dataset: str) -> dict[str, float]:
    """Ours minus published, for each metric that both have.

    Args:
        row: of a method, as `table.build` takes it.
        scores: its metrics, per cent.
        dataset: of published.csv.

    Returns:
        Points of per cent, by the column `<metric> minus <name of the published method>`.
    """
    return {
        column(metric, reference): scores[metric] - value
        for reference in published.references(dataset)
        if reference.protocol == protocol(row)
        for metric, value in reference.values.items()
        if metric in scores
    }


def column(metric: str, reference: Reference) -> str:
    """Where a table has the difference to a published number."""
    return f"{metric}{_MINUS}{reference.name}"


def is_difference(name: str) -> bool:
    """Whether a column of a table holds differences."""
    return _MINUS in name


def blocks(lines: Sequence[Mapping[str, Any]], metrics: Iterable[str]) -> list[Block]:
    """The differences of a table, metric by metric, methods of one protocol together.

    Args:
        lines: of the table, from a data frame or a CSV file; missing values are NaN, None or "".
        metrics: to show, in this order.
    """
    found = []
    for metric in metrics:
        names = [name for name in (lines[0] if lines else ()) if name.startswith(metric + _MINUS)]
        groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for line in lines:
            if there := tuple(name for name in names if _is_number(line[name])):
                groups.setdefault(there, []).append(line)
        found += [_block(metric, there, group) for there, group in groups.items()]
    return found


def _block(metric: str, names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> Block:
    ours = tuple(float(line[metric]) for line in lines)
    rows = []
    for name in names:
        found = tuple(float(line[name]) for line in lines)
        rows.append((name.partition(_MINUS)[2], ours[0] - found[0], found))
    return Block(metric, tuple(str(line["method"]) for line in lines), ours, tuple(rows))


def _is_number(value: Any) -> bool:
    return value not in (None, "") and float(value) == float(value)
