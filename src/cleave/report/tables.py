"""Benchmark tables for the page, and what the panels need to know of truth and scores."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.benchmarks import bootstrap, truth
from cleave.io.atomic import read_json
from cleave.io.images import ImageRecord, ImageShard
from cleave.ops import rle
from cleave.report import plots
from cleave.report.compared import against, compared

OURS = frozenset({"cleave3d"})  # kinds of masks that no paper has
FEW = 15  # published rows that are shown without a click

# Metric of the score files, and the group and title of its column; the CSV has the others.
COLUMNS = {
    "mask_AP": ("masks", "AP"),
    "mask_AP50": ("masks", "AP50"),
    "mask_AP75": ("masks", "AP75"),
    "mask_AR100": ("masks", "AR@100"),
    "mask_best_iou": ("masks", "best IoU"),
    "paired": ("masks", "gain in IoU"),
    # Where a benchmark asks for them: see benchmarks.hierarchy.
    "mask_AR1000_S": ("AR@1000", "small"),
    "mask_AR1000_M": ("AR@1000", "medium"),
    "mask_AR1000_L": ("AR@1000", "large"),
    "mask_AR1000_level0": ("AR@1000", "roots"),
    "mask_AR1000_level1": ("AR@1000", "level 1"),
    "mask_AR1000_level2": ("AR@1000", "level 2"),
    "mask_AR1000_level3": ("AR@1000", "3 and on"),
    "box_AP": ("boxes", "AP"),
    "box_AP50": ("boxes", "AP50"),
    "box_AR100": ("boxes", "AR@100"),
    "box_best_iou": ("boxes", "best IoU"),  # where there is none of masks
    "CorLoc": ("boxes", "CorLoc"),
    # Of the instance-ness study: see benchmarks.instanceness.
    "recall50_multi": ("recall at .5, best k", "several"),
    "recall50_single": ("recall at .5, best k", "only one"),
    "recall_multi": ("recall .5 to .95", "several"),
    "recall_single": ("recall .5 to .95", "only one"),
    "merge_error": ("", "merge error"),
    "saliency_iou": ("saliency", "IoU"),
    "saliency_CorLoc": ("saliency", "CorLoc"),
    "masks_per_image": ("", "masks / image"),
}
COUNTS = frozenset({"masks_per_image", "merge_error"})  # not better when larger
PLOTS = {
    "mask_AP50": "mask AP50, %",
    "mask_AR100": "mask AR@100, %",
    "mask_best_iou": "mean best IoU, %",
    "box_AP50": "box AP50, %",
    "CorLoc": "CorLoc, %",
}
MOST_PLOTS = 3
RANKING = ("mask_AP50", "box_AP50")  # of published results
UNSAID = ("", "-", "as tabulated")  # of a published result's backbone or training data

Cell = tuple[float, float | None, float | None]  # value, low, high


def read_scores(benchmark: str, of: str) -> dict[str, Any]:
    """A score file as the stage wrote it."""
    path = Path(paths.SCORES.format(benchmark=benchmark, of=of))
    return read_json(path)


def read_table(benchmark: str) -> list[dict[str, str]]:
    """The lines of a benchmark's table, as text."""
    with Path(paths.TABLE.format(benchmark=benchmark)).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_cells(name: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Cell]]:
    """Method or baseline to its metrics, from a benchmark's table."""
    lines = read_table(name)[: len(entry["rows"])]
    return {row["of"]: _cells(line) for row, line in zip(entry["rows"], lines, strict=True)}


def benchmark(name: str, entry: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    """All that the page says about one benchmark.

    Args:
        name: of the benchmark.
        entry: its part of `Config.summary`.
        colours: method to the colour that it has all over the page.
    """
    lines = read_table(name)
    ours, theirs = lines[: len(entry["rows"])], lines[len(entry["rows"]) :]
    files = [read_scores(name, row["of"]) for row in entry["rows"]]
    cells = [
        _cells(line) | _gain(file, files[0], row)
        for line, file, row in zip(ours, files, entry["rows"], strict=True)
    ]
    metrics = [metric for metric in COLUMNS if any(metric in found for found in cells)]
    if "mask_best_iou" in metrics and "box_best_iou" in metrics:
        metrics.remove("box_best_iou")
    tops = _tops(cells, entry["rows"], metrics)
    rows = [
        _row(row, line, colours) | {"cells": [_shown(found, m, tops[m], row) for m in metrics]}
        for row, line, found in zip(entry["rows"], ours, cells, strict=True)
    ]
    methods = [
        row | {"found": c} for row, c in zip(rows, cells, strict=True) if not row["baseline"]
    ]
    return {
        "name": name,
        "csv": f"assets/{name}.csv",
        "images": ours[0]["images"],
        "objects": ours[0]["objects"],
        "first": entry["rows"][0]["of"],
        "groups": _groups(metrics),
        "columns": [COLUMNS[metric][1] for metric in metrics],
        "rows": rows,
        "reference": files[0]["spec"].get("published", ""),
        "published": _published(theirs, methods),
        "few": FEW,
        "against": against(ours),
        "compared": compared(ours, COLUMNS),
        "plot": _plot(ours, cells, entry["rows"], colours),
    }


def _cells(line: Mapping[str, str]) -> dict[str, Cell]:
    """The metrics of a table's line that are there."""

    def number(name: str) -> float | None:
        return float(line[name]) if line.get(name) else None

    found = {m: (number(m), number(f"{m}_low"), number(f"{m}_high")) for m in COLUMNS}
    return {metric: cell for metric, cell in found.items() if cell[0] is not None}


def _gain(
    file: Mapping[str, Any], first: Mapping[str, Any], row: Mapping[str, Any]
) -> dict[str, Cell]:
    """The paired difference to the first method, in an image's mean best IoU over images."""
    ids = sorted(first["best_iou"].keys() & file["best_iou"].keys())
    if row["baseline"] or file["of"] == first["of"] or not ids:
        return {}
    gains = np.array([file["best_iou"][i] - first["best_iou"][i] for i in ids])
    spec = first["spec"]
    weights = bootstrap.resamples(len(ids), spec["bootstrap"], spec["seed"])
    ends = bootstrap.interval(weights @ gains / len(ids)) or (None, None)
    return {"paired": (float(gains.mean()), *ends)}


def _tops(
    cells: Sequence[Mapping[str, Cell]], rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, float]:
    """The largest value that a method has in each column."""
    methods = [found for found, row in zip(cells, rows, strict=True) if not row["baseline"]]
    return {m: max((f[m][0] for f in methods if m in f), default=0.0) for m in metrics}


def _groups(metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Neighbouring columns under one heading."""
    groups: list[dict[str, Any]] = []
    masks = any(metric.startswith(("mask_", "recall")) for metric in metrics)
    for metric in metrics:
        title = COLUMNS[metric][0] if masks or metric != "paired" else "boxes"
        if groups and groups[-1]["title"] == title:
            groups[-1]["span"] += 1
        else:
            groups.append({"title": title, "span": 1})
    return groups


def _row(
    row: Mapping[str, Any], line: Mapping[str, str], colours: Mapping[str, str]
) -> dict[str, Any]:
    trivial = f"{line['role']}: {line['kind']}"
    return {
        "name": line["method"],
        "colour": colours.get(row["of"], plots.BASELINE),
        "baseline": row["baseline"],
        "role": line["role"],
        "ours": is_ours(row),
        "made_of": trivial if row["baseline"] else describe(row),
        "saw_labels": line["saw_labels"],
    }


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether masks, or what a detector began with, are of no paper."""
    return bool(OURS & {row.get("kind"), row.get("masks_kind")})


def describe(row: Mapping[str, Any]) -> str:
    """What a mask section is made of, or what a detector learned from; without repeating names."""
    if "recipe" in row:
        return f"{row['detector']} from {row['masks']} on {', '.join(row['trained_on'])}"
    parts = [] if row["kind"] == row["of"] else [row["kind"]]
    if "features" in row:
        parts.append(f"{row['features']} features")
    if row.get("graphs", row.get("features")) != row.get("features"):
        parts.append(f"{row['graphs']} graph")
    if "depth" in row:
        parts.append(f"{row['depth']} depth")
    if "masks" in row:
        parts.append(f"from {row['masks']}")
    return ", ".join(parts)


def _shown(
    found: Mapping[str, Cell], metric: str, top: float, row: Mapping[str, Any]
) -> dict[str, Any]:
    """A cell: number, interval, and how long its bar is as a share of the best method's."""
    if metric not in found:
        return {"value": "", "interval": "", "share": "0", "best": False}
    value, low, high = found[metric]
    sign = "+" if metric == "paired" else ""
    method = not row["baseline"] and metric not in COUNTS
    return {
        "value": f"{value:{sign}.1f}",
        "interval": f"{low:{sign}.1f} to {high:{sign}.1f}" if low is not None else "",
        "share": f"{max(0.0, value) / top:.2f}" if method and top > 0 else "0",
        "best": method and value == top and top > 0,
    }


def _published(
    lines: Sequence[Mapping[str, str]], ours: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Published numbers, best mask AP50 (or box AP50) first, below the methods of this run.

    Args:
        lines: of the table, with the role "published".
        ours: rows of methods with their `found` metrics.

    Returns:
        `count`, `columns` (metrics that a published result has) and `rows`.
    """
    theirs = [row for line in lines if (row := _published_row(line))["found"]]
    theirs.sort(key=lambda row: [-row["found"].get(m, (-1.0,))[0] for m in RANKING])
    metrics = [m for m in COLUMNS if any(m in row["found"] for row in theirs)]
    this_run = [{**row, "source": "this run", "status": ""} for row in ours]

    def values(found: Mapping[str, Cell]) -> list[str]:
        return [f"{found[m][0]:.1f}" if m in found else "" for m in metrics]

    return {
        "count": len(theirs),
        "columns": [f"{'box ' * m.startswith('box')}{COLUMNS[m][1]}" for m in metrics],
        "rows": [row | {"values": values(row["found"])} for row in [*this_run, *theirs]],
    }


def _published_row(line: Mapping[str, str]) -> dict[str, Any]:
    data = line["kind"].removeprefix("train data: ")
    parts = [line["features"], "" if data in UNSAID else f"trained on {data}"]
    return {
        "name": line["method"],
        "colour": "",
        "made_of": ", ".join(part for part in parts if part not in UNSAID),
        "source": line["source"],
        "status": "" if line["status"] == "published" else line["status"],
        "found": _cells(line),
    }


def _plot(
    lines: Sequence[Mapping[str, str]],
    cells: Sequence[Mapping[str, Cell]],
    rows: Sequence[Mapping[str, Any]],
    colours: Mapping[str, str],
) -> str:
    """Intervals of the main metrics; without ceilings, which would squeeze all others."""
    shown = [i for i, line in enumerate(lines) if line["role"] != "ceiling"]
    metrics = [m for m in PLOTS if any(m in found for found in cells)][:MOST_PLOTS]
    columns = {PLOTS[m]: [_interval(cells[i].get(m)) for i in shown] for m in metrics}
    names = [
        plots.Row(lines[i]["method"], colours.get(rows[i]["of"], plots.BASELINE)) for i in shown
    ]
    return plots.intervals(names, columns)


def _interval(cell: Cell | None) -> plots.Interval | None:
    if cell is None:
        return None
    value, low, high = cell
    return value, value if low is None else low, value if high is None else high


def best_iou(dataset: str, benchmarks: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Method to image to mean best IoU in percent, over the benchmarks of a data set.

    An image without objects has none. Empty where no benchmark has the data set.
    """
    found: dict[str, dict[str, float]] = {}
    for name, entry in benchmarks.items():
        if entry["dataset"] == dataset:
            for row in entry["rows"]:
                if not row["baseline"]:
                    found.setdefault(row["of"], read_scores(name, row["of"])["best_iou"])
    return found


def true_objects(shard: ImageShard, record: ImageRecord) -> list[dict[str, Any]] | None:
    """The RLE of an image's labelled objects, crowds left out; None where only boxes are."""
    found = truth.load(replace(shard, records=(record,)))[record.id]
    if found.segmentations is None:
        return None
    pairs = zip(found.segmentations, found.crowd, strict=True)
    return [segmentation for segmentation, crowd in pairs if not crowd]


def true_boxes(shard: ImageShard, record: ImageRecord) -> list[dict[str, Any]]:
    """The boxes of an image's labelled objects as RLE, crowds left out."""
    found = truth.load(replace(shard, records=(record,)))[record.id]
    boxes = []
    for x0, y0, x1, y1 in found.boxes[~found.crowd]:
        mask = np.zeros(found.size, bool)
        mask[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = True
        boxes.append(rle.encode(mask))
    return boxes
