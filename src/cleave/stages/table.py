"""Stage: the scores of a benchmark to its table, as CSV and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cleave.benchmarks import paired, table
from cleave.io.atomic import read_json
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Orders the rows as the config does and sets the published numbers below them."""
    files = [read_json(path) for path in job.inputs["scores"]]
    scores = {file["of"]: file["scores"] for file in files}
    if against := files[0]["spec"].get("against", ""):
        for of, found in paired.differences(files, against).items():
            scores[of] |= found
    rows = with_images(
        job.spec["rows"], [read_json(path) for path in job.inputs.get("trained", ())]
    )
    published = files[0]["spec"].get("published", "")
    frame = table.build(rows, scores, published)
    title = f"{job.spec['benchmark']}, on {job.spec['dataset']}"
    table.write(frame, title, job.output, job.output.with_suffix(".md"))


def with_images(
    rows: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows, those of detectors with the number of images that they were trained on."""
    images = {(entry["recipe"], entry["round"]): entry["images"] for entry in trained}
    return [
        {**row, "images": images[row["recipe"], row["round"]]} if "recipe" in row else dict(row)
        for row in rows
    ]
