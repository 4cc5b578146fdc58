"""What one job of the workflow is given, and the loop that most stages share."""

from __future__ import annotations

import logging
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cleave.io.device import device
from cleave.io.images import ImageRecord, ImageShard, read_image_shard
from cleave.io.shards import names, parse
from cleave.registry import make
from cleave.types import DataError, Image, MaskSet

log = logging.getLogger("cleave")

READ_AHEAD = 8  # images in memory that nothing works on yet
T = TypeVar("T")
_END: Any = object()


@dataclass(frozen=True)
class Job:
    """The spec of one section, the files it may read, and the file it must write."""

    stage: str
    spec: Mapping[str, Any]
    version: int
    inputs: Mapping[str, tuple[Path, ...]]
    output: Path
    gpus: int = 0  # given to this job alone by the scheduler; changes how it works, not what comes

    def input(self, name: str) -> Path:
        """The one file given under `name`.

        Raises:
            DataError: none or several were given.
        """
        paths = self.inputs.get(name, ())
        if len(paths) != 1:
            raise DataError(f"{self.stage}: expected one file for --{name}, got {len(paths)}")
        return paths[0]

    def optional(self, name: str) -> Path | None:
        """The file given under `name`, or None."""
        return self.input(name) if self.inputs.get(name) else None

    def shards(self, name: str) -> list[Path]:
        """All shards beside the one given under `name`: its name carries how many there are."""
        first = self.input(name)
        _, total = parse(first.stem)
        return [first.with_name(shard + first.suffix) for shard in names(total)]

    @property
    def attributes(self) -> dict[str, Any]:
        """What every artifact records of its making."""
        return {"spec": self.spec, "version": self.version}


def open_images(job: Job) -> tuple[Any, ImageShard]:
    """The data set and the shard of it that this job works on."""
    shard = read_image_shard(job.input("images"))
    return make("datasets", shard.spec, "dataset"), shard


def progress(job: Job, shard: ImageShard) -> Iterator[ImageRecord]:
    """Yields the records; logs the rate at the end, and names the image an error came from."""
    start = time.perf_counter()
    for record in shard.records:
        try:
            yield record
        except GeneratorExit:
            log.error("%s: failed at image %r", job.stage, record.id)
            raise
    seconds = time.perf_counter() - start
    count = len(shard.records)
    rate = f", {count / seconds:.2f} images/s" if seconds > 0 else ""
    log.info("%s %s: %d images in %.1f s%s", job.stage, job.output, count, seconds, rate)


def images_of(
    job: Job, dataset: Any, shard: ImageShard, *, busy: bool
) -> Iterator[tuple[ImageRecord, Image]]:
    """Each image of a shard with its record; see `progress`.

    Args:
        busy: something else than this processor works on the images: the next ones are decoded
            meanwhile. Elsewhere a second thread would only take the core of another job.
    """
    images = map(dataset.read, shard.records)
    if busy:
        images = ahead(images, READ_AHEAD)
    yield from in_turn(job, shard, images)


def in_turn(job: Job, shard: ImageShard, results: Iterator[T]) -> Iterator[tuple[ImageRecord, T]]:
    """Each record of a shard with the next result, whose error names the image; see `progress`."""
    for record in progress(job, shard):
        yield record, next(results)


def on_gpu(plugin: Any) -> bool:
    """Whether a plugin's work is done on a GPU here; torch is imported only if it may be."""
    return getattr(plugin, "gpu", False) and device() != "cpu"


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items, up to `count` of them made by a thread before they are asked for.

    An error comes where its item would have come. The thread ends with the iterator.
    """
    thread = ThreadPoolExecutor(1)
    try:
        pending = deque(thread.submit(next, items, _END) for _ in range(count))
        while (item := pending.popleft().result()) is not _END:
            pending.append(thread.submit(next, items, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)


def predictions(
    job: Job, detector: Any, dataset: Any, shard: ImageShard
) -> Iterator[tuple[str, MaskSet]]:
    """(image id, masks) of each image of a shard, from the detector with the job's checkpoint."""
    busy = device() != "cpu"
    images = (image for _, image in images_of(job, dataset, shard, busy=busy))
    found = detector.predict(images, job.input("checkpoint"), device=device())
    for record, masks in zip(shard.records, found, strict=True):
        yield record.id, masks


def image_rng(image_id: str) -> np.random.Generator:
    """Random numbers that depend on the image alone, not on its shard or its turn."""
    return np.random.default_rng([0, zlib.crc32(image_id.encode("utf-8", "surrogateescape"))])
