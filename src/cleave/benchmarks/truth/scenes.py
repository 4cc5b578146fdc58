"""Truth of rendered scenes: the renderer knows it."""

from __future__ import annotations

import numpy as np

from cleave.benchmarks.truth.instances import Truth
from cleave.io.images import ImageRecord, ImageShard
from cleave.ops.render import CLASSES, parse_id, scene
from cleave.types import Size


def read(shard: ImageShard) -> dict[str, Truth]:
    """The truth of every scene of a shard, by image id."""
    return {record.id: _truth(record) for record in shard.records}


def _truth(record: ImageRecord) -> Truth:
    """The instances of a scene; objects too small or too hidden for one are ignored like crowds."""
    size = Size(record.height, record.width)
    rendered = scene(*parse_id(record.id), size)
    names = [CLASSES[number] for number in rendered.classes] + [""] * len(rendered.ignored)
    masks = np.concatenate([rendered.instances, rendered.ignored])
    return Truth.of_masks(size, masks, names, crowd=np.arange(len(masks)) >= len(rendered.classes))
