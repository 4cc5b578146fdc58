"""Stage: pseudo-masks as predictions on a benchmark's data set, in the format of COCO results."""

from __future__ import annotations

from cleave.io.coco import write_predictions
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Joins the shards into one results list."""
    write_predictions(job.shards("masks"), job.output)
