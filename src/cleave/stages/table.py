"""Stage: the scores of a benchmark to its table, as CSV and as Markdown."""

from __future__ import annotations

from cleave.benchmarks import table
from cleave.io.atomic import read_json
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Orders the rows as the config does and sets the published numbers below them."""
    files = [read_json(path) for path in job.inputs["scores"]]
    scores = {file["of"]: file["scores"] for file in files}
    published = files[0]["spec"].get("published", "")
    frame = table.build(job.spec["rows"], scores, published)
    title = f"{job.spec['benchmark']}, on {job.spec['dataset']}"
    table.write(frame, title, job.output, job.output.with_suffix(".md"))
