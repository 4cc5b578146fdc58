"""Benchmark tables for the page, and what the panels need to know of truth and scores."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cleave import paths
from cleave.benchmarks import published, truth
from cleave.io.images import ImageShard
from cleave.report import plots
from cleave.types import DataError, MaskSet

OURS = frozenset({"cleave3d"})  # kinds of masks that no paper has

# Metric of the score files and its column; the CSV has the others.
COLUMNS = {
    "mask_AP50": "AP50",
    "mask_AP": "AP",
    "mask_AR10": "AR@10",
    "mask_AR100": "AR@100",
    "mask_best_iou": "mean best IoU",
    "CorLoc": "CorLoc",
    "box_AP50": "box AP50",
    "masks_per_image": "masks / image",
}
BARS = ("mask_AP50", "mask_best_iou")
COUNTS = frozenset({"masks_per_image"})  # not better when larger


def read_scores(benchmark: str, of: str) -> dict[str, Any]:
    """A score file as the stage wrote it."""
    return json.loads(Path(paths.SCORES.format(benchmark=benchmark, of=of)).read_text())


def benchmark(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page says about one benchmark."""
    files = {row["of"]: read_scores(name, row["of"]) for row in entry["rows"]}
    scores = {of: file["scores"] for of, file in files.items()}
    methods = [row["of"] for row in entry["rows"] if not row["baseline"]]
    first = files[entry["rows"][0]["of"]]
    columns = {m: title for m, title in COLUMNS.items() if any(m in s for s in scores.values())}
    best = {
        metric: max((scores[of][metric] for of in methods if metric in scores[of]), default=None)
        for metric in columns.keys() - COUNTS
    }
    reference = first["spec"].get("published", "")
    return {
        "name": name,
        "dataset": entry["dataset"],
        "images": int(first["scores"]["images"]),
        "columns": [{"title": title} for title in columns.values()],
        "rows": [
            {
                "name": row["of"].replace("_", " ") if row["baseline"] else row["of"],
                "baseline": row["baseline"],
                "ours": row.get("kind") in OURS,
                "made_of": _made_of(row),
                "cells": [_cell(scores[row["of"]], metric, best, row) for metric in columns],
            }
            for row in entry["rows"]
        ],
        "published": [vars(row) for row in published.lookup(reference)] if reference else [],
        "plots": [_bars(entry["rows"], scores, metric) for metric in BARS if metric in columns],
    }


def _made_of(row: Mapping[str, Any]) -> str:
    if row["baseline"]:
        return "baseline or ceiling"
    keys = ("features", "depth", "graphs")
    parts = [f"{key} {row[key]}" for key in keys if key in row]
    return ", ".join([row["kind"], *parts])


def _cell(
    scores: Mapping[str, float], metric: str, best: Mapping[str, float | None], row: Mapping
) -> dict[str, Any]:
    if metric not in scores:
        return {"value": "-", "interval": "", "best": False}
    low, high = (scores.get(f"{metric}_{end}") for end in ("low", "high"))
    return {
        "value": f"{scores[metric]:.1f}",
        "interval": f"{low:.1f} to {high:.1f}" if low is not None else "",
        "best": not row["baseline"] and best.get(metric) == scores[metric],
    }


def _bars(rows: Iterable[Mapping[str, Any]], scores: Mapping[str, Any], metric: str) -> str:
    bars = []
    for row in rows:
        found = scores[row["of"]]
        if metric in found:
            value = found[metric]
            low, high = (found.get(f"{metric}_{end}", value) for end in ("low", "high"))
            name = row["of"].replace("_", " ") if row["baseline"] else row["of"]
            bars.append(
                {"name": name, "value": value, "low": low, "high": high}
                | {"baseline": row["baseline"]}
            )
    return plots.intervals(bars, f"{COLUMNS[metric]}, %")


def best_iou(dataset: str, benchmarks: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Method to image to mean best IoU in percent; NaN for an image without objects.

    Empty where no benchmark has the data set; of several the first one counts.
    """
    for name, entry in benchmarks.items():
        if entry["dataset"] == dataset:
            rows = [row["of"] for row in entry["rows"] if not row["baseline"]]
            return {of: _Missing(read_scores(name, of)["best_iou"]) for of in rows}
    return {}


class _Missing(dict):
    """NaN for what is not there."""

    def __missing__(self, key: str) -> float:
        return float("nan")


def truth_masks(
    images: Iterable[ImageShard], best_iou: Mapping[str, Any]
) -> Callable[[str], MaskSet | None]:
    """Image id to its labelled objects, crowds left out; None where nothing was benchmarked."""
    images = list(images)

    @functools.cache
    def truths() -> dict[str, truth.Truth]:
        return {i: t for shard in images for i, t in truth.load(shard).items()}

    def masks(image_id: str) -> MaskSet | None:
        if not best_iou:
            return None
        found = truths()[image_id]
        try:
            objects = found.masks[~found.crowd]
        except DataError:  # boxes only
            return None
        return MaskSet(found.size, objects, np.ones(len(objects)))

    return masks
