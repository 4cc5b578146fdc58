"""Which images a step sees, decoded ahead of it by threads; and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from cleave.io.images import ImageRecord
from cleave.ops.draws import Sampler
from cleave.ops.seeds import mix
from cleave.ops.targets import Targets
from cleave.training.augment import augment
from cleave.training.augment_settings import Augment
from cleave.training.samples import Annotations, Read, Sample
from cleave.training.schedule import slots
from cleave.training.settings import Training
from cleave.types import Image

_ORDER = 1  # of the numbers that a seed is mixed with: the order of the images

Place = tuple[int, range]  # a step, and some of the places in its batch


class Loader:
    """The samples at given places of a step's batch: a function of seed, step and place alone.

    So a step can be repeated without those before it, and several processes or micro batches see
    together what one sees alone. An epoch goes through all images before one comes again.

    Threads and not processes decode, because Pillow, zlib and hashlib work outside the
    interpreter lock, and the annotations are then in memory once.
    """

    def __init__(
        self,
        annotations: Annotations,
        read: Read,
        *,
        batch: int,
        seed: int,
        workers: int = 4,
        cache_megabytes: float = 1024,
    ):
        """
        Args:
            annotations: what to train on.
            read: gives the pixels of a record; called by several threads at once.
            batch: samples a step, of all processes together.
            workers: threads; 0 decodes when a sample is asked for.
            cache_megabytes: decoded images are kept for good if all of them together take no
                more than this (a process with its share of a batch still comes to see all);
                0 decodes them anew every epoch.
        """
        fits = annotations.pixel_bytes <= cache_megabytes * 1e6
        self._annotations, self._read = annotations, _Cache(read) if fits else read
        self._sampler = Sampler(len(annotations), batch, mix(seed, _ORDER))
        self._pool = ThreadPoolExecutor(workers, "decode") if workers else None
        self._coming: dict[Place, list[Future[Sample]]] = {}

    def __call__(self, step: int, places: range) -> list[Sample]:
        """The samples at some places of a batch.

        Raises:
            DataError: an image or its masks cannot be read.
        """
        coming = self._coming.pop((step, places), None)
        if coming is None:
            return [self._sample(index) for index in self.indices(step, places)]
        return [future.result() for future in coming]

    def indices(self, step: int, places: range) -> list[int]:
        """Numbers of the images that the samples at these places are of."""
        return self._sampler(step)[places.start : places.stop].tolist()

    def expect(self, coming: Iterable[Place]) -> None:
        """Says which samples are asked for next: they are decoded meanwhile, others forgotten."""
        if self._pool is None:
            return
        wanted = {}
        for place in coming:
            if (known := self._coming.pop(place, None)) is None:
                known = [self._pool.submit(self._sample, index) for index in self.indices(*place)]
            wanted[place] = known
        self._forget()
        self._coming = wanted

    def close(self) -> None:
        """Ends the threads."""
        self._forget()
        if self._pool is not None:
            self._pool.shutdown()

    def _forget(self) -> None:
        for future in (f for futures in self._coming.values() for f in futures):
            future.cancel()
        self._coming = {}

    def _sample(self, index: int) -> Sample:
        return self._annotations.sample(index, self._read)


class AugmentedBatches:
    """Images and targets of each micro batch, for `cleave.training.loop.train`."""

    def __init__(
        self,
        loader: Loader,
        training: Training,
        settings: Augment,
        *,
        device: torch.device | str,
        seed: int,
        ahead: int = 2,
    ):
        """
        Args:
            loader: with the batch of `training`.
            ahead: micro batches that are decoded before they are asked for: a bound on memory.
        """
        self._loader, self._training, self._settings = loader, training, settings
        self._device, self._seed, self._ahead = device, seed, ahead

    def __call__(
        self, step: int, rank: int, world: int, micro: int
    ) -> tuple[list[Tensor], list[Targets]]:
        """What process `rank` of `world` sees in one micro batch of a step."""
        first = step * self._training.accumulate + micro
        coming = [
            self._place(number, rank, world) for number in range(first, first + self._ahead + 1)
        ]
        self._loader.expect(coming)
        samples = self._loader(*coming[0])
        return augment(
            samples, self._settings, self._device, seed=self._seed, step=step, slots=coming[0][1]
        )

    def _place(self, number: int, rank: int, world: int) -> Place:
        step, micro = divmod(number, self._training.accumulate)
        return step, slots(self._training, rank, world, micro)


class _Cache:
    """`read` that decodes each image once. Two threads may both decode one: they get the same."""

    def __init__(self, read: Read):
        self._read, self._images = read, dict[str, Image]()

    def __call__(self, record: ImageRecord) -> Image:
        image = self._images.get(record.id)
        if image is None:
            image = self._images[record.id] = self._read(record)
        return image
