"""Which images a step sees, decoded ahead of it by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from cleave.io.images import ImageRecord
from cleave.ops.draws import Sampler
from cleave.ops.seeds import mix
from cleave.training.samples import Annotations, Read, Sample
from cleave.types import CleaveError, Image

_ORDER = 1  # of the numbers that a seed is mixed with: the order of the images


class Batches:
    """The samples of each step: a function of seed and step alone, so a step can be repeated.

    Slot b of a step gets the same image whatever the number of processes: process `rank` of
    `world` has slots rank * batch / world up to (rank + 1) * batch / world. Threads and not
    processes decode, because Pillow and zlib work outside the interpreter lock and the
    annotations are then in memory once.
    """

    def __init__(
        self,
        annotations: Annotations,
        read: Read,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 4,
        ahead: int = 2,
        cache_megabytes: float = 1024,
    ):
        """
        Args:
            annotations: what to train on.
            read: gives the pixels of a record; called by several threads at once.
            batch: samples a step, of all processes together.
            workers: threads; 0 decodes when the step asks.
            ahead: steps that are decoded before they are asked for, the bound on memory.
            cache_megabytes: decoded images are kept for good if all of them together take no
                more than this; 0 decodes them anew every epoch.

        Raises:
            CleaveError: `batch` cannot be dealt evenly to `world` processes.
        """
        if batch % world or not 0 <= rank < world:
            raise CleaveError(f"batch {batch} cannot be dealt evenly to {world} processes")
        share = batch // world
        self.slots = range(rank * share, (rank + 1) * share)
        self._annotations, self._ahead = annotations, ahead
        fits = annotations.pixel_bytes <= cache_megabytes * 1e6
        self._read = _Cache(read) if fits else read
        self._sampler = Sampler(len(annotations), batch, mix(seed, _ORDER))
        self._pool = ThreadPoolExecutor(workers, "decode") if workers else None

    def __call__(self, step: int) -> list[Sample]:
        """The samples of this process's slots."""
        return [self._sample(index) for index in self.indices(step)]

    def indices(self, step: int) -> list[int]:
        """Numbers of the images in this process's slots."""
        return self._sampler(step)[self.slots.start : self.slots.stop].tolist()

    def steps(self, first: int, end: int) -> Iterator[list[Sample]]:
        """The samples of each step in [first, end), in order, `ahead` of them being decoded.

        Raises:
            DataError: at the step whose image cannot be read.
        """
        if self._pool is None:
            yield from map(self, range(first, end))
            return
        waiting: deque[list[Future[Sample]]] = deque()
        try:
            for step in range(first, end + self._ahead):
                if step < end:
                    indices = self.indices(step)
                    waiting.append([self._pool.submit(self._sample, index) for index in indices])
                if step >= first + self._ahead:
                    yield [future.result() for future in waiting.popleft()]
        finally:  # whoever leaves the loop early does not wait for what was to come
            for future in (f for futures in waiting for f in futures):
                future.cancel()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _sample(self, index: int) -> Sample:
        return self._annotations.sample(index, self._read)


class _Cache:
    """`read` that decodes each image once. Two threads may both decode one: they get the same."""

    def __init__(self, read: Read):
        self._read, self._images = read, dict[str, Image]()

    def __call__(self, record: ImageRecord) -> Image:
        image = self._images.get(record.id)
        if image is None:
            image = self._images[record.id] = self._read(record)
        return image
