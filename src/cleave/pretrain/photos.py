"""The photos that a pre-training learns from, read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cleave.io.images import ImageRecord
from cleave.types import Image

# What a `learn` method leaves in its folder; what else lies there is gone when the stage is done.
WEIGHTS = "weights.safetensors"
METRICS = "metrics.jsonl"
EXPORTS = "exports"  # a folder, kept where there is one


@dataclass(frozen=True)
class Photos:
    """Every photo of a data set, in the order of the ids, whatever the shards."""

    records: tuple[ImageRecord, ...]
    read: Callable[[ImageRecord], Image]

    def __len__(self) -> int:
        return len(self.records)
