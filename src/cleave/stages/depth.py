"""Stage: images to a shard of depth maps."""

from __future__ import annotations

from cleave.io.artifacts import pack_depth
from cleave.io.store import write_shard
from cleave.registry import make
from cleave.stages.job import Job, images_of, log, on_gpu, open_images


def run(job: Job) -> None:
    """One depth map an image; says how much of the source was missing and had to be filled."""
    dataset, shard = open_images(job)
    source = make("depth", job.spec)
    filled = []
    with write_shard(job.output, **job.attributes) as writer:
        for record, image in images_of(job, dataset, shard, busy=on_gpu(source)):
            depth = source(image)
            filled.append(depth.filled)
            writer.add(record.id, *pack_depth(depth))
    if any(filled):
        log.info(
            "depth: %.1f %% of the pixels were missing and filled", 100 * sum(filled) / len(filled)
        )
