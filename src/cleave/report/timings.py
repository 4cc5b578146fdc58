"""Seconds an image, from what the jobs logged when they last ran."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cleave import paths
from cleave.io import shards

# The line that stages.job.progress writes, and the one of the stage `images`.
LINE = re.compile(r"INFO \w+ .+: (\d+) images(?:, .+)? in ([\d.]+) s(?:, ([\d.]+) images/s)?$")

PATTERNS = {
    "features": paths.FEATURES,
    "depth": paths.DEPTH,
    "graphs": paths.GRAPHS,
    "masks": paths.MASKS,
}


def read_timings(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """A row a stage and section, a column a data set; logs of what is not in the config are left.

    Args:
        datasets: of `Config.summary`.

    Returns:
        `columns`, the data sets, and `rows` with `stage`, `section` and `cells`: seconds an image
        as text, "" where nothing was logged.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for dataset, entry in datasets.items():
        for stage, section, pattern in _jobs(entry):
            names = {"dataset": dataset, stage: section}
            logs = [
                Path(paths.log(pattern.format(shard=shard, **names)))
                for shard in shards.names(entry["shards"])
            ]
            if (spent := seconds_an_image(logs)) is not None:
                rows.setdefault((stage, section), {})[dataset] = f"{spent:.3f}"
    order = ["images", *PATTERNS]
    return {
        "columns": list(datasets),
        "rows": [
            {"stage": stage, "section": section, "cells": [row.get(d, "") for d in datasets]}
            for (stage, section), row in sorted(rows.items(), key=lambda i: order.index(i[0][0]))
        ],
    }


def _jobs(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Stage, section and pattern of all that was made of a data set."""
    yield "images", "", paths.IMAGES
    for stage, pattern in PATTERNS.items():
        key = "of" if stage == "masks" else stage
        rows = [row for row in entry["masks"].values() if "detector" not in row]
        for section in dict.fromkeys(row[key] for row in rows if key in row):
            yield stage, section, pattern


def seconds_an_image(logs: list[Path]) -> float | None:
    """The mean over all images of these logs; None if they tell nothing."""
    images, seconds = 0, 0.0
    for path in logs:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            if match := LINE.match(line):
                count, spent, rate = int(match[1]), float(match[2]), float(match[3] or 0)
                # The log has tenths of a second: of a short job, the rate is the better number.
                seconds += count / rate if rate and spent < 1 else spent
                images += count
    return seconds / images if images else None
