"""Numbers from papers, with their source, for a table that has the same data set."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

METRICS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
RECALLS = ("AR1", "AR10", "AR100", "AR1000", "AR_S", "AR_M", "AR_L")


@dataclass(frozen=True)
class Row:
    """One number. `status` says whether its meaning was printed, inferred or second-hand."""

    method: str
    backbone: str
    train_data: str
    dataset: str
    task: str  # box, mask or semantic
    metric: str
    value: float  # per cent
    source: str
    status: str


@functools.cache
def rows() -> tuple[Row, ...]:
    """All numbers, in the order of the file."""
    with files("cleave.benchmarks").joinpath("published.csv").open(encoding="utf-8") as file:
        return tuple(Row(**line | {"value": float(line["value"])}) for line in csv.DictReader(file))


@functools.cache
def datasets() -> tuple[str, ...]:
    """The data sets that have a number, by name."""
    return tuple(sorted({row.dataset for row in rows()} - {"-"}))


def lookup(dataset: str, task: str | None = None, metric: str | None = None) -> tuple[Row, ...]:
    """Numbers of a data set, of one task and metric or of all.

    "AR" without a cap is kept apart from "AR100": papers disagree on what they mean by it.
    """
    return tuple(
        row
        for row in rows()
        if row.dataset == dataset and task in (None, row.task) and metric in (None, row.metric)
    )


def our_name(row: Row) -> str | None:
    """The metric of CocoBenchmark that a published number is to be read beside, or None."""
    if row.metric == "CorLoc":
        return "CorLoc"
    known = row.metric in METRICS + RECALLS
    return f"{row.task}_{row.metric}" if known and row.task in ("box", "mask") else None
