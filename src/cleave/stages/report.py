"""Stage: everything that was made to one page that a person can look at."""

from __future__ import annotations

from cleave.report.page import build
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Reads the artifacts of the working directory, by the paths that the summary implies.

    What `make bench` measured comes as files of its own.
    """
    build(job.spec, job.output, job.inputs.get("benches", ()))
