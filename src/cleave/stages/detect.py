"""Stage: a checkpoint and images to a shard of predictions, in the format of pseudo-masks."""

from __future__ import annotations

from cleave.io.coco import write_masks
from cleave.registry import make
from cleave.stages.job import Job, open_images, predictions


def run(job: Job) -> None:
    """Writes up to `detections` masks an image with their scores."""
    dataset, shard = open_images(job)
    detector = make("detectors", job.spec["detector"], "detector")
    found = predictions(job, detector, dataset, shard)
    write_masks(job.output, shard.records, found, dataset=shard.spec, **job.attributes)
