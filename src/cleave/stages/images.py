"""Stage: a shard of a data set to the list of its images, each looked at once."""

from __future__ import annotations

import time

from cleave.io.images import write_image_shard
from cleave.io.shards import parse
from cleave.registry import make
from cleave.stages.job import Job, log
from cleave.types import DataError


def run(job: Job) -> None:
    """Lists sizes and content digests, and what cannot be used with the reason."""
    dataset = make("datasets", job.spec, "dataset")
    index, total = parse(job.output.stem)
    if total != dataset.shards:
        raise DataError(f"{job.output}: the data set has {dataset.shards} shards, not {total}")
    start = time.perf_counter()
    shard = dataset.list(index)
    for item in shard.broken:
        log.warning("images: %s: %s", item.path, item.reason)
    write_image_shard(job.output, shard, job.version)
    log.info(
        "images %s: %d images, %d broken, %d ignored files in %.1f s",
        *(job.output, len(shard.records), len(shard.broken), len(shard.ignored)),
        time.perf_counter() - start,
    )
