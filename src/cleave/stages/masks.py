"""Stage: graphs, depth and images to a shard of pseudo-masks."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from cleave.io.artifacts import unpack_depth, unpack_features, unpack_graph
from cleave.io.coco import write_masks
from cleave.io.store import read_shard
from cleave.registry import make
from cleave.stages.job import Job, log, open_images, progress
from cleave.types import Scene

_UNPACK = {"features": unpack_features, "graph": unpack_graph, "depth": unpack_depth}


def run(job: Job) -> None:
    """Shows each scene to the mask method and writes what it cut, as COCO JSON."""
    dataset, shard = open_images(job)
    method = make("masks", job.spec)
    paths: dict[str, Path] = {
        need: job.input("graphs" if need == "graph" else need) for need in method.needs
    }
    found, notes = {}, Counter()
    with contextlib.ExitStack() as stack:
        shards = {need: stack.enter_context(read_shard(path)) for need, path in paths.items()}
        for record in progress(job, shard):
            parts = {need: _UNPACK[need](*s.get(record.id)) for need, s in shards.items()}
            found[record.id] = method(Scene(dataset.read(record), **parts))
            notes.update(found[record.id].notes)
    write_masks(job.output, shard.records, found, dataset=shard.spec, **job.attributes)
    if notes:
        log.info("masks: %s", ", ".join(f"{key} {value:g}" for key, value in sorted(notes.items())))
