"""All training photos decoded once into one array that stays on the training device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from cleave.io.images import resize
from cleave.ops.seeds import mix
from cleave.types import DataError, Image, Size

T = TypeVar("T")


@dataclass(frozen=True)
class Bank:
    """P photos as (P, 3, S, S) uint8."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Bank:
        return Bank(self.pixels.to(device))


def decode(read: Callable[[T], Image], items: Sequence[T], side: int) -> Bank:
    """Decodes photos and squeezes each into a square of `side` pixels.

    8,208 photos at 224 px take 1.2 GB. The aspect is given up, as MaskCut gives it up at test time;
    crops of random aspect undo a part of it.

    Args:
        read: gives the photo of an item; called by several threads at once.
        items: in the order wanted; the order is part of what a seed means.

    Raises:
        DataError: no photo at all, or whatever `read` raises of one.
    """
    if not items:
        raise DataError("no photo to pre-train on: the data set is empty")
    pixels = torch.empty(len(items), 3, side, side, dtype=torch.uint8)

    def fill(index: int) -> None:
        photo = resize(read(items[index]).pixels, Size(side, side))
        pixels[index] = torch.from_numpy(photo).permute(2, 0, 1)

    with ThreadPoolExecutor() as pool:  # Pillow releases the lock
        list(pool.map(fill, range(len(items))))
    return Bank(pixels)


class Sampler:
    """Which photos a step sees: epochs without replacement, a function of seed and step alone."""

    def __init__(self, photos: int, batch: int, seed: int):
        self.photos, self.batch, self.seed = photos, batch, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __call__(self, step: int) -> Tensor:
        """(batch,) int64 numbers of photos; a batch may run over the end of an epoch."""
        first = step * self.batch
        places = range(first, first + self.batch)
        epochs = range(places[0] // self.photos, places[-1] // self.photos + 1)
        stretch = torch.cat([self._epoch(epoch) for epoch in epochs])
        start = first - epochs[0] * self.photos
        return stretch[start : start + self.batch]

    def _epoch(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, 0, epoch))
            self._order = epoch, torch.randperm(self.photos, generator=generator)
        return self._order[1]
