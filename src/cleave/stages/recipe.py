"""Stage: the shards of a recipe's pseudo-masks to one COCO JSON."""

from __future__ import annotations

from cleave.io.coco import merge
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Joins the shards, one in memory at a time."""
    merge(job.shards("masks"), job.output)
