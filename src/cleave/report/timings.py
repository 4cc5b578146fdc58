"""Seconds an image, from what the jobs logged when they last ran."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from cleave import paths
from cleave.io import shards

# The line that stages.job.progress writes, and the one of the stage `images` ...
LINE = re.compile(r"INFO \w+ .+: (\d+) images(?:, .+)? in ([\d.]+) s(?:, ([\d.]+) images/s)?$")
# ... and the one of training.recorder.Progress.
STEP_LINE = re.compile(r"INFO training: step \d+ of \d+, loss .+, ([\d.]+) images/s, .+ left$")

PATTERNS = {
    "features": paths.FEATURES,
    "depth": paths.DEPTH,
    "graphs": paths.GRAPHS,
    "masks": paths.MASKS,
}


ORDER = ("images", *PATTERNS, "train", "relabel", "detect")


def read_timings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row a stage and section, a column a data set; logs of what is not in the config are left.

    Args:
        summary: `Config.summary`.

    Returns:
        `columns`, the data sets, and `rows` with `stage`, `section` and `cells`: seconds an image
        as text, "" where nothing was logged.
    """
    datasets = summary["datasets"]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for stage, section, dataset, spent in chain(_of_datasets(datasets), _of_rounds(summary)):
        if spent is not None:
            rows.setdefault((stage, section), {})[dataset] = f"{spent:.3f}"
    return {
        "columns": list(datasets),
        "rows": [
            {"stage": stage, "section": section, "cells": [row.get(d, "") for d in datasets]}
            for (stage, section), row in sorted(rows.items(), key=lambda i: ORDER.index(i[0][0]))
        ],
    }


Found = tuple[str, str, str, float | None]  # stage, section, data set, seconds an image


def _of_datasets(datasets: Mapping[str, Any]) -> Iterator[Found]:
    for dataset, entry in datasets.items():
        for stage, section, pattern, key in _jobs(entry):
            names = {"dataset": dataset, key: section}
            yield stage, section, dataset, _seconds(pattern, entry["shards"], **names)


def _jobs(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Stage, section, pattern and wildcard of all that was made of a data set."""
    yield "images", "", paths.IMAGES, "images"
    sections = [row for row in entry["masks"].values() if "recipe" not in row]
    for stage, pattern in PATTERNS.items():
        key = "of" if stage == "masks" else stage
        for section in dict.fromkeys(row[key] for row in sections if key in row):
            yield stage, section, pattern, stage
    for of, row in entry["masks"].items():
        if "recipe" in row:
            yield "detect", of, paths.MASKS, "masks"


def _of_rounds(summary: Mapping[str, Any]) -> Iterator[Found]:
    """Trainings, an image of a step being an image; and the labels that they were given."""
    for recipe, entry in summary.get("recipes", {}).items():
        for number, dataset in enumerate(entry["rounds"]):
            of, known = paths.of_round(recipe, number), {"recipe": recipe, "round": number}
            pace = training_rate(recipe, number)
            yield "train", of, dataset, 1 / pace if pace else None
            total = summary["datasets"][dataset]["shards"]
            yield "relabel", of, dataset, _seconds(paths.LABELS, total, **known)


def _seconds(pattern: str, total: int, **names: Any) -> float | None:
    """Of all shards."""
    listed = shards.names(total)
    return seconds_an_image([Path(paths.log(pattern.format(shard=s, **names))) for s in listed])


def training_rate(recipe: str, number: int) -> float | None:
    """Images a second of a round's training, since its last start, as its log has it."""
    path = Path(paths.log(paths.CHECKPOINT.format(recipe=recipe, round=number)))
    found = [match for line in log_lines(path) if (match := STEP_LINE.match(line))]
    return float(found[-1][1]) or None if found else None


def log_lines(path: Path) -> list[str]:
    """The lines of a job's log; none where there is no such file."""
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def seconds_an_image(logs: list[Path]) -> float | None:
    """The mean over all images of these logs; None if they tell nothing."""
    images, seconds = 0, 0.0
    for line in (line for path in logs for line in log_lines(path)):
        if match := LINE.match(line):
            count, spent, rate = int(match[1]), float(match[2]), float(match[3] or 0)
            # The log has tenths of a second: of a short job, the rate is the better number.
            seconds += count / rate if rate and spent < 1 else spent
            images += count
    return seconds / images if images else None
