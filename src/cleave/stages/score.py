"""Stage: predictions and truth to scores."""

from __future__ import annotations

from cleave.benchmarks import paired, truth
from cleave.io.atomic import write_json
from cleave.io.images import read_image_shard
from cleave.io.results import ResultFile
from cleave.registry import make
from cleave.stages.job import Job


def run(job: Job) -> None:
    """Scores a method; keeps the mean best IoU of each image for the report to choose by.

    Where differences are asked for, what they are made of is kept too.
    """
    shards = [read_image_shard(path) for path in job.shards("images")]
    truths = {image: t for shard in shards for image, t in truth.load(shard).items()}
    records = [record for shard in shards for record in shard.records]
    predicted = ResultFile(job.input("predictions"), records)
    result = make("benchmarks", job.spec, "benchmark").evaluate(truths, predicted)
    write_json(
        job.output,
        {
            "of": job.output.parent.name,
            "scores": result.scores,
            "best_iou": dict(result.quality),
            **({"samples": paired.samples(result)} if job.spec.get("against") else {}),
            **job.attributes,
        },
        indent=1,
        seal=True,
    )
