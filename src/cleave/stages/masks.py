"""Stage: graphs, depth and images to a shard of pseudo-masks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from cleave.io.artifacts import unpack_depth, unpack_features, unpack_graph
from cleave.io.coco import write_masks
from cleave.io.images import ImageRecord
from cleave.io.store import ShardReader, read_shard
from cleave.registry import make
from cleave.stages.job import Job, log, open_images, progress
from cleave.types import Image, MaskSet, Scene

_UNPACK = {"features": unpack_features, "graph": unpack_graph, "depth": unpack_depth}
_INPUT = {"features": "features", "graph": "graphs", "depth": "depth"}


def run(job: Job) -> None:
    """Shows each scene to the mask method and writes what it cut, as COCO JSON."""
    dataset, shard = open_images(job)
    method = make("masks", job.spec)
    refines = getattr(method, "refine", None) != "none"  # else only the size of the image counts
    notes: Counter[str] = Counter()

    def cut(record: ImageRecord) -> tuple[str, MaskSet]:
        parts = {need: _UNPACK[need](*reader.get(record.id)) for need, reader in readers.items()}
        image = dataset.read(record) if refines else _blank(record)
        masks = method(Scene(image, **parts))
        notes.update(masks.notes)
        return record.id, masks

    with contextlib.ExitStack() as stack:
        readers: dict[str, ShardReader] = {
            need: stack.enter_context(read_shard(job.input(_INPUT[need]))) for need in method.needs
        }
        found: Iterator[tuple[str, MaskSet]] = map(cut, progress(job, shard))
        write_masks(job.output, shard.records, found, dataset=shard.spec, **job.attributes)
    if shard.records:
        means = (f"{key} {value / len(shard.records):.3g}" for key, value in sorted(notes.items()))
        log.info("masks, mean an image: %s", ", ".join(means))


def _blank(record: ImageRecord) -> Image:
    """An image of the right size that was never decoded and takes no memory."""
    return Image(record.id, np.broadcast_to(np.uint8(0), (record.height, record.width, 3)))
