"""Numbers from papers, with their source, for a table that has the same data set."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

METRICS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
# Not AR_S, AR_M and AR_L: ours are at 100 detections, those published at 1000 or an unknown number.
RECALLS = ("AR1", "AR10", "AR100", "AR1000")
Protocol = Literal["detector", "pseudo-masks"]

# What differences are taken to: class-agnostic COCO scores at 100 detections, as ours are. A second
# name of a method is the same network: CutLER's model zoo lists what the papers call CutLER.
_SOURCES = (
    *(f"CutS3D arXiv 2411.16319 Table {number}" for number in (1, 2, 3)),
    "facebookresearch/CutLER README.md",
    "facebookresearch/ProMerge README.md",
)
_COMPARED: dict[str, tuple[str, Protocol]] = {
    "CutLER": ("CutLER", "detector"),
    "CutLER (Cascade Mask R-CNN)": ("CutLER", "detector"),
    "CutLER (Mask R-CNN)": ("CutLER (Mask R-CNN)", "detector"),
    "CuVLER": ("CuVLER", "detector"),
    "CuVLER*": ("CuVLER", "detector"),
    "CutS3D": ("CutS3D", "detector"),
    "MaskCut (training-free)": ("MaskCut", "pseudo-masks"),
    "ProMerge (training-free)": ("ProMerge", "pseudo-masks"),
}


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


@dataclass(frozen=True)
class Reference:
    """A published method whose numbers on a data set ours can be subtracted from."""

    name: str  # with its backbone and training data; a "?" where a meaning is inferred
    protocol: Protocol
    values: Mapping[str, float]  # metric of ours -> per cent


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


@functools.cache
def references(dataset: str) -> tuple[Reference, ...]:
    """The methods that the results on a data set are compared with, in the order of the file.

    Where two tables of one paper disagree (CutLER's box AP on COCO val2017 is 12.3 and 12.5), the
    first one counts.
    """
    values: dict[tuple[str, Protocol], dict[str, float]] = {}
    for row in lookup(dataset):
        metric = our_name(row)
        if row.method in _COMPARED and row.source.startswith(_SOURCES) and metric is not None:
            method, protocol = _COMPARED[row.method]
            data = "" if protocol == "pseudo-masks" else f", {row.train_data}"
            doubt = "" if row.status == "published" else " ?"
            name = f"{method}, {row.backbone}{data}{doubt}"
            values.setdefault((name, protocol), {}).setdefault(metric, row.value)
    return tuple(Reference(*key, found) for key, found in values.items())


def our_name(row: Row) -> str | None:
    """The metric of CocoBenchmark that a published number is to be read beside, or None."""
    if row.metric == "CorLoc":
        return "CorLoc"
    metric = row.metric.removesuffix(" (class-agnostic multi-object)")  # MaskDistill's name for it
    known = metric in METRICS + RECALLS
    return f"{row.task}_{metric}" if known and row.task in ("box", "mask") else None
