"""Stage: a trivial baseline or a ceiling as predictions on a benchmark's data set."""

from __future__ import annotations

from cleave.benchmarks import baselines
from cleave.io.atomic import write_json
from cleave.io.coco import encode_annotations
from cleave.io.images import read_image_shard
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Writes the COCO results of the baseline that the spec names, over all shards."""
    results = []
    for path in job.shards("images"):
        shard = read_image_shard(path)
        numbers = {record.id: record.number for record in shard.records}
        for image_id, masks in baselines.predict(job.spec["baseline"], shard):
            found = encode_annotations(masks)
            results += [annotation | {"image_id": numbers[image_id]} for annotation in found]
    write_json(job.output, results)
