"""Stage: features (and depth) to a shard of binarised affinity graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from cleave.io.artifacts import pack_graph, unpack_depth, unpack_features
from cleave.io.device import device, inference
from cleave.io.images import ImageRecord, read_image_shard
from cleave.io.store import read_shard, write_shard
from cleave.registry import make
from cleave.stages.job import Job, ahead, image_rng, in_turn, log
from cleave.stages.together import TOGETHER, alike, given_gpu, windows
from cleave.types import CleaveError, DepthMap, FeatureMap, PatchGraph, Size

Inputs = tuple[str, FeatureMap, DepthMap | None]  # image id


def run(job: Job) -> None:
    """One graph an image, with its first spectrum."""
    shard = read_image_shard(job.input("images"))
    graph_maker = make("graphs", job.spec)
    depth_path = job.optional("depth")
    with contextlib.ExitStack() as stack:
        features = stack.enter_context(read_shard(job.input("features")))
        depths = stack.enter_context(read_shard(depth_path)) if depth_path else None

        def read(record: ImageRecord) -> Inputs:
            depth = unpack_depth(*depths.get(record.id)) if depths else None
            return record.id, unpack_features(*features.get(record.id)), depth

        inputs = map(read, shard.records)
        if given_gpu(job) and hasattr(graph_maker, "batch"):
            # One thread reads, one has the GPU's work done, and this one writes.
            graphs = ahead(_on_gpu(graph_maker, ahead(inputs, TOGETHER)), TOGETHER)
            stack.enter_context(contextlib.closing(graphs))
        else:
            graphs = (graph_maker(*_arguments(*found)) for found in inputs)
        writer = stack.enter_context(write_shard(job.output, **job.attributes))
        for record, graph in in_turn(job, shard, graphs):
            writer.add(record.id, *pack_graph(graph), compress=frozenset({"edges"}))


def _arguments(image_id: str, features: FeatureMap, depth: DepthMap | None) -> tuple[Any, ...]:
    return features, depth, image_rng(image_id)


def _on_gpu(graph_maker: Any, inputs: Iterator[Inputs]) -> Iterator[PatchGraph]:
    """The graphs in the order of the images, of like grid solved together."""
    from cleave.ops.batched.ncut import Solver

    solver = Solver(device())

    def batch(images: Sequence[Inputs]) -> list[PatchGraph]:
        with inference():
            return graph_maker.batch([_arguments(*image) for image in images], solver)

    for window in windows(inputs, TOGETHER):
        try:
            graphs = alike(window, _grid, batch)
        except CleaveError:  # once more, so that it comes where its image's graph would have
            graphs = (batch([image])[0] for image in window)
        yield from graphs
    log.info("eigenproblems: %s", solver.summary())


def _grid(image: Inputs) -> Size:
    return image[1].grid
