"""Stage: a trivial baseline or a ceiling as predictions on a benchmark's data set."""

from __future__ import annotations

from cleave.benchmarks import baselines
from cleave.io.coco import write_results
from cleave.io.images import read_image_shard
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Writes the COCO results of the baseline that the spec names, over all shards."""
    shards = [read_image_shard(path) for path in job.shards("images")]
    found = (pair for shard in shards for pair in baselines.predict(job.spec["baseline"], shard))
    write_results(job.output, [record for shard in shards for record in shard.records], found)
