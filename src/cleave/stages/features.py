"""Stage: images to a shard of dense features."""

from __future__ import annotations

import dataclasses
from itertools import islice

from cleave.io.artifacts import pack_features
from cleave.io.store import write_shard
from cleave.registry import make
from cleave.stages.job import Job, images_of, on_gpu, open_images


def run(job: Job) -> None:
    """Feeds the images to the backbone in batches and stores what comes out, as float16.

    Weights that the workflow trained come as a file beside the spec, so that the spec names no path
    under results/.
    """
    dataset, shard = open_images(job)
    backbone = make("features", job.spec)
    if weights := job.optional("weights"):
        backbone = dataclasses.replace(backbone, weights=str(weights))
    images = images_of(job, dataset, shard, busy=on_gpu(backbone))
    with write_shard(job.output, **job.attributes) as writer:
        while batch := list(islice(images, backbone.batch)):
            records, pixels = zip(*batch, strict=True)
            for record, features in zip(records, backbone(pixels), strict=True):
                writer.add(record.id, *pack_features(features))
