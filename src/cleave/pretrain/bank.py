"""All training photos decoded once into one array that stays on the training device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cleave.io.images import Skipped, load_pixels, printable, refuse_many_broken, resize
from cleave.types import DataError, Size


@dataclass(frozen=True)
class Bank:
    """P photos as (P, 3, S, S) uint8, and the files that could not be read."""

    pixels: Tensor
    broken: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Bank:
        return Bank(self.pixels.to(device), self.broken)


def decode(paths: Sequence[Path], side: int, max_broken: float = 0.01) -> Bank:
    """Decodes photos and squeezes each into a square of `side` pixels.

    8,208 photos at 224 px take 1.2 GB. The aspect is given up, as MaskCut gives it up at test time;
    crops of random aspect undo a part of it.

    Args:
        paths: in the order wanted; the order is part of what a seed means.
        max_broken: share of files that may be unreadable.

    Raises:
        DataError: no photo, or too many broken ones.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # Pillow releases the lock
        results = list(pool.map(lambda path: _decode(Path(path), side), paths))
    broken = tuple(item for item in results if isinstance(item, Skipped))
    refuse_many_broken(broken, len(paths), max_broken, "pre-training photos")
    photos = [item for item in results if not isinstance(item, Skipped)]
    if not photos:
        raise DataError(f"no readable photo among {len(paths)} files: nothing to learn from")
    return Bank(torch.stack(photos), broken)


def _decode(path: Path, side: int) -> Tensor | Skipped:
    try:
        pixels = resize(load_pixels(path), Size(side, side))
    except DataError as error:
        return Skipped(printable(path), str(error))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


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


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers, each of which matters (the splitmix64 finaliser)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
