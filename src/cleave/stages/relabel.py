"""Stage: a checkpoint's predictions, and masks of the round before, to the labels of a round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cleave.io.coco import read_masks, write_masks
from cleave.ops.relabel import relabel
from cleave.registry import make
from cleave.rounds import Relabel
from cleave.spec import build
from cleave.stages.job import Job, log, open_images, predictions
from cleave.types import MaskSet


def run(job: Job) -> None:
    """Predicts on a shard of images and joins what is certain with the old masks."""
    dataset, shard = open_images(job)
    detector = make("detectors", job.spec["detector"], "detector")
    rule = build(Relabel, job.spec["relabel"], "relabel")
    old: Mapping[str, MaskSet] = {}
    if path := job.optional("labels"):
        _, old = read_masks(path)
    counts = {"predicted": 0, "kept": 0}

    def labels() -> Iterator[tuple[str, MaskSet]]:
        for image, found in predictions(job, detector, dataset, shard):
            masks, predicted = relabel(
                found,
                old[image] if rule.merge else MaskSet.empty(found.size),
                threshold=rule.threshold,
                detections=rule.detections,
                overlap=rule.overlap,
            )
            counts["predicted"] += predicted
            counts["kept"] += len(masks) - predicted
            yield image, masks

    write_masks(job.output, shard.records, labels(), dataset=shard.spec, **job.attributes)
    log.info("relabel: %(predicted)d predictions, and %(kept)d masks of the round before", counts)
