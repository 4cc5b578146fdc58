"""Seconds an image, from what the jobs logged."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

# The line that stages.job.progress writes.
_LINE = re.compile(r"INFO (\w+) results/([^/]+)/(.+): (\d+) images in ([\d.]+) s")


def read_timings(logs: Path) -> list[dict[str, str | int]]:
    """A row a data set, stage and section, summed over shards."""
    images: dict[tuple[str, str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str, str], float] = defaultdict(float)
    for path in sorted(logs.rglob("*.log")):
        for stage, dataset, place, count, spent in _LINE.findall(path.read_text(errors="replace")):
            parts = place.split("/")
            key = (dataset, stage, parts[1] if len(parts) == 3 else "")
            images[key] += int(count)
            seconds[key] += float(spent)
    return [
        {
            "dataset": dataset,
            "stage": stage,
            "section": section,
            "images": images[dataset, stage, section],
            "rate": f"{seconds[dataset, stage, section] / images[dataset, stage, section]:.3f}",
        }
        for dataset, stage, section in sorted(images)
        if images[dataset, stage, section]
    ]
