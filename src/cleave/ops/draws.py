"""Random draws that are functions of a seed and a place: any step can be repeated by itself."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from cleave.ops.seeds import mix


def generator(*numbers: int) -> Generator:
    """A generator on the CPU, so that what it draws is the same whatever device works with it."""
    return Generator().manual_seed(mix(*numbers))


class Sampler:
    """Which items a step sees: epochs without replacement, a function of seed and step alone."""

    def __init__(self, items: int, batch: int, seed: int):
        self.items, self.batch, self.seed = items, batch, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __call__(self, step: int) -> Tensor:
        """(batch,) int64 numbers of items; a batch may run over the end of an epoch."""
        first = step * self.batch
        places = range(first, first + self.batch)
        epochs = range(places[0] // self.items, places[-1] // self.items + 1)
        stretch = torch.cat([self._epoch(epoch) for epoch in epochs])
        start = first - epochs[0] * self.items
        return stretch[start : start + self.batch]

    def _epoch(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = torch.randperm(self.items, generator=generator(self.seed, 0, epoch))
            self._order = epoch, order
        return self._order[1]
