"""Stage: graphs, depth and images to a shard of pseudo-masks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cleave.io.artifacts import unpack_depth, unpack_features, unpack_graph
from cleave.io.coco import read_masks, write_masks
from cleave.io.device import device, inference
from cleave.io.images import ImageRecord
from cleave.io.store import read_shard
from cleave.masks.common import solved_by
from cleave.ops.ncut import Spectrum
from cleave.references import NEEDS
from cleave.registry import make
from cleave.stages.job import Job, in_turn, log, open_images
from cleave.stages.together import TOGETHER, Ask, alike, given_gpu, in_lockstep, windows
from cleave.types import Array, Image, MaskSet, Scene

Part = Callable[[str], Any]  # image id to what a scene holds of it
Cut = Callable[[ImageRecord], MaskSet]
Problem = tuple[Array, int, float]  # edges, N, floor
_UNPACK = {"features": unpack_features, "graphs": unpack_graph, "depth": unpack_depth}


def run(job: Job) -> None:
    """Shows each scene to the mask method and writes what it cut, as COCO JSON."""
    dataset, shard = open_images(job)
    method = make("masks", job.spec)
    refines = getattr(method, "refine", None) != "none"  # else only the size of the image counts
    notes: Counter[str] = Counter()

    def cut(record: ImageRecord) -> MaskSet:
        parts = {need: part(record.id) for need, part in readers.items()}
        image = dataset.read(record) if refines else _blank(record)
        masks = method(Scene(image, **parts))
        notes.update(masks.notes)
        return masks

    with contextlib.ExitStack() as stack:
        readers = {need: _reader(job, need, stack) for need in method.needs}
        cuts = (_on_gpu if given_gpu(job) else map)(cut, shard.records)
        found = ((record.id, masks) for record, masks in in_turn(job, shard, cuts))
        write_masks(job.output, shard.records, found, dataset=shard.spec, **job.attributes)
    if shard.records:
        means = (f"{key} {value / len(shard.records):.3g}" for key, value in sorted(notes.items()))
        log.info("masks, mean an image: %s", ", ".join(means))


def _on_gpu(cut: Cut, records: Sequence[ImageRecord]) -> Iterator[MaskSet]:
    """The masks in the order of the images; the eigenproblems of many scenes solved together."""
    from cleave.ops.batched.ncut import Solver

    solver = Solver(device())

    def cut_asking(ask: Ask, record: ImageRecord) -> MaskSet:
        with solved_by(lambda *problem: ask(problem)):
            return cut(record)

    def solve(problems: Sequence[Problem]) -> Sequence[Spectrum]:
        with inference():
            return solver.spectra([edges for edges, *_ in problems], *_kind(problems[0]))

    def answer(problems: Sequence[Problem]) -> list[Spectrum]:
        return alike(problems, _kind, solve)

    for window in windows(records, TOGETHER):
        yield from in_lockstep(cut_asking, window, answer)
    log.info("eigenproblems: %s", solver.summary())


def _kind(problem: Problem) -> tuple[int, float]:
    return problem[1:]


def _reader(job: Job, need: str, stack: contextlib.ExitStack) -> Part:
    """Reads one part of a scene from the shards given for it."""
    if need == "masks":
        return read_masks(job.input("masks"))[1].__getitem__
    key = NEEDS[need]
    if need == "graphs":
        files = [stack.enter_context(read_shard(path)) for path in job.inputs[key]]
        return lambda image: tuple(_UNPACK[key](*file.get(image)) for file in files)
    file = stack.enter_context(read_shard(job.input(key)))
    return lambda image: _UNPACK[key](*file.get(image))


def _blank(record: ImageRecord) -> Image:
    """An image of the right size that was never decoded and takes no memory."""
    return Image(record.id, np.broadcast_to(np.uint8(0), (record.height, record.width, 3)))
