"""Random numbers of one step, the same however many processes share the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Draws:
    """Draws for the whole batch; each process keeps its own rows, every `world`-th from `rank`.

    In all shapes the first number is that of this process's rows.
    """

    generator: Generator
    rank: int = 0
    world: int = 1

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 in [low, high) on the generator's device; `()` is one number for all."""
        return low + (high - low) * self._own(torch.rand, shape)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32."""
        return self._own(torch.randn, shape)

    def places(self, rows: int) -> Tensor:
        """(rows,) int64: where in the whole batch the rows of this process are."""
        return torch.arange(rows, device=self.generator.device) * self.world + self.rank

    def _own(self, draw, shape: tuple[int, ...]) -> Tensor:
        where = {"generator": self.generator, "device": self.generator.device}
        if not shape:
            return draw((), **where)
        return draw((shape[0] * self.world, *shape[1:]), **where)[self.rank :: self.world]
