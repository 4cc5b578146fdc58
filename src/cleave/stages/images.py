"""Stage: a data set's section to one shard of its images."""

from __future__ import annotations

from cleave.io.images import write_image_shard
from cleave.io.shards import parse
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.stages.job import Job, log


def run(job: Job) -> None:
    """Lists the images dealt to the shard that the output's name stands for."""
    dataset = make("datasets", job.spec, "dataset")
    index, total = parse(job.output.stem)
    if total != dataset.shards:
        raise ConfigError(f"{job.output}: of {total} shards, but shards is {dataset.shards}")
    shard = dataset.list(index)
    write_image_shard(job.output, shard, job.version)
    for item in shard.broken:
        log.warning("broken: %s: %s", item.path, item.reason)
    log.info(
        "images %s: %d readable, %d broken, %d ignored",
        job.output,
        *map(len, (shard.records, shard.broken, shard.ignored)),
    )
