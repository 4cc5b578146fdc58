"""Stage: features (and depth) to a shard of binarised affinity graphs."""

from __future__ import annotations

import contextlib

from cleave.io.artifacts import pack_graph, unpack_depth, unpack_features
from cleave.io.images import read_image_shard
from cleave.io.store import read_shard, write_shard
from cleave.registry import make
from cleave.stages.job import Job, image_rng, progress


def run(job: Job) -> None:
    """One graph an image, with its first spectrum."""
    shard = read_image_shard(job.input("images"))
    graph_maker = make("graphs", job.spec)
    depth_path = job.optional("depth")
    with contextlib.ExitStack() as stack:
        features = stack.enter_context(read_shard(job.input("features")))
        depths = stack.enter_context(read_shard(depth_path)) if depth_path else None
        writer = stack.enter_context(write_shard(job.output, **job.attributes))
        for record in progress(job, shard):
            depth = unpack_depth(*depths.get(record.id)) if depths else None
            graph = graph_maker(
                unpack_features(*features.get(record.id)), depth, image_rng(record.id)
            )
            writer.add(record.id, *pack_graph(graph), compress=frozenset({"edges"}))
